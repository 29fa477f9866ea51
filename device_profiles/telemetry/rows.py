"""Rows of telemetry as an app sends them: read in chunks and counted by value, so that memory stays bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from device_profiles.telemetry.columns import Columns, numbers, read_chunks, seconds_since_1970
from factory_base.errors import TelemetryError

FAULTS = ("not_numbers", "negative", "infinite", "sent_twice", "future", "before_2015", "no_timestamp")
"""What is counted per device. Rows with the first four are dropped, the others have a clock that cannot be right."""

MOST_DEVICES = 100_000
_MOST_VALUES = 2_000_000
_MOST_VALUES_OF_A_MODEL = 10_000
_DIGITS = 4
_REMEMBERED_CHUNKS = 8
_START_OF_2015 = 1_420_070_400.0
_DAY = 86_400.0
_MODELS = 1 << 24

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rows:
    """All rows of a file, equal ones as one entry with a count; sorted by device, model, latency.

    Attributes:
        source: the file.
        devices: kinds of devices.
        models: digests as they were written, in lower case.
        device: (entries,) index into `devices`.
        model: (entries,) index into `models`.
        latency_us: (entries,) at least 0.
        clock_ok: (entries,) whether the timestamp can be right; True where the file has none.
        count: (entries,) rows.
        total: (devices,) rows, the dropped ones included.
        faults: (devices, `FAULTS`) rows.
        nameless: rows without a device or a model.
        coarsened: (devices,) whether latencies were counted to four digits.
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


def read_rows(path: Path, now: float) -> Rows:
    """Read a Parquet or CSV file with the columns `device`, `model`, one of `latency_us`, `latency_ms`, `latency_s`,
    and optionally `timestamp` (epoch seconds or ISO 8601).

    Rows with the same device, model, timestamp and latency were sent twice: one is kept. That is noticed within some
    two million rows, and not where a timestamp is a mere day. Where there are more than two million different entries,
    the latencies of the largest groups are counted to four digits.

    Args:
        path: of the file.
        now: epoch seconds; timestamps more than a day later are in the future.

    Raises:
        TelemetryError: unreadable, empty, a missing column, no number among the latencies, or more than `MOST_DEVICES`
            kinds of devices.
    """
    columns, chunks = read_chunks(path)
    collector = _Collector(str(path), columns, now)
    for chunk in chunks:
        collector.add(chunk)
    return collector.finish()


