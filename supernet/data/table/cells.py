"""Cells of one column: packed texts, distinct values, numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from factory_base.foreign import printable
from supernet.data.table.rows import Table, refuse, require_all

Codes = NDArray[np.int64]
"""For each cell, the index of its value among the distinct ones: `(count,)`."""

_CHUNK = 4096  # texts that are unpacked at a time


@dataclass(frozen=True, slots=True, eq=False)
class Texts(Sequence[str]):
    """The cells of a column of text, packed: 8 bytes each beside the characters.

    Attributes:
        cells: A `pyarrow.LargeStringArray` without nulls.
    """

    cells: Any

    @staticmethod
    def of(texts: Sequence[str]) -> Texts:
        """Packs `texts`."""
        import pyarrow as pa

        return Texts(pa.array(texts, pa.large_string()))

    @staticmethod
    def joined(parts: Sequence[Texts]) -> Texts:
        """All texts of `parts`, which are one or more."""
        import pyarrow as pa

        return Texts(pa.concat_arrays([part.cells for part in parts]))

    def __len__(self) -> int:
        return len(self.cells)

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> Texts: ...

    def __getitem__(self, row: int | slice) -> str | Texts:
        if isinstance(row, slice):
            return Texts(self.cells[row])
        text: str = self.cells[int(row)].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _CHUNK):
            yield from self.cells.slice(start, _CHUNK).to_pylist()

    def at(self, rows: NDArray[np.int64]) -> Texts:
        """The cells at `rows`, in any order."""
        return Texts(self.cells.take(rows))


def distinct(values: Any) -> tuple[Codes, list[Any]]:
    """The distinct values of a `pyarrow.Array` without nulls, as Python values, and the index of each cell's value."""
    coded = values.dictionary_encode()
    return coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary.to_pylist()


def numbers(table: Table, name: str) -> NDArray[np.float64]:
    """The numbers in a column without missing cells, `(count,)`. Raises `DataError` for a cell that is not a number."""
    import pyarrow as pa
    import pyarrow.types as kinds

    values = table.columns[name]
    if kinds.is_large_string(values.type):
        try:
            return _array(values.cast(pa.float64()))
        except pa.ArrowInvalid:
            wrong = next((row for row, cell in enumerate(values) if not _is_number(cell.as_py())), None)
            if wrong is not None:
                refuse(table, name, np.array([wrong]), "not a number; write it with a point, as in 1.5")
            return np.array([float(cell.as_py()) for cell in values])
    if not (kinds.is_floating(values.type) or kinds.is_integer(values.type)):
        raise DataError(f"{table.place(0)}: column {printable(name)!r} holds {values.type}, expected numbers")
    return _array(values.cast(pa.float64(), safe=False))


def as_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """`values` with 32 bits; infinite if they exceed these."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _array(values: Any) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.to_numpy(zero_copy_only=False)
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # which Python allows between digits


def check_texts(table: Table, name: str) -> None:
    """Raise `DataError` unless a column holds text in every row."""
    import pyarrow.types as kinds

    kind = table.columns[name].type
    if not kinds.is_large_string(kind):
        raise DataError(f"{table.place(0)}: column {printable(name)!r} holds {kind}, expected text; set 'text_column'")
    require_all(table, name, "write a text for every row, or remove the row")
