"""What is taken from all rows of a table: splits, labels, weights, and which rows stay together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from factory_base.foreign import printable
from factory_base.wording import counted
from supernet.data.config import DataConfig
from supernet.data.shards import Shards
from supernet.data.split_names import listed, taken_note
from supernet.data.table.labels import TableLabels, label_columns, read_labels
from supernet.data.table.rows import Table
from supernet.data.table.sides import HELDOUT, TEST, Sides, Together, kept_together, sides_of, weights_of
from supernet.data.types import Groups, LabelKind, Labels, Rows, Weights

Names = tuple[str, ...] | None
"""Names of classes, if they are stated."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examined:
    """A table and what was taken from all of its rows.

    Attributes:
        table: The rows.
        shards: Its files.
        split_column: The column that states the split of each row; None if files do, or nothing does.
        sides: The split of each row.
        labels: The labels, and the names of the classes or values.
        weights: The weights; None if all rows count alike.
        together: Which rows stay together when splits are drawn.
    """

    table: Table
    shards: Shards
    split_column: str | None
    sides: Sides
    labels: TableLabels
    weights: Weights | None
    together: Together

    @property
    def train(self) -> Rows:
        """The rows of training data, held-out ones among them."""
        return np.flatnonzero(self.sides != TEST)

    @property
    def test(self) -> Rows:
        """The rows of test data."""
        return np.flatnonzero(self.sides == TEST)

    @property
    def heldout(self) -> Rows | None:
        """The held-out ones among the training rows; None if the table states none."""
        found = np.flatnonzero(self.sides[self.sides != TEST] == HELDOUT)
        return found if len(found) else None

    def at(self, rows: Rows) -> tuple[Labels, Weights | None, Groups | None]:
        """Labels, weights and groups of `rows`."""
        weights = None if self.weights is None else self.weights[rows]
        groups = None if self.together.groups is None else self.together.groups[rows]
        return self.labels.values[rows], weights, groups

    def notes(self, noun: str) -> tuple[str, ...]:
        """Lines for people: what was taken for what, and what is unusual."""
        return (self._taken(noun), self.shards.note, *self.labels.notes, *self.together.notes)

    def _taken(self, noun: str) -> str:
        shards, counts = self.shards, self.table.counts
        if self.split_column is not None:
            parts = [
                ("training", self.sides < HELDOUT),
                ("held-out", self.sides == HELDOUT),
                ("test", self.sides == TEST),
            ]
            shown = [f"{name}: {int(chosen.sum()):,} {noun}" for name, chosen in parts if chosen.any()]
            return (
                f"data: {', '.join(shown)} by column {printable(self.split_column)!r} of {_shown(shards, shards.train)}"
            )
        split = len(shards.train)
        train = f"{sum(counts[:split])} {noun} in {_shown(shards, shards.train)}"
        test = f"{sum(counts[split:])} {noun} in {_shown(shards, shards.test)}" if shards.test else None
        return taken_note(train, test, shards.unused)


def _shown(shards: Shards, paths: Sequence[Path]) -> str:
    return f"{counted(len(paths), 'file')} ({listed([printable(str(shards.shown(path))) for path in paths])})"


def examine(
    table: Table, config: DataConfig, kind: LabelKind, shards: Shards, examples: str | None, names: Names = None
) -> Examined:
    """Take splits, labels, weights and groups from the rows of a table.

    Args:
        table: The rows, with all columns in use.
        config: The `data` section, which names the columns.
        kind: The kind of labels that the task learns.
        shards: The files of the table, of which some may be test data.
        examples: The column of paths or texts; None if cells of it cannot be compared.
        names: Names of the classes, of which whole numbers are indices, if the files state them.

    Raises:
        ConfigError: The columns do not suit the task.
        DataError: A cell is missing or unsuitable, or splits share what they must not.
    """
    sides = sides_of(table, config.split_column, len(shards.train))
    labels = read_labels(table, config, kind, sides == TEST, names)
    return Examined(
        table=table,
        shards=shards,
        split_column=config.split_column,
        sides=sides,
        labels=labels,
        weights=weights_of(table, config.weight_column) if config.weight_column else None,
        together=kept_together(
            table, config.group_column, examples, sides, labels.values, may_repeat=config.text_column is not None
        ),
    )


def columns_in_use(config: DataConfig) -> dict[str, str]:
    """Name of each column in use, apart from that of images or texts -> the key of the config that names it."""
    key = "label_columns" if config.label_columns else "label_column"
    names = dict.fromkeys(label_columns(config), key)
    for other in ("split_column", "group_column", "weight_column"):
        name = getattr(config, other)
        if name is not None:
            names.setdefault(name, other)
    return names
