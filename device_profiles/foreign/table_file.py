"""The files of tables from outside, CSV or Parquet, opened without trust and read in batches of bounded size.

CSV may be separated by commas, semicolons or tabs, may be UTF-8 or UTF-16, with a byte order mark or not, and may be
compressed by gzip. All of its cells are texts; what they mean is for the caller. Columns of Parquet must be flat.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from factory_base.errors import ForeignError
from factory_base.foreign import one_line, open_regular, printable

BLOCK_BYTES = 4 * 2**20
"""Bytes of CSV that are parsed at a time, and so the longest row: a quotation mark that is never closed ends there."""

BATCH_ROWS = 1 << 18
"""Rows of Parquet that are read at a time. A batch takes tens of MiB."""

MOST_COLUMNS = 10_000
"""Far more than a table that people write has, and few enough that all names of columns can be kept."""

MOST_ROWS = 1_000_000_000
"""A day's rows of a large fleet. Parquet can state any number of equal rows in a few bytes."""

_MOST_COLUMN_BYTES = 2 * 2**30
"""Uncompressed bytes of one column in one row group of Parquet: a page, which is read whole, can be as large."""

_HEADER_BYTES = 2**20
_DELIMITERS = ",;\t"
_GZIP_FORMAT = 31
"""The `wbits` with which `zlib` expects the header of gzip."""

