"""Columns of JSON Lines files: an object in each line, with cells of one type per column."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from factory_base.errors import DataError
from factory_base.foreign import one_line, printable

_BATCH_ROWS = 2**13  # objects at a time, which take a few hundred bytes each
_KINDS: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}
"""Types of JSON values that a cell may have -> what messages call them."""


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Each line that is not blank, with its number from 1."""
    with path.open(encoding="utf-8-sig", newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            text = line.strip()
            if text:
                yield number, text


def keys_of(path: Path) -> list[str]:
    """The keys of the first object; empty if there is none. Raises `DataError`."""
    return list(next(_objects(path), (0, {}))[1])


def json_batches(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The cells of `columns` as Arrow arrays, batch by batch; a missing key is null.

    Raises:
        DataError: A line holds no object, or cells of one column are of different types; the message names the line.
    """
    kinds: dict[str, type | None] = dict.fromkeys(columns)
    numbers: list[int] = []
    objects: list[dict[str, Any]] = []

    def place(index: int) -> str:
        return f"{printable(str(path))}, line {numbers[index]}"

    for number, value in _objects(path):
        numbers.append(number)
        objects.append(value)
        if len(objects) == _BATCH_ROWS:
            yield typed_arrays(objects, kinds, place)
            numbers.clear()
            objects.clear()
    if objects:
        yield typed_arrays(objects, kinds, place)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    decode = json.JSONDecoder().raw_decode  # half the time of `json.loads`
    for number, text in lines_of(path):
        try:
            value, end = decode(text)
        except ValueError as error:
            raise DataError(f"{printable(str(path))}, line {number}: is not valid JSON ({one_line(error)})") from error
        if not isinstance(value, dict) or end != len(text):
            raise DataError(f"{printable(str(path))}, line {number}: holds {text[:60]!r}, expected one JSON object")
        yield number, value


def typed_arrays(
    objects: Sequence[dict[str, Any]], kinds: dict[str, type | None], place: Callable[[int], str]
) -> dict[str, Any]:
    """Cells of JSON objects as Arrow arrays.

    Args:
        objects: The objects of a batch.
        kinds: Name of each column -> the type of its cells in the batches before, None at first; is updated.
        place: Index of an object -> its name in messages.

    Raises:
        DataError: Cells of one column are of different types.
    """
    import pyarrow as pa

    types: dict[type | None, Any] = {
        bool: pa.bool_(),
        int: pa.int64(),
        float: pa.float64(),
        str: pa.large_string(),
        None: pa.null(),
    }
    arrays = {}
    for name in kinds:
        cells = [value.get(name) for value in objects]
        if {*map(type, cells)} - {kinds[name], type(None)}:
            kinds[name] = _kind(name, cells, kinds[name], place)
        arrays[name] = pa.array(cells, types.get(kinds[name]))  # of lists, Arrow finds out what they hold
    return arrays


def _kind(name: str, cells: list[Any], kind: type | None, place: Callable[[int], str]) -> type | None:
    """The type of a column whose cells before were of type `kind`. Raises `DataError` at the first of another one."""
    for index, cell in enumerate(cells):
        found = type(cell)
        if cell is None or found is kind:
            continue
        said = f"{printable(name)!r} is"
        if found not in _KINDS:
            allowed = ", ".join(_KINDS.values())
            raise DataError(f"{place(index)}: {said} {printable(repr(cell), 60)}, expected one of: {allowed}")
        if kind is None:
            kind = found
        elif {kind, found} == {int, float}:
            kind = float
        else:
            raise DataError(
                f"{place(index)}: {said} {_KINDS[found]} ({printable(repr(cell), 60)}), but before {_KINDS[kind]}; "
                "write all cells of a column as one type"
            )
    return kind
