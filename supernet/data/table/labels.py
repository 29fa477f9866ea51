"""Turns columns of a table into labels: the class of each row, its set of classes, or its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import ConfigError, DataError
from factory_base.foreign import printable
from factory_base.wording import counted
from supernet.data.class_names import checked_class_names
from supernet.data.config import DataConfig
from supernet.data.split_names import listed
from supernet.data.table.cells import Codes, as_float32, distinct, numbers
from supernet.data.table.rows import Table, plain, refuse, require_all
from supernet.data.types import LabelKind, Labels

SEPARATORS: Final = ("|", ";", ",")
"""What is looked for between the labels of a cell if the config does not say, in this order."""

_LABEL_EVERY_ROW = "write a label for every row, or remove the rows without one"
_MARKS: Final = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
"""How a cell says, in lower case, whether its column's label applies."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableLabels:
    """The labels of all rows of a table.

    Attributes:
        values: Labels of the kind that was asked for.
        names: The name of each class or value.
        notes: Lines for people.
    """

    values: Labels
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def label_columns(config: DataConfig) -> tuple[str, ...]:
    """The names of the columns of labels."""
    return tuple(config.label_columns or (config.label_column,))


def read_labels(
    table: Table, config: DataConfig, kind: LabelKind, is_test: NDArray[np.bool_], names: tuple[str, ...] | None
) -> TableLabels:
    """The labels of all rows.

    Args:
        table: The rows.
        config: The `data` section, which names the columns.
        kind: The kind of labels that the task learns.
        is_test: Whether each row is test data: `(count,)`. Such rows define no classes.
        names: Names of the classes, of which whole numbers are indices, if the files state them.

    Raises:
        ConfigError: The columns do not suit the task.
        DataError: A label is missing, of another kind, or of a class that only test data have; the message names the
            row and the value.
    """
    columns = label_columns(config)
    if kind == "class":
        if len(columns) > 1:
            raise ConfigError(
                f"'label_columns' names {counted(len(columns), 'column')} ({listed(columns)}), but the task learns one "
                "class per row; name one column, or choose task: multilabel or task: regression"
            )
        return _classes(table, columns[0], is_test, names)
    if kind == "classes" and len(columns) == 1:
        return _class_sets(table, columns[0], config.label_separator, is_test, names)
    read = _marks if kind == "classes" else _targets
    values = np.stack([read(table, name) for name in columns], axis=1)
    return TableLabels(values=values, names=checked_class_names(columns, "label_columns"))


def _classes(table: Table, name: str, is_test: NDArray[np.bool_], names: tuple[str, ...] | None) -> TableLabels:
    require_all(table, name, _LABEL_EVERY_ROW)
    codes, found = distinct(_of_classes(table, name, table.columns[name]))
    if names is not None and isinstance(found[0], int):
        return TableLabels(values=_indices(table, name, codes, found, len(names)), names=names)
    _refuse_negative(table, name, codes, found)
    labels, shown = _in_order(codes, found)
    present = np.bincount(labels[~is_test], minlength=len(shown)) > 0
    unknown = np.flatnonzero(~present[labels])
    known = [one for one, is_present in zip(shown, present, strict=True) if is_present]
    refuse(
        table, name, unknown, f"a class that no training row has; they have {listed(known)}; add rows or remove these"
    )
    return TableLabels(
        values=labels, names=checked_class_names(shown, f"column {name!r}"), notes=_mixed(table, name, codes, found)
    )


def _of_classes(table: Table, name: str, values: Any) -> Any:
    """`values` as text, whole numbers or booleans, which name classes. Raises `DataError` for anything else."""
    import pyarrow as pa
    import pyarrow.types as kinds

    values = plain(values)
    if kinds.is_floating(values.type):  # what pandas makes of whole numbers beside a missing value
        numbers = values.to_numpy(zero_copy_only=False)
        refuse(
            table,
            name,
            np.flatnonzero(numbers != np.round(numbers)),
            "not a class; for numbers choose task: regression",
        )
        return values.cast(pa.int64())
    if kinds.is_large_string(values.type) or kinds.is_integer(values.type) or kinds.is_boolean(values.type):
        return values
    hint = "; for several labels per row choose task: multilabel" if kinds.is_nested(values.type) else ""
    raise DataError(
        f"{table.place(0)}: column {printable(name)!r} holds {values.type}, expected text, whole numbers or booleans; "
        f"set 'label_column'{hint}"
    )


def _indices(table: Table, name: str, codes: Codes, found: list[Any], count: int) -> Labels:
    """Whole numbers as indices of the `count` classes that the file names."""
    values = np.array(found, dtype=np.int64)[codes]
    wrong = np.flatnonzero((values < 0) | (values >= count))
    refuse(table, name, wrong, f"out of range; the file names {counted(count, 'class', 'classes')}, numbered from 0")
    return values


def _refuse_negative(table: Table, name: str, codes: Codes, found: list[Any]) -> None:
    if not all(_is_whole(value) for value in found):
        return
    negative = np.array([str(value).startswith("-") for value in found])
    refuse(
        table,
        name,
        np.flatnonzero(negative[codes]),
        "out of range; labels count from 0, and a negative number often says that none is known: remove such rows, or "
        "write class names",
    )


