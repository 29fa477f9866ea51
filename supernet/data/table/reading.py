"""Reads chosen columns of CSV, TSV, JSON Lines and Parquet files, batch by batch, as Arrow arrays."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from factory_base.errors import DataError, FactoryError
from factory_base.foreign import one_line, printable
from supernet.data.table.json_lines import json_batches, keys_of, lines_of

TableFormat = Literal["csv", "tsv", "jsonl", "parquet"]

SUFFIXES: Final[dict[str, TableFormat]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
"""File name extension in lower case -> format."""

Batch = dict[str, Any]
"""Name of a column -> its values, a `pyarrow.Array`; all of one length."""

_BLOCK_BYTES = 8 * 2**20  # of text that is parsed at a time; no row may be longer
_BATCH_ROWS = 2**16  # rows at a time: a few MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """One file of rows.

    Attributes:
        path: The file.
        format: Its format.
        header: Names of the columns of a CSV or TSV file whose first line is a row already; None for one that names
            them in its first line.
    """

    path: Path
    format: TableFormat
    header: tuple[str, ...] | None = None

    def columns(self) -> list[str]:
        """The names of all columns; of JSON Lines, the keys of the first row. Raises `DataError`."""
        with _readable(self):
            if self.format == "parquet":
                return list(parquet_schema(self.path).names)
            if self.format == "jsonl":
                return keys_of(self.path)
            return _header(self)

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """The values of `columns`, which the file has, in the order of the rows.

        Cells of CSV and TSV files are all text, and an empty cell is an empty text.

        Raises:
            DataError: The file is damaged, or cells of one column of JSON Lines are of different types.
        """
        with _readable(self):
            if self.format == "parquet":
                yield from _parquet_batches(self, columns)
            elif self.format == "jsonl":
                yield from json_batches(self.path, columns)
            else:
                yield from _text_batches(self, columns)

    def places(self, rows: Sequence[int]) -> list[str]:
        """The names of `rows`, from 0 and ascending, for messages: by line, as editors count, if there are lines."""
        shown = printable(str(self.path))
        if self.format == "parquet":
            return [f"{shown}, row {row}" for row in rows]
        return [f"{shown}, line {line}" for line in self._lines_of(rows)]

    def _lines_of(self, rows: Sequence[int]) -> list[int]:
        """The line in which each row starts, in one pass over the file up to the last of them."""
        if not rows:
            return []
        wanted = set(rows)
        if self.format == "jsonl":
            return [line for row, (line, _) in enumerate(islice(lines_of(self.path), rows[-1] + 1)) if row in wanted]
        with self.path.open(encoding="utf-8-sig", newline="", errors="replace") as stream:
            starts = (line for line, cells in _starts(_rows(self, stream)) if cells)
            below = islice(starts, self.header is None, rows[-1] + 1 + (self.header is None))
            return [line for row, line in enumerate(below) if row in wanted]


def parquet_schema(path: Path) -> Any:
    """The Arrow schema of a Parquet file, metadata included."""
    import pyarrow.parquet as pq

    return pq.read_schema(path)


@contextmanager
def _readable(file: TableFile) -> Iterator[None]:
    """Turns what a library raises for a damaged file into a `DataError`."""
    try:
        yield
    except (FactoryError, GeneratorExit):
        raise
    except OSError as error:
        raise DataError(f"{printable(str(file.path))}: cannot be read ({error.strerror or one_line(error)})") from error
    except Exception as error:  # Arrow raises what the damage leads it to
        kind = {"parquet": "Parquet", "jsonl": "JSON Lines"}.get(file.format, file.format.upper())
        reason = one_line(error) or type(error).__name__
        raise DataError(
            f"{printable(str(file.path))}: is not a readable {kind} file ({reason}); correct it or write it again"
        ) from error


def _parquet_batches(file: TableFile, columns: Sequence[str]) -> Iterator[Batch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file.path) as opened:
        for batch in opened.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
            arrays = {name: batch.column(name) for name in columns}
            for array in arrays.values():
                array.validate(full=True)  # text that is not UTF-8, which fails later wherever it is read
            yield arrays


def _header(file: TableFile) -> list[str]:
    if file.header is not None:
        return list(file.header)
    with file.path.open(encoding="utf-8-sig", newline="") as stream:
        return next((cells for cells in _rows(file, stream) if cells), [])


def _rows(file: TableFile, stream: TextIO) -> Any:
    """A `csv.reader` of the file, which is slow but knows the number of each line."""
    csv.field_size_limit(_BLOCK_BYTES)
    if file.format == "tsv":
        return csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
    return csv.reader(stream, delimiter=_delimiter(file))


def _delimiter(file: TableFile) -> str:
    """What separates cells: of a CSV file a semicolon if the header has no comma, as spreadsheets in Europe write."""
    if file.format == "tsv":
        return "\t"
    with file.path.open(encoding="utf-8-sig") as stream:
        header = stream.readline(_BLOCK_BYTES)
    return ";" if ";" in header and "," not in header else ","


def _text_batches(file: TableFile, columns: Sequence[str]) -> Iterator[Batch]:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = _header(file)
    with arrow_csv.open_csv(
        file.path,
        read_options=arrow_csv.ReadOptions(
            use_threads=False,  # else errors do not name the row
            block_size=_BLOCK_BYTES,
            column_names=file.header and list(file.header),
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=_delimiter(file),
            quote_char=False if file.format == "tsv" else '"',  # a quotation mark in TSV is one, as its definition says
            newlines_in_values=file.format == "csv",
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), include_columns=list(columns), strings_can_be_null=False
        ),
    ) as reader:
        for batch in reader:
            yield {name: batch.column(name) for name in columns}


def _starts(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Each row of a `csv.reader`, with the line in which it starts."""
    before = 0
    for cells in reader:
        yield before + 1, cells
        before = reader.line_num
