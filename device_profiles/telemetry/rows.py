"""Telemetry rows as an app sends them, read in chunks and counted by value, so that memory stays bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from device_profiles.telemetry.columns import Chunk, RowFile
from device_profiles.telemetry.timestamps import DAY, START_OF_2015
from factory_base.errors import TelemetryError
from factory_base.foreign import printable

FAULTS = ("not_numbers", "negative", "infinite", "sent_twice", "future", "before_2015", "no_timestamp")
"""Faults that are counted for each device. Rows with one of the first four are dropped; the others mean that the clock
of the device is wrong."""

MOST_DEVICES = 100_000
"""Most kinds of devices in a file, several times as many as there are models of phones on the market. With more, the
column names installations instead of kinds of devices."""

_MOST_VALUES = 2_000_000
"""Distinct entries (device, model, clock, latency) above which latencies are coarsened: at 24 bytes each, 48 MB."""

_MOST_VALUES_OF_A_MODEL, _DIGITS = 10_000, 4
"""Groups (device, model) with more distinct latencies than this are the ones that are coarsened, to so many digits.
Four digits leave at most 9,000 values a decade, and an error of at most 0.05 %, far below the noise of single runs."""

_REMEMBERED_CHUNKS = 8
"""Earlier chunks in which a repeated row is noticed: two million rows, whose hashes take 16 MB."""

MOST_MODELS = 100_000
"""Most models that a file names, far more than any family has. With more, the column holds something else."""

_LONGEST_US = 1e12
"""Twelve days: no run of a model takes longer, and what does counts as infinite."""

_MODELS = 1 << 24
"""More than `MOST_MODELS`: device and model are packed into one integer, device * _MODELS + model,
which stays below 2^42."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rows:
    """All rows of a file. Equal rows are one entry with a count; entries are sorted by device, model and latency.

    Attributes:
        source: Name of the file.
        devices: Kinds of devices.
        models: Digests as the app wrote them, in lower case.
        device: Index into `devices`, (entries,).
        model: Index into `models`, (entries,).
        latency_us: Latency, at least 0, (entries,).
        clock_ok: Whether the timestamp is possible; True if the file has no timestamps, (entries,).
        count: Number of rows, (entries,).
        total: Number of rows of each device, dropped rows included, (devices,).
        faults: Number of rows with each of `FAULTS`, (devices, faults).
        nameless: Number of rows without a device or a model.
        coarsened: Whether some latencies of a device were rounded to four digits, (devices,).
        notes: What people should know about how the file was read, a sentence each.
    """

    source: str
    devices: tuple[str, ...]
    models: tuple[str, ...]
    device: Ints
    model: Ints
    latency_us: Floats
    clock_ok: NDArray[np.bool_]
    count: Ints
    total: Ints
    faults: Ints
    nameless: int
    coarsened: NDArray[np.bool_]
    notes: tuple[str, ...] = ()


def read_rows(path: Path, now: float) -> Rows:
    """Read a Parquet or CSV file with the columns `device`, `model`, one of `latency_us`, `latency_ms`, `latency_s`,
    and optionally `timestamp` (seconds since 1970 or fractions of them, or ISO 8601).

    Rows with the same device, model, timestamp and latency were sent twice, and one of them is kept. Repetitions are
    noticed within about two million rows, and not if the timestamp is a date without a time. With more than two million
    distinct entries, the latencies of the largest groups are rounded to four digits.

    Args:
        path: File to read.
        now: Seconds since 1970. Timestamps more than a day later are in the future.

    Raises:
        TelemetryError: The file is unreadable or empty, lacks a column, has no number among its latencies, writes
            numbers in an unclear way, or names more than `MOST_DEVICES` kinds of devices or `MOST_MODELS` models.
    """
    file = RowFile(path, now)
    collector = _Collector(file, now)
    for chunk in file.chunks():
        collector.add(chunk)
    return collector.finish()


