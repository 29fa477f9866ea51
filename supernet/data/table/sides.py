"""Which rows of a table are training, held-out and test data, and which must stay together when splits are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from factory_base.foreign import printable
from factory_base.wording import counted
from supernet.data.split_names import SplitName, split_of_name
from supernet.data.table.cells import Texts, as_float32, distinct, numbers
from supernet.data.table.rows import Table, refuse, require_all
from supernet.data.types import Groups, Labels, Weights

TRAIN, HELDOUT, TEST = range(3)
_SIDES: Final[dict[SplitName, int]] = {"train": TRAIN, "validation": HELDOUT, "test": TEST}
_NAMES: Final = {TRAIN: "training", HELDOUT: "held-out", TEST: "test"}

Sides = NDArray[np.uint8]
"""The split of each row, `(count,)`: `TRAIN` (to draw from, unless some rows are held out), `HELDOUT` or `TEST`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Together:
    """Which rows stay together.

    Attributes:
        groups: A number for each row; None if each row may be on any side.
        names: The name of each group, for messages; of groups joined by a duplicate, that of the first.
        notes: Lines for people.
    """

    groups: Groups | None
    names: Sequence[str] = ()
    notes: tuple[str, ...] = ()


def sides_of(table: Table, split_column: str | None, train_files: int) -> Sides:
    """The split of each row: by a column, or else by the file, of which the first `train_files` are training data.

    Raises:
        DataError: A cell is missing or names no split, or no row is training data.
    """
    if split_column is None:
        by_file = np.repeat(np.arange(len(table.counts)) >= train_files, table.counts)
        return np.where(by_file, TEST, TRAIN).astype(np.uint8)
    require_all(table, split_column, "write train, validation or test")
    codes, found = distinct(table.columns[split_column])
    names = [split_of_name(str(value), f"column {printable(split_column)!r}") for value in found]
    known = np.array([-1 if name is None else _SIDES[name] for name in names])[codes]
    refuse(table, split_column, np.flatnonzero(known < 0), "expected train, validation or test")
    if not (known == TRAIN).any():
        raise DataError(
            f"{table.place(0)}: no row has the split 'train' in column {printable(split_column)!r}; training needs some"
        )
    return known.astype(np.uint8)


def weights_of(table: Table, name: str) -> Weights:
    """The weight of each row. Raises `DataError` if one is missing, not a number, infinite, negative or zero."""
    require_all(table, name, "write a number above 0 for every row")
    weights = as_float32(numbers(table, name))
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights > 0)))
    refuse(table, name, wrong, "expected a finite number above 0; to leave a row out, remove it")
    return weights


def kept_together(
    table: Table, group_column: str | None, examples: str | None, sides: Sides, labels: Labels, *, may_repeat: bool
) -> Together:
    """Which rows stay together: those of one group, and those of one image or text.

    Args:
        table: The rows.
        group_column: The column of groups; None for none.
        examples: The column of paths or texts; None for images whose bytes are in the table.
        sides: The split of each row.
        labels: The labels of all rows.
        may_repeat: Whether a cell of `examples` may be on two sides, as short texts are in many collections.

    Raises:
        DataError: A row has no group, or a group or an image is on two sides.
    """
    groups, names = (None, Texts.of([])) if group_column is None else _coded(table, group_column)
    if group_column and groups is not None:
        _refuse_on_two_sides(table, group_column, groups, sides)
    codes, cells = (None, Texts.of([])) if examples is None else _coded(table, examples)
    if codes is None or examples is None or len(cells) == len(codes):
        return Together(groups=groups, names=names)
    notes = [_duplicates_note(table, codes, labels)]
    on_two = _on_two_sides(codes, sides)
    if not may_repeat:
        _refuse_on_two_sides(table, examples, codes, sides)
    elif on_two is not None:
        notes.append(
            f"data: some texts are on two sides, such as {table.place(on_two[0])} ({_NAMES[int(sides[on_two[0]])]}) "
            f"and {table.place(on_two[1])} ({_NAMES[int(sides[on_two[1]])]}); on these a model is judged by what it saw"
        )
    if groups is None:
        return Together(groups=codes, names=cells, notes=tuple(notes))
    joined = _joined(groups, codes)
    _, firsts = np.unique(joined, return_index=True)
    return Together(groups=joined, names=names.at(groups[firsts]), notes=tuple(notes))


def _coded(table: Table, name: str) -> tuple[Groups, Texts]:
    """The number of each row's value in a column, and the distinct values as text, packed."""
    import pyarrow as pa

    require_all(table, name, "write a value for every row; a row without relatives gets one of its own")
    coded = table.columns[name].dictionary_encode()
    codes: Groups = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, Texts(coded.dictionary.cast(pa.large_string()))


def _on_two_sides(codes: Groups, sides: Sides) -> tuple[int, int] | None:
    """Two rows with one code whose splits differ, the first ones in the table; None if there are none."""
    first = np.full(int(codes.max()) + 1, len(codes))
    np.minimum.at(first, codes, np.arange(len(codes)))
    other = np.flatnonzero(sides != sides[first[codes]])
    return (int(first[codes[other[0]]]), int(other[0])) if len(other) else None


def _refuse_on_two_sides(table: Table, name: str, codes: Groups, sides: Sides) -> None:
    rows = _on_two_sides(codes, sides)
    if rows is not None:
        one, other = rows
        raise DataError(
            f"{table.cell(name, other)} in {_NAMES[int(sides[other])]} data, as in {_NAMES[int(sides[one])]} data "
            f"({table.place(one)}); what is judged must not be known from training: keep it on one side"
        )


def _duplicates_note(table: Table, codes: Groups, labels: Labels) -> str:
    order = np.argsort(codes, kind="stable")
    same = np.flatnonzero(codes[order][1:] == codes[order][:-1])
    one, other = order[same], order[same + 1]
    first = int(np.argmin(one))
    count = len(np.unique(codes[one]))
    note = (
        f"data: {counted(count, 'example')} {'is' if count == 1 else 'are'} in more than one row, such as "
        f"{table.place(int(one[first]))} and {table.place(int(other[first]))}; draws keep such rows on one side"
    )
    differ = np.flatnonzero((labels[one] != labels[other]).reshape(len(one), -1).any(axis=1))
    if not len(differ):
        return note
    here, there = (table.place(int(rows[differ[0]])) for rows in (one, other))
    return f"{note}; in {len(differ):,} cases with another label, such as {here} and {there}"


def _joined(groups: Groups, codes: Groups) -> Groups:
    """Groups such that rows of one group, and rows of one code, have one number."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    offset = int(groups.max()) + 1
    size = offset + int(codes.max()) + 1
    links = coo_array((np.ones(len(groups), dtype=np.int8), (groups, codes + offset)), shape=(size, size))
    _, parts = connected_components(links, directed=False)
    joined: Groups = parts[groups].astype(np.int64)
    return joined
