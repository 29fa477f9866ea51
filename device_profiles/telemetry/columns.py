"""The file formats and columns of telemetry: Parquet or CSV, read in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from factory_base.documents import nearest
from factory_base.errors import TelemetryError
from factory_base.quantities import US_PER_LATENCY_COLUMN

CHUNK_ROWS = 1 << 18
"""Rows that are read at a time. A chunk takes tens of MiB, and is large enough that pandas works at full speed."""

_TIMESTAMP = "timestamp"
_NOT_A_NUMBER = ["", "nan", "NaN", "NA", "N/A", "null", "NULL", "None"]


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


def read_chunks(path: Path) -> tuple[Columns, Iterator[pd.DataFrame]]:
    """Open a file and return its columns and its rows in chunks. A file with the magic bytes of Parquet is read as
    Parquet, any other as CSV.

    Raises:
        TelemetryError: The file is unreadable, empty, in neither format, or lacks a column. Also raised while the
            chunks are iterated.
    """
    if path.is_dir():
        raise TelemetryError(f"{path}: this is a folder; name a Parquet or CSV file of rows")
    with _reading(path):
        with path.open("rb") as stream:
            start = stream.read(4)
        if not start:
            raise TelemetryError(f"{path}: the file is empty; rows with device, model and latency_us are expected")
        return _parquet(path) if start == b"PAR1" else _csv(path)


def seconds_since_1970(values: pd.Series) -> NDArray[np.float64]:
    """Convert numbers, dates or ISO 8601 strings to seconds since 1970, (rows,); NaN if a value cannot be read."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    seconds = np.full(len(values), np.nan)
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        seconds = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, copy=True, na_value=np.nan)
    rest = np.isnan(seconds)
    dates = pd.to_datetime(values[rest], format="ISO8601", utc=True, errors="coerce")
    seconds[rest] = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return seconds


def numbers(values: pd.Series) -> NDArray[np.float64]:
    """Convert values to numbers, (rows,); NaN if a value is not a number."""
    if not pd.api.types.is_numeric_dtype(values.dtype):
        values = pd.to_numeric(values, errors="coerce")
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _parquet(path: Path) -> tuple[Columns, Iterator[pd.DataFrame]]:
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(path)
    columns = find_columns(list(file.schema_arrow.names), str(path))

    def chunks() -> Iterator[pd.DataFrame]:
        with _reading(path):
            for batch in file.iter_batches(batch_size=CHUNK_ROWS, columns=columns.names):
                yield batch.to_pandas()

    return columns, chunks()


def _csv(path: Path) -> tuple[Columns, Iterator[pd.DataFrame]]:
    columns = find_columns([str(name) for name in pd.read_csv(path, nrows=0).columns], str(path))

    def chunks() -> Iterator[pd.DataFrame]:
        numeric = dict.fromkeys(columns.names[2:], _NOT_A_NUMBER)
        with _reading(path):
            yield from pd.read_csv(
                path,
                usecols=columns.names,
                dtype={"device": str, "model": str},
                keep_default_na=False,  # a device may be named NA
                na_values=numeric,
                chunksize=CHUNK_ROWS,
            )

    return columns, chunks()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    from pyarrow import ArrowException

    try:
        yield
    except pd.errors.EmptyDataError as error:
        raise TelemetryError(
            f"{path}: the file is empty; rows with device, model and latency_us are expected"
        ) from error
    except UnicodeDecodeError as error:
        raise TelemetryError(f"{path}: neither Parquet nor UTF-8 text; save it in one of these formats") from error
    except OSError as error:
        raise TelemetryError(f"{path}: cannot be read ({error.strerror or error}); name a file of rows") from error
    except (pd.errors.ParserError, ArrowException) as error:
        reason = " ".join(str(error).split())
        raise TelemetryError(f"{path}: damaged, or not Parquet or CSV ({reason}); export the rows again") from error


def _nearest(needed: str, names: list[str]) -> str:
    return nearest(needed, [str(name) for name in names])