class _Collector:
    """Counts rows by device, model and latency."""

    def __init__(self, source: str, columns: Columns, now: float) -> None:
        self._source, self._columns, self._now = source, columns, now
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

    def add(self, chunk: pd.DataFrame) -> None:
        """Count the rows of a chunk."""
        self._rows += len(chunk)
        named, device, model = self._names(chunk)
        latency = numbers(chunk[self._columns.latency])[named] * self._columns.us_per_unit
        if self._example is None and np.isnan(latency).any():
            self._example = chunk[self._columns.latency][named][np.isnan(latency)].iloc[0]
        seconds = self._seconds(chunk)[named]
        self._total = _grown(self._total, len(self._devices)) + np.bincount(device, minlength=len(self._devices))
        self._numbers += int((~np.isnan(latency)).sum())
        faults = [np.isnan(latency), latency < 0, np.isposinf(latency)]
        key = device * _MODELS + model
        clock = [seconds > self._now + _DAY, seconds < _START_OF_2015, np.isnan(seconds)]
        clock_ok = ~(clock[0] | clock[1] | clock[2])
        usable = ~(faults[0] | faults[1] | faults[2])
        twice = self._sent_twice(key, latency, seconds, usable & clock_ok & (seconds % _DAY != 0))
        usable &= ~twice
        self._count_faults(device, [*faults, twice, *[fault & usable for fault in clock]])
        entries = key[usable] * 2 + clock_ok[usable]
        self._tables.append(_counted(entries, latency[usable], np.ones(len(entries), np.int64)))
        if sum(len(table[0]) for table in self._tables) > self._limit:
            self._shrink()

    def finish(self) -> Rows:
        """All rows. Raises `TelemetryError` where there are none."""
        if not self._rows:
            raise TelemetryError(f"{self._source}: has columns but no rows; export some days of telemetry")
        if not self._numbers:
            raise TelemetryError(
                f"{self._source}: the column {self._columns.latency} holds no number, but such as {self._example!r}; "
                "write numbers without a unit"
            )
        entries, latency, count = _merged(self._tables)
        key = entries // 2
        return Rows(
            source=self._source, devices=tuple(self._devices), models=tuple(self._models), device=key // _MODELS,
            model=key % _MODELS, latency_us=latency, clock_ok=entries % 2 == 1, count=count, total=self._total,
            faults=self._faults, nameless=self._nameless,
            coarsened=np.isin(np.arange(len(self._devices)), sorted(self._coarsened)),
        )  # fmt: skip

    def _names(self, chunk: pd.DataFrame) -> tuple[NDArray[np.bool_], Ints, Ints]:
        device = _indices(chunk["device"], self._devices, lower=False)
        model = _indices(chunk["model"], self._models, lower=True)
        if len(self._devices) > MOST_DEVICES:
            raise TelemetryError(
                f"{self._source}: has more than {MOST_DEVICES} different devices, such as "
                f"{next(iter(self._devices))!r}; 'device' must be the kind of a device, not one installation"
            )
        named = (device >= 0) & (model >= 0)
        self._nameless += int((~named).sum())
        return named, device[named], model[named]

    def _seconds(self, chunk: pd.DataFrame) -> Floats:
        if not self._columns.has_timestamp:
            return np.full(len(chunk), self._now)
        return seconds_since_1970(chunk["timestamp"])

    def _sent_twice(self, key: Ints, latency: Floats, seconds: Floats, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        twice = np.zeros(len(key), np.bool_)
        if not self._columns.has_timestamp:
            return twice
        mixed = _mixed(key, latency, seconds)
        hashes, first = np.unique(mixed[among], return_index=True)
        twice[among] = True
        twice[np.flatnonzero(among)[first]] = False
        for earlier in self._seen:
            twice |= among & np.isin(mixed, earlier, kind="sort")
        self._seen.append(hashes)
        return twice

    def _count_faults(self, device: Ints, faults: list[NDArray[np.bool_]]) -> None:
        size = len(self._devices)
        counts = [np.bincount(device[fault], minlength=size) for fault in faults]
        self._faults = _grown(self._faults, size) + np.column_stack(counts)

    def _shrink(self) -> None:
        """Merge equal entries; where there are still too many, count those of large groups to four digits."""
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
    """(rows,) the number of each name, new ones added to `known`; -1 where there is none."""
    codes, uniques = pd.factorize(names)
    texts = [str(name).strip().lower() if lower else str(name).strip() for name in uniques]
    return np.array([*(known.setdefault(text, len(known)) if text else -1 for text in texts), -1])[codes]


def _grown(counts: Ints, size: int) -> Ints:
    return np.concatenate([counts, np.zeros((size - len(counts), *counts.shape[1:]), np.int64)])


def _counted(entries: Ints, latency: Floats, count: Ints) -> tuple[Ints, Floats, Ints]:
    """Equal pairs as one, their counts added; sorted."""
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


def _mixed(key: Ints, latency: Floats, seconds: Floats) -> NDArray[np.uint64]:
    """(rows,) a 64-bit hash of each row."""
    mixed = key.astype(np.uint64)
    for part in (latency.view(np.uint64), seconds.view(np.uint64)):
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = mixed ^ (part * np.uint64(0x9E3779B97F4A7C15))
        mixed = mixed ^ (mixed >> np.uint64(32))
    return mixed * np.uint64(0x94D049BB133111EB)