Format = Literal["csv", "parquet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """A table whose header was read.

    Attributes:
        path: The file.
        format: `csv` or `parquet`.
        columns: Names of all columns, without spaces around them.
        delimiter: What separates columns; "" for Parquet.
        encoding: Encoding of the text; "" for Parquet.
        compressed: Whether the text is compressed by gzip.
    """

    path: Path
    format: Format
    columns: tuple[str, ...]
    delimiter: str = ""
    encoding: str = ""
    compressed: bool = False

    def batches(self, names: Sequence[str], torn: list[str]) -> Iterator[dict[str, Any]]:
        """Read the columns `names` batch by batch: name -> a flat array of Arrow, texts if the file is CSV.

        Args:
            names: Names of columns that the table has.
            torn: Receives a sentence for the first row of CSV with another number of cells than the header, and an
                empty text for each further one; these rows are left out.

        Raises:
            ForeignError: A column is there twice or is nested; or the file is damaged.
        """
        for name in names:
            if self.columns.count(name) > 1:
                raise ForeignError(f"{self.shown}: the column {name!r} is there twice; keep one of them")
        with _reading(self.path), open_regular(self.path) as stream:
            yield from self._parquet(stream, names) if self.format == "parquet" else self._csv(stream, names, torn)

    @property
    def shown(self) -> str:
        """The path for messages."""
        return printable(str(self.path))

    def _csv(self, stream: BinaryIO, names: Sequence[str], torn: list[str]) -> Iterator[dict[str, Any]]:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        places = {name: str(self.columns.index(name)) for name in names}

        def skip(row: Any) -> str:
            reason = f"row {row.number} has {row.actual_columns} cells, but the header has {row.expected_columns}"
            torn.append("" if torn else reason)
            return "skip"

        source = pa.PythonFile(stream, mode="r")
        reader = arrow_csv.open_csv(
            pa.CompressedInputStream(source, "gzip") if self.compressed else source,
            read_options=arrow_csv.ReadOptions(
                column_names=[str(place) for place in range(len(self.columns))],
                skip_rows=1,
                # Arrow reads plain UTF-8 without a check; this makes it decode all bytes before it parses them.
                encoding="utf-8-sig" if self.encoding == "utf-8" else self.encoding,
                block_size=BLOCK_BYTES,
                use_threads=False,  # threads would not know the numbers of rows
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=list(places.values()),
                column_types=dict.fromkeys(places.values(), pa.string()),
                strings_can_be_null=False,
            ),
        )
        for batch in reader:
            yield {name: batch.column(place) for name, place in places.items()}

    def _parquet(self, stream: BinaryIO, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        from pyarrow.parquet import ParquetFile

        file = ParquetFile(stream)
        for name in names:
            kind = file.schema_arrow.field(name).type
            if not _is_flat(kind):
                raise ForeignError(
                    f"{self.shown}: the column {name!r} holds {printable(str(kind), 60)}; write one number or text in "
                    "each row"
                )
        _check_sizes(file.metadata, names, self.shown)
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(names)):
            batch.validate(full=True)  # of indices and texts, which are not checked when they are read
            yield {name: _decoded(batch.column(name)) for name in names}


def open_table(path: Path) -> TableFile:
    """Read the header of a table. A file with the magic bytes of Parquet is read as Parquet, any other as CSV.

    Raises:
        ForeignError: The file is not a regular file, is empty, is neither Parquet nor text, or has too many columns.
    """
    with open_regular(path) as stream:
        start = stream.read(_HEADER_BYTES)
    shown = printable(str(path))
    if not start:
        raise ForeignError(f"{shown}: the file is empty; a table in CSV or Parquet is expected")
    table = _parquet_table(path) if start.startswith(b"PAR1") else _csv_table(path, start, shown)
    if len(table.columns) > MOST_COLUMNS:
        raise ForeignError(f"{shown}: has {len(table.columns):,} columns, at most {MOST_COLUMNS:,} are read")
    return table


def _parquet_table(path: Path) -> TableFile:
    from pyarrow.parquet import ParquetFile

    with _reading(path), open_regular(path) as stream:
        names = ParquetFile(stream).schema_arrow.names
        return TableFile(path=path, format="parquet", columns=tuple(str(name) for name in names))


def _csv_table(path: Path, start: bytes, shown: str) -> TableFile:
    compressed = start.startswith(b"\x1f\x8b")
    if compressed:
        try:
            start = zlib.decompressobj(_GZIP_FORMAT).decompress(start, _HEADER_BYTES)
        except zlib.error as error:
            raise ForeignError(f"{shown}: is damaged: gzip cannot unpack it; export it again") from error
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    header = _first_line(start, encoding, shown)
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        (names,) = csv.reader([header], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError) as error:
        raise ForeignError(f"{shown}: the first line does not name columns ({printable(header, 60)})") from error
    return TableFile(
        path=path, format="csv", columns=tuple(name.strip() for name in names), delimiter=delimiter, encoding=encoding,
        compressed=compressed,
    )  # fmt: skip


def _first_line(start: bytes, encoding: str, shown: str) -> str:
    """The first line of a text, decoded. Raises `ForeignError` if it is not text, or if the line is empty."""
    if encoding == "utf-8" and b"\0" in start:
        raise ForeignError(
            f"{shown}: neither Parquet nor UTF-8 text (it holds zero bytes); save it as CSV in UTF-8: workbooks "
            "are not read"
        )
    try:
        text = io.TextIOWrapper(io.BytesIO(start), encoding=encoding).readline()
    except UnicodeDecodeError as error:
        raise ForeignError(f"{shown}: neither Parquet nor UTF-8 text; save it as CSV in UTF-8") from error
    line = text.removeprefix("\ufeff").rstrip("\n")
    if not line.strip():
        raise ForeignError(f"{shown}: the first line is empty; it must name the columns")
    return line


def _is_flat(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_flat(kind.value_type)
    tests = (
        types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_string,
        types.is_large_string, types.is_timestamp, types.is_date, types.is_null,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def _decoded(array: Any) -> Any:
    from pyarrow import types

    return array.dictionary_decode() if types.is_dictionary(array.type) else array


def _check_sizes(metadata: Any, names: Sequence[str], shown: str) -> None:
    """Raise `ForeignError` if the file states more than what is read: rows, or bytes of a column in a row group."""
    if metadata.num_rows > MOST_ROWS:
        raise ForeignError(f"{shown}: has {metadata.num_rows:,} rows, at most {MOST_ROWS:,} are read; split it by day")
    wanted = [place for place in range(metadata.num_columns) if metadata.schema.column(place).path in names]
    for group in range(metadata.num_row_groups):
        for place in wanted:
            column = metadata.row_group(group).column(place)
            if column.total_uncompressed_size > _MOST_COLUMN_BYTES:
                raise ForeignError(
                    f"{shown}: a row group holds {column.total_uncompressed_size:,} bytes of "
                    f"{printable(column.path_in_schema, 60)}, at most {_MOST_COLUMN_BYTES:,} are read; write smaller "
                    "row groups"
                )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever Arrow raises for a damaged file into a `ForeignError`."""
    try:
        yield
    except ForeignError:
        raise
    except Exception as error:  # damaged files make Arrow raise its own errors and any of Python's
        shown, reason = printable(str(path)), one_line(error)
        if isinstance(error, UnicodeDecodeError) or "invalid UTF8" in reason:
            raise ForeignError(f"{shown}: neither Parquet nor UTF-8 text; save it as CSV in UTF-8") from error
        if "straddling object" in reason:
            reason = f"a row is longer than {BLOCK_BYTES:,} bytes; is a quotation mark not closed?"
        raise ForeignError(f"{shown}: damaged, or not Parquet or CSV ({reason}); export it again") from error