class _Collector:
    """Counts rows by device, model and latency."""

    def __init__(self, file: RowFile, now: float) -> None:
        self._file, self._source, self._columns, self._now = file, file.source, file.columns, now
        self._devices: dict[str, int] = {}
        self._models: dict[str, int] = {}
        self._tables: list[tuple[Ints, Floats, Ints]] = []
        self._limit = _MOST_VALUES
        self._total = np.zeros(0, np.int64)
        self._faults = np.zeros((0, len(FAULTS)), np.int64)
        self._coarsened: set[int] = set()
        self._seen: deque[NDArray[np.uint64]] = deque(maxlen=_REMEMBERED_CHUNKS)
        self._nameless, self._rows, self._numbers = 0, 0, 0
        self._example: object = None

    def add(self, chunk: Chunk) -> None:
        """Count the rows of a chunk."""
        self._rows += len(chunk.latency_us)
        named, device, model = self._names(chunk)
        latency, seconds = chunk.latency_us[named], chunk.seconds[named]
        if self._example is None and np.isnan(latency).any():
            self._example = chunk.written.filter(named & np.isnan(chunk.latency_us))[0].as_py()
        self._total = _grown(self._total, len(self._devices)) + np.bincount(device, minlength=len(self._devices))
        self._numbers += int((~np.isnan(latency)).sum())
        faults = [np.isnan(latency), latency < 0, latency > _LONGEST_US]
        key = device * _MODELS + model
        clock = [seconds > self._now + DAY, seconds < START_OF_2015, np.isnan(seconds)]
        clock_ok = ~(clock[0] | clock[1] | clock[2])
        usable = ~(faults[0] | faults[1] | faults[2])
        twice = self._sent_twice(key, latency, seconds, usable & clock_ok & (seconds % DAY != 0))
        usable &= ~twice
        self._count_faults(device, [*faults, twice, *[fault & usable for fault in clock]])
        entries = key[usable] * 2 + clock_ok[usable]
        self._tables.append(_counted(entries, latency[usable], np.ones(len(entries), np.int64)))
        if sum(len(table[0]) for table in self._tables) > self._limit:
            self._shrink()

    def finish(self) -> Rows:
        """Return all rows. Raises `TelemetryError` if there are none."""
        if not self._rows:
            raise TelemetryError(f"{self._source}: the file has columns but no rows; export some days of telemetry")
        if not self._numbers:
            raise TelemetryError(
                f"{self._source}: the column {self._columns.latency} holds no numbers, but values such as "
                f"{printable(repr(self._example), 60)}; write numbers without a unit"
            )
        entries, latency, count = _merged(self._tables)
        key = entries // 2
        return Rows(
            source=self._source, devices=tuple(self._devices), models=tuple(self._models), device=key // _MODELS,
            model=key % _MODELS, latency_us=latency, clock_ok=entries % 2 == 1, count=count, total=self._total,
            faults=self._faults, nameless=self._nameless,
            coarsened=np.isin(np.arange(len(self._devices)), sorted(self._coarsened)), notes=self._file.notes(),
        )  # fmt: skip

    def _names(self, chunk: Chunk) -> tuple[NDArray[np.bool_], Ints, Ints]:
        device = _indices(chunk.device, self._devices, lower=False)
        model = _indices(chunk.model, self._models, lower=True)
        if len(self._devices) > MOST_DEVICES:
            raise TelemetryError(
                f"{self._source}: there are more than {MOST_DEVICES} different devices, such as "
                f"{next(iter(self._devices))!r}; 'device' must name a kind of device, not one installation"
            )
        if len(self._models) > MOST_MODELS:
            raise TelemetryError(
                f"{self._source}: there are more than {MOST_MODELS} different models, such as "
                f"{next(iter(self._models))!r}; 'model' must be the digest of a model file"
            )
        named = (device >= 0) & (model >= 0)
        self._nameless += int((~named).sum())
        return named, device[named], model[named]

    def _sent_twice(self, key: Ints, latency: Floats, seconds: Floats, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        twice = np.zeros(len(key), np.bool_)
        if not self._columns.has_timestamp:
            return twice
        hashed = _hashed(key, latency, seconds)
        hashes, first = np.unique(hashed[among], return_index=True)
        twice[among] = True
        twice[np.flatnonzero(among)[first]] = False
        for earlier in self._seen:
            twice |= among & np.isin(hashed, earlier, kind="sort")
        self._seen.append(hashes)
        return twice

    def _count_faults(self, device: Ints, faults: list[NDArray[np.bool_]]) -> None:
        size = len(self._devices)
        counts = [np.bincount(device[fault], minlength=size) for fault in faults]
        self._faults = _grown(self._faults, size) + np.column_stack(counts)

    def _shrink(self) -> None:
        """Merge equal entries. If there are still too many, round the latencies of large groups to four digits."""
        entries, latency, count = _merged(self._tables)
        if len(entries) > self._limit:
            keys, inverse, sizes = np.unique(entries // 2, return_inverse=True, return_counts=True)
            large = sizes > _MOST_VALUES_OF_A_MODEL
            self._coarsened |= {int(device) for device in keys[large] // _MODELS}
            latency = np.where(large[inverse], _four_digits(latency), latency)
            entries, latency, count = _counted(entries, latency, count)
            self._limit = max(_MOST_VALUES, 2 * len(entries))
        self._tables = [(entries, latency, count)]


def _indices(names: pd.Series, known: dict[str, int], *, lower: bool) -> Ints:
    """(rows,): the number of each name, -1 for a missing one. New names are added to `known`."""
    codes, uniques = pd.factorize(names)
    texts = [str(name).strip().lower() if lower else str(name).strip() for name in uniques]
    return np.array([*(known.setdefault(text, len(known)) if text else -1 for text in texts), -1])[codes]


def _grown(counts: Ints, size: int) -> Ints:
    return np.concatenate([counts, np.zeros((size - len(counts), *counts.shape[1:]), np.int64)])


def _counted(entries: Ints, latency: Floats, count: Ints) -> tuple[Ints, Floats, Ints]:
    """Merge equal pairs of entry and latency and add their counts; the result is sorted."""
    order = np.lexsort((latency, entries))
    entries, latency, count = entries[order], latency[order], count[order]
    new = np.ones(len(entries), np.bool_)
    new[1:] = (entries[1:] != entries[:-1]) | (latency[1:] != latency[:-1])
    starts = np.flatnonzero(new)
    return entries[starts], latency[starts], np.add.reduceat(count, starts) if len(starts) else count


def _merged(tables: list[tuple[Ints, Floats, Ints]]) -> tuple[Ints, Floats, Ints]:
    return _counted(*(np.concatenate(parts) for parts in zip(*tables, strict=True)))


def _four_digits(values: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        unit = 10.0 ** (np.floor(np.log10(values, where=values > 0, out=np.zeros_like(values))) - _DIGITS + 1)
    return np.rint(values / unit) * unit


def _hashed(key: Ints, latency: Floats, seconds: Floats) -> NDArray[np.uint64]:
    """(rows,): a 64-bit hash of each row, with the multipliers of SplitMix64 (Steele, Lea and Flood, 2014).

    The shifts by about half of the bits carry the well-mixed high bits of a product into the low ones.
    """
    hashed = key.astype(np.uint64)
    for part in (latency.view(np.uint64), seconds.view(np.uint64)):
        hashed = (hashed ^ (hashed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        hashed = hashed ^ (part * np.uint64(0x9E3779B97F4A7C15))
        hashed = hashed ^ (hashed >> np.uint64(32))
    return hashed * np.uint64(0x94D049BB133111EB)
