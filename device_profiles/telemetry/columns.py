"""The file formats and columns of telemetry: Parquet or CSV, in chunks."""

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
"""Rows in memory at a time."""

_TIMESTAMP = "timestamp"
_NOT_A_NUMBER = ["", "nan", "NaN", "NA", "N/A", "null", "NULL", "None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns that are read.

    Attributes:
        latency: its name, which says the unit.
        us_per_unit: microseconds in one of that unit.
        has_timestamp: whether there is a column `timestamp`.
    """

    latency: str
    us_per_unit: float
    has_timestamp: bool

    @property
    def names(self) -> list[str]:
        """All of them."""
        return ["device", "model", self.latency, *([_TIMESTAMP] if self.has_timestamp else [])]


def find_columns(names: list[str], source: str) -> Columns:
    """What to read of a file with these columns. Others are ignored.

    Raises:
        TelemetryError: one is missing (the nearest is named), or the latency is given twice.
    """
    for needed in ("device", "model"):
        if needed not in names:
            raise TelemetryError(f"{source}: has no column {needed!r}; {_nearest(needed, names)}")
    latencies = [name for name in US_PER_LATENCY_COLUMN if name in names]
    if not latencies:
        known = ", ".join(US_PER_LATENCY_COLUMN)
        raise TelemetryError(f"{source}: has no column of latencies, one of {known}; {_nearest('latency_us', names)}")
    if len(latencies) > 1:
        raise TelemetryError(
            f"{source}: has the columns {' and '.join(latencies)}; keep one, so that the unit is clear"
        )
    name = latencies[0]
    return Columns(latency=name, us_per_unit=US_PER_LATENCY_COLUMN[name], has_timestamp=_TIMESTAMP in names)


def read_chunks(path: Path) -> tuple[Columns, Iterator[pd.DataFrame]]:
    """The columns of a file, and its rows in chunks; a file that starts as Parquet does is Parquet, else CSV.

    Raises:
        TelemetryError: unreadable, empty, neither format, or without the columns; also while it is iterated.
    """
    if path.is_dir():
        raise TelemetryError(f"{path}: is a folder; name a Parquet or CSV file of rows")
    with _reading(path):
        with path.open("rb") as stream:
            start = stream.read(4)
        if not start:
            raise TelemetryError(f"{path}: is empty; rows with device, model and latency_us are expected")
        return _parquet(path) if start == b"PAR1" else _csv(path)


def seconds_since_1970(values: pd.Series) -> NDArray[np.float64]:
    """Epoch seconds from numbers, dates or ISO texts, (rows,); NaN where nothing can be read."""
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
    """The values as numbers, (rows,); NaN where one is none."""
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
                keep_default_na=False,  # a device may be called NA
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
        raise TelemetryError(f"{path}: is empty; rows with device, model and latency_us are expected") from error
    except UnicodeDecodeError as error:
        raise TelemetryError(f"{path}: is neither Parquet nor UTF-8 text; write one of them") from error
    except OSError as error:
        raise TelemetryError(f"{path}: cannot be read ({error.strerror or error}); name a file of rows") from error
    except (pd.errors.ParserError, ArrowException) as error:
        reason = " ".join(str(error).split())
        raise TelemetryError(f"{path}: is damaged, or no Parquet or CSV ({reason}); export the rows again") from error


def _nearest(needed: str, names: list[str]) -> str:
    return nearest(needed, [str(name) for name in names])
