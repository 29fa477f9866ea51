"""The rows of one or several files as one table, of which only the columns in use are kept, packed, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from factory_base.documents import nearest
from factory_base.errors import ConfigError, DataError
from factory_base.foreign import printable
from supernet.data.split_names import listed
from supernet.data.table.reading import TableFile


class RowFile(Protocol):
    """A file of rows, as far as a table that was read needs it."""

    @property
    def path(self) -> Path:
        """The file."""

    def places(self, rows: Sequence[int]) -> list[str]:
        """The names of `rows`, from 0 and ascending, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """Rows of several files, numbered through in the order of the files.

    Attributes:
        files: The files.
        counts: Number of rows of each file.
        columns: Name -> values of all rows, a `pyarrow.Array`, of each column in use.
    """

    files: tuple[RowFile, ...]
    counts: tuple[int, ...]
    columns: dict[str, Any]

    def __len__(self) -> int:
        """The number of rows."""
        return sum(self.counts)

    def place(self, row: int) -> str:
        """The file and the line or row of `row`, for messages."""
        return self.places(np.array([row], dtype=np.int64))[0]

    def places(self, rows: NDArray[np.int64]) -> list[str]:
        """The file and the line or row of each of `rows`, which are ascending, for messages."""
        edges = np.cumsum((0, *self.counts))
        found = []
        for file, first, stop in zip(self.files, edges[:-1], edges[1:], strict=True):
            found += file.places((rows[(rows >= first) & (rows < stop)] - first).tolist())
        return found

    def with_column(self, name: str, values: Any) -> Table:
        """This table with other values in one column."""
        return replace(self, columns={**self.columns, name: values})

    def cell(self, name: str, row: int) -> str:
        """The place and the value of a cell, for messages: `a.csv, line 7: 'label' is 'cat'`."""
        value = self.columns[name][int(row)].as_py()
        return f"{self.place(row)}: {printable(name)!r} is {printable(repr(value), 80)}"


def read_table(files: Sequence[TableFile], keys: dict[str, str]) -> Table:
    """Read columns of `files`.

    Args:
        files: The files, at least one.
        keys: Name of each column -> the key of the config that names it, for messages.

    Raises:
        ConfigError: A file has no column of that name; the message states the nearest.
        DataError: A file is damaged, has two columns of that name, or a column is of different types in two files.
    """
    parts: dict[str, list[Any]] = {name: [] for name in keys}
    counts = []
    for file in files:
        _check_columns(file, keys)
        count = 0
        for batch in file.batches(list(keys)):
            count += len(next(iter(batch.values())))
            for name, values in batch.items():
                parts[name].append(plain(values))
        counts.append(count)
    if not sum(counts):
        raise DataError(f"{listed([printable(str(file.path)) for file in files])}: holds no rows")
    columns = {name: joined([file.path for file in files], name, found) for name, found in parts.items()}
    return Table(files=tuple(files), counts=tuple(counts), columns=columns)


def missing_rows(values: Any) -> NDArray[np.bool_]:
    """Which cells of a column are null, or empty or blank text: `(count,)`."""
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    missing = values.is_null()
    if kinds.is_large_string(values.type):
        missing = pc.or_kleene(missing, pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0))
    elif kinds.is_floating(values.type):
        missing = pc.or_kleene(missing, pc.is_nan(values))
    found: NDArray[np.bool_] = missing.to_numpy(zero_copy_only=False)
    return found


def require_all(table: Table, name: str, advice: str) -> None:
    """Raise `DataError` if a cell of a column is missing; the message names the first and their number."""
    missing = np.flatnonzero(missing_rows(table.columns[name]))
    if len(missing):
        more = f" (and in {len(missing) - 1:,} more rows)" if len(missing) > 1 else ""
        raise DataError(f"{table.place(missing[0])}: {printable(name)!r} is missing{more}; {advice}")


def _check_columns(file: TableFile, keys: dict[str, str]) -> None:
    known = file.columns()
    if not known:
        raise DataError(f"{printable(str(file.path))}: holds no rows")
    for name, key in keys.items():
        if name not in known:
            shown = [printable(other, 80) for other in known]
            raise ConfigError(
                f"{printable(str(file.path))}: has no column {name!r}; {nearest(name, shown)}; set '{key}'"
            )
        if known.count(name) > 1:
            raise DataError(
                f"{printable(str(file.path))}: has {known.count(name)} columns {name!r}; rename all but one"
            )


def plain(values: Any) -> Any:
    """`values` without dictionaries and with one type for all forms of text, of bytes and of numbers with a point."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if kinds.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if kinds.is_string(kind) or kinds.is_string_view(kind):
        return values.cast(pa.large_string())
    if kinds.is_floating(kind) or kinds.is_decimal(kind):
        return values.cast(pa.float64())
    if kinds.is_integer(kind) and kind != pa.int64():
        return values.cast(pa.int64())
    return values


def joined(paths: Sequence[Path], name: str, parts: Sequence[Any]) -> Any:
    """The parts of one column as one `pyarrow.Array`.

    Args:
        paths: The files that the parts are from.
        name: The column.
        parts: Arrays, which are empty or of one type, whole numbers and others being one.

    Raises:
        DataError: The parts are of different types.
    """
    import pyarrow as pa

    types = {part.type for part in parts if part.type != pa.null()}
    if types == {pa.int64(), pa.float64()}:
        types = {pa.float64()}
    if len(types) > 1:
        raise DataError(
            f"{listed([printable(str(path)) for path in paths])}: column {printable(name)!r} holds "
            f"{' and '.join(sorted(map(str, types)))}; write it as one type in all files"
        )
    kind = next(iter(types), pa.null())
    return pa.concat_arrays([part.cast(kind) for part in parts])


def refuse(table: Table, name: str, rows: NDArray[np.int64], problem: str) -> None:
    """Raise `DataError` if there are `rows`, whose cells of a column have a problem; it names the first of them."""
    if len(rows):
        more = f" (the first of {len(rows):,} such rows)" if len(rows) > 1 else ""
        raise DataError(f"{table.cell(name, rows[0])}, {problem}{more}")
