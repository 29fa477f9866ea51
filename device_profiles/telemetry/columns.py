"""The file formats and columns of telemetry: Parquet or CSV, read in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from device_profiles.foreign.table_file import open_table
from device_profiles.foreign.written_numbers import Notation, find_notation, is_text, numbers_of
from device_profiles.telemetry.timestamps import Timestamps
from factory_base.documents import nearest
from factory_base.errors import ForeignError, TelemetryError
from factory_base.foreign import printable
from factory_base.quantities import US_PER_LATENCY_COLUMN
from factory_base.wording import counted

_TIMESTAMP = "timestamp"

_LONGEST_NAME = 1000
"""Characters of the name of a kind of device, or of a digest, many times as many as either needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns that are read.

    Attributes:
        latency: Name of the latency column, which states the unit.
        us_per_unit: Microseconds in one of that unit.
        has_timestamp: Whether there is a column `timestamp`.
    """

    latency: str
    us_per_unit: float
    has_timestamp: bool

    @property
    def names(self) -> list[str]:
        """The names of all columns that are read."""
        return ["device", "model", self.latency, *([_TIMESTAMP] if self.has_timestamp else [])]


def find_columns(names: list[str], source: str) -> Columns:
    """Find the columns to read in a file with the columns `names`. Other columns are ignored.

    Args:
        names: All columns of the file.
        source: Name of the file, for messages.

    Raises:
        TelemetryError: A column is missing (the message names the nearest one), or there are several latency columns.
    """
    for needed in ("device", "model"):
        if needed not in names:
            raise TelemetryError(f"{source}: there is no column {needed!r}; {_nearest(needed, names)}")
    latencies = [name for name in US_PER_LATENCY_COLUMN if name in names]
    if not latencies:
        known = ", ".join(US_PER_LATENCY_COLUMN)
        raise TelemetryError(
            f"{source}: there is no column of latencies, one of {known}; {_nearest('latency_us', names)}"
        )
    if len(latencies) > 1:
        raise TelemetryError(
            f"{source}: there are the columns {' and '.join(latencies)}; keep one, so that the unit is clear"
        )
    name = latencies[0]
    return Columns(latency=name, us_per_unit=US_PER_LATENCY_COLUMN[name], has_timestamp=_TIMESTAMP in names)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """Some rows of a file.

    Attributes:
        device: Name of the kind of device, as it was written.
        model: Digest of the model, as it was written.
        latency_us: Latency, NaN if it is not a number, (rows,).
        seconds: Timestamp in seconds since 1970, NaN if it cannot be read, (rows,).
        written: The latencies as they were written, an Arrow array, for an example in a message.
    """

    device: pd.Series
    model: pd.Series
    latency_us: NDArray[np.float64]
    seconds: NDArray[np.float64]
    written: Any


class RowFile:
    """A file of telemetry rows, Parquet or CSV, read in chunks.

    Args:
        path: The file.
        now: Seconds since 1970.

    Raises:
        TelemetryError: The file is unreadable, empty, in neither format, or lacks a column.
    """

    def __init__(self, path: Path, now: float) -> None:
        with _as_telemetry_errors():
            self._file = open_table(path)
        self.source = self._file.shown
        self.columns = find_columns(list(self._file.columns), self.source)
        self._now, self._timestamps = now, Timestamps(now)
        self._torn: list[str] = []
        self._notation: Notation | None = None
        self._has_points = False

    def chunks(self) -> Iterator[Chunk]:
        """All rows. Raises `TelemetryError` if the file is damaged, or writes its numbers in an unclear way."""
        with _as_telemetry_errors():
            for batch in self._file.batches(self.columns.names, self._torn):
                yield self._chunk(batch)

    def notes(self) -> tuple[str, ...]:
        """What people should know about how the file was read, a sentence each. Call it when all rows were read."""
        torn = ""
        if self._torn:
            torn = f"{counted(len(self._torn), 'row')} had to be dropped, for example: {self._torn[0]}"
        numbers = self._notation.describe() if self._notation else ""
        return tuple(filter(None, [torn, numbers, *self._timestamps.notes()]))

    def _chunk(self, batch: dict[str, Any]) -> Chunk:
        written = batch[self.columns.latency]
        notation = self._notation_of(written)
        with self._naming(self.columns.latency):
            latency = numbers_of(written, notation) * self.columns.us_per_unit
        seconds = np.full(len(latency), self._now)
        if self.columns.has_timestamp:
            with self._naming(_TIMESTAMP):
                seconds = self._timestamps.seconds(batch[_TIMESTAMP])
        return Chunk(
            device=self._names(batch["device"]), model=self._names(batch["model"]), latency_us=latency,
            seconds=seconds, written=written,
        )  # fmt: skip

    @contextmanager
    def _naming(self, column: str) -> Iterator[None]:
        try:
            yield
        except ForeignError as error:
            raise TelemetryError(f"{self.source}: the column {column!r} {error}") from error

    def _notation_of(self, array: Any) -> Notation:
        """How the file writes numbers: what the first chunk shows in which there is anything to see."""
        from pyarrow import compute

        if self._notation is not None or not is_text(array):
            return self._notation or Notation()
        found = find_notation(array, f"{self.source}, column {self.columns.latency}")
        if found.example:
            if found.has_comma and self._has_points:
                raise TelemetryError(f"{self.source}: numbers are written with decimal points and with {found.example}")
            self._notation = found
        self._has_points = self._has_points or bool(compute.any(compute.match_substring(array, ".")).as_py())
        return found

    def _names(self, array: Any) -> pd.Series:
        from pyarrow import compute, string

        texts = array if is_text(array) else compute.cast(array, string())
        longest = compute.max(compute.utf8_length(texts)).as_py() or 0
        if longest > _LONGEST_NAME:
            raise TelemetryError(
                f"{self.source}: a device or model has a name of {longest:,} characters, at most {_LONGEST_NAME} are "
                "read; name the kind of device and the digest of the model file"
            )
        names: pd.Series = texts.to_pandas()
        return names


@contextmanager
def _as_telemetry_errors() -> Iterator[None]:
    try:
        yield
    except ForeignError as error:
        raise TelemetryError(str(error)) from error


def _nearest(needed: str, names: list[str]) -> str:
    return printable(nearest(needed, names))