def _in_order(codes: Codes, found: list[Any]) -> tuple[Codes, list[str]]:
    """Codes and names in the order of the classes: numbers by size, also as text, all else by name."""
    order = sorted(range(len(found)), key=lambda i: found[i])
    if all(_is_whole(value) for value in found):
        order = sorted(range(len(found)), key=lambda i: (int(found[i]), str(found[i])))
    ranks = np.empty(len(found), dtype=np.int64)
    ranks[order] = np.arange(len(found))
    names = [str(found[i]) if not isinstance(found[i], bool) else str(found[i]).lower() for i in order]
    return ranks[codes], names


def _is_whole(value: Any) -> bool:
    text = str(value)
    return text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() and len(text) < 19  # fits in 64 bits


def _mixed(table: Table, name: str, codes: Codes, found: list[Any]) -> tuple[str, ...]:
    """A line if some class names are whole numbers and others are not, as after a slip of the keyboard."""
    whole = np.array([_is_whole(value) for value in found])
    if not isinstance(found[0], str) or whole.all() or not whole.any():
        return ()
    rows = [int(np.flatnonzero(chosen[codes])[0]) for chosen in (whole, ~whole)]
    return (
        f"data: column {printable(name)!r} mixes whole numbers ({table.cell(name, rows[0])}) and other text "
        f"({table.cell(name, rows[1])}); all of them are names of classes",
    )


def _targets(table: Table, name: str) -> NDArray[np.float32]:
    """A column of numbers, `(count,)`."""
    require_all(table, name, "write a number for every row, or remove the rows without one")
    values = as_float32(numbers(table, name))
    refuse(
        table, name, np.flatnonzero(~np.isfinite(values)), "not a finite number of 32 bits; correct or remove the row"
    )
    return values


def _marks(table: Table, name: str) -> NDArray[np.uint8]:
    """A column that says whether a label applies: 0 or 1, or a boolean; `(count,)`."""
    require_all(table, name, "write 0 or 1")
    codes, found = distinct(table.columns[name])
    marks = np.array([_MARKS.get(str(value).strip().lower(), 2) for value in found], dtype=np.uint8)
    refuse(table, name, np.flatnonzero(marks[codes] == 2), "expected 0 or 1, or true or false")
    chosen: NDArray[np.uint8] = marks[codes]
    return chosen


def _class_sets(
    table: Table, name: str, separator: str | None, is_test: NDArray[np.bool_], names: tuple[str, ...] | None
) -> TableLabels:
    """A column of lists, or of text with separators between the labels; an empty one means that no label applies."""
    missing = np.flatnonzero(table.columns[name].is_null().to_numpy(zero_copy_only=False))
    refuse(table, name, missing, "missing; write an empty list or text if no label applies")
    lists, notes = _lists(table, name, separator)
    rows = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy(zero_copy_only=False))
    cells = lists.flatten()
    if not len(cells):
        raise DataError(f"{table.place(0)}: no row has a label in {printable(name)!r}; set 'label_column'")
    if cells.null_count:
        refuse(table, name, rows[cells.is_null().to_numpy(zero_copy_only=False)], "a list with a missing label")
    codes, found = distinct(_of_classes(table, name, cells))
    if names is not None and isinstance(found[0], int):
        wrong = ~np.isin(np.array(found), np.arange(len(names)))
        refuse(table, name, rows[wrong[codes]], f"out of range; the file names {len(names)} classes, numbered from 0")
        labels, shown = np.array(found, dtype=np.int64)[codes], names
    else:
        labels, ordered = _in_order(codes, found)
        known = np.bincount(labels[~is_test[rows]], minlength=len(ordered)) > 0
        refuse(table, name, rows[~known[labels]], "with a label that no training row has; add rows or remove these")
        shown = checked_class_names(ordered, f"column {name!r}")
    values = np.zeros((len(table), len(shown)), dtype=np.uint8)
    values[rows, labels] = 1
    return TableLabels(values=values, names=shown, notes=notes)


def _lists(table: Table, name: str, separator: str | None) -> tuple[Any, tuple[str, ...]]:
    """The labels of each row as a list array, and a line that says how text was separated."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    values = table.columns[name]
    if kinds.is_list(values.type) or kinds.is_large_list(values.type):
        return values, ()
    if not kinds.is_large_string(values.type):
        raise DataError(
            f"{table.place(0)}: column {printable(name)!r} holds {values.type}, expected lists, or text with labels "
            "separated by |; name a column of 0 and 1 per label in 'label_columns'"
        )
    chosen = separator or next((one for one in SEPARATORS if pc.any(pc.match_substring(values, one)).as_py()), None)
    parts = pc.split_pattern(values, chosen) if chosen else pc.split_pattern(values, SEPARATORS[0])
    stripped = pc.utf8_trim_whitespace(parts.flatten())
    rows = np.repeat(np.arange(len(values)), parts.value_lengths().to_numpy(zero_copy_only=False))
    kept = pc.not_equal(stripped, "").to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=len(values)))])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), stripped.filter(pa.array(kept)))
    said = f"separated by {chosen!r}" if chosen else "one per row, without a separator"
    return lists, () if separator else (f"data: labels in column {printable(name)!r} are taken as {said}",)
