"""Decides which image goes into which split: the splits are stratified, seeded and disjoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from factory_base.wording import counted
from supernet.data.config import DataConfig
from supernet.data.grouping import GroupRules, Strata, draw_groups
from supernet.data.types import Groups, Labels, Rows

_TEST_SEED = 0  # a fixed seed: test results of runs with different seeds remain comparable
_TEST, _LIMIT, _HELDOUT = range(3)  # independent random streams


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitPlan:
    """The rows of each split, in ascending order.

    Attributes:
        train: Rows of the source's training data.
        heldout: Rows of the source's training data.
        test: Rows of the source's training data if `test_from_train`, else of its test data.
        test_from_train: Whether the test split is set aside from the training data.
        notes: Lines for people: how well splits drawn by whole groups came out.

    Raises:
        DataError: A row is in two splits.
    """

    train: Rows
    heldout: Rows
    test: Rows
    test_from_train: bool
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        together = [self.train, self.heldout, *([self.test] if self.test_from_train else [])]
        if np.bincount(np.concatenate(together)).max(initial=0) > 1:
            raise DataError("training, held-out and test data overlap; the splits must be disjoint")


class LabelledRows(Protocol):
    """What splitting needs of the examples of a source."""

    @property
    def labels(self) -> Labels:
        """The label of each example."""

    @property
    def groups(self) -> Groups | None:
        """Examples with the same number belong to one split; None if each may be in any."""


class Drawable(Protocol):
    """What splitting needs of a source, of images or of texts; see `supernet.data.source_splits.Source`."""

    @property
    def train(self) -> LabelledRows:
        """The training data."""

    @property
    def test(self) -> LabelledRows | None:
        """The test data; None if the source has none of its own."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class or value."""

    @property
    def heldout(self) -> Rows | None:
        """The rows that the source itself holds out."""

    @property
    def group_names(self) -> Sequence[str]:
        """Name of each group."""


def plan_splits(source: Drawable, config: DataConfig, seed: int) -> SplitPlan:
    """Split by labels and groups: the test split (a fixed draw, if the source has none), then `limit`, then held-out.

    Args:
        source: The labels, their groups and the class names.
        config: The `data` section: fractions and `limit`.
        seed: Seed of the draws of `limit` and of the held-out examples.

    Raises:
        DataError: There is only one class, or a class has too few examples, or too few groups of them.
    """
    labels = source.train.labels
    if labels.ndim == 1 and len(source.class_names) < 2:
        raise DataError(
            f"the data has one class only ({', '.join(source.class_names)}); at least 2 are needed to train a "
            "classifier"
        )
    rows = np.arange(len(labels), dtype=np.int64)
    if source.heldout is not None:
        rows = _without(rows, source.heldout)
    test = np.arange(0 if source.test is None else len(source.test.labels), dtype=np.int64)
    later = 1 if source.heldout is None else 0  # draws after that of the test split
    if source.test is None:
        purpose = "training, held-out and test data" if later else "training and test data"
        order = _order(len(rows), _TEST_SEED, _TEST)
        test = _draw(source, rows, config.test_fraction, order, left=1 + later, purpose=purpose)
        rows = _without(rows, test)
    if config.limit is not None:
        rows = np.sort(rows[_order(len(rows), seed, _LIMIT)[: config.limit]])
    heldout = source.heldout
    if heldout is None:
        purpose = "training and held-out data" + _limit_hint(config)
        order = _order(len(rows), seed, _HELDOUT)
        heldout = _draw(source, rows, config.heldout_fraction, order, left=1, purpose=purpose)
    train = _without(rows, heldout)
    _check_trained(source, train)
    drawn = {"training": train}
    if source.heldout is None:
        drawn["held-out"] = heldout
    if source.test is None:
        drawn["test"] = test
    return SplitPlan(
        train=train, heldout=heldout, test=test, test_from_train=source.test is None, notes=_group_notes(source, drawn)
    )


def _draw(source: Drawable, rows: Rows, fraction: float, order: NDArray[np.int64], *, left: int, purpose: str) -> Rows:
    """Rows of a `fraction` of `rows`, of every class and by whole groups; see `stratified` and `draw_groups`.

    Args:
        source: The labels and groups.
        rows: The rows to draw from.
        fraction: 0 to 1.
        order: A permutation of `range(len(rows))`.
        left: In how many parts the rest of each class must be divisible: 1, or 2 if there will be another draw.
        purpose: The splits that need examples of every class, for messages.
    """
    labels, groups = source.train.labels[rows], source.train.groups
    if labels.ndim == 1:
        _check_counts(labels, source.class_names, left + 1, purpose)
    elif len(rows) <= left:
        raise DataError(f"there are {counted(len(rows), 'example')}; {purpose} need at least {left + 1}")
    if groups is None:
        draw = stratified if labels.ndim == 1 else systematic
        return rows[draw(strata(labels), fraction, order)]
    rules = GroupRules(
        left=left,
        class_names=source.class_names if labels.ndim == 1 else None,
        group_names=source.group_names,
        purpose=purpose,
    )
    return rows[draw_groups(strata(labels), groups[rows], fraction, order, rules)]


def _without(rows: Rows, taken: Rows) -> Rows:
    """Those of `rows`, which are ascending, that are not `taken`; in a tenth of the time of `numpy.setdiff1d`."""
    is_left = np.ones(max(rows.max(initial=0), taken.max(initial=0)) + 1, dtype=np.bool_)
    is_left[taken] = False
    return rows[is_left[rows]]


def _check_trained(source: Drawable, train: Rows) -> None:
    """Refuse a class that no training row has, of which training would learn nothing."""
    labels = source.train.labels
    if labels.ndim == 1:
        _check_counts(labels[train], source.class_names, 1, "training data")
    if labels.dtype != np.uint8:
        return
    never = np.flatnonzero(~labels[train].any(axis=0))
    if len(never):
        count = int(labels[:, never[0]].sum())
        raise DataError(
            f"label {source.class_names[never[0]]!r} applies to {counted(count, 'example')}, none of them among the "
            f"{len(train):,} of the training data; add some, or leave the label out"
        )


def _group_notes(source: Drawable, plan: Mapping[str, Rows]) -> tuple[str, ...]:
    """How the splits that were drawn by whole groups came out; nothing if no groups were divided between splits."""
    groups = source.train.groups
    if groups is None or len(plan) < 2:
        return ()
    total = sum(len(rows) for rows in plan.values())
    counts = {name: int(np.count_nonzero(np.bincount(groups[rows]))) for name, rows in plan.items()}
    parts = [
        f"{name} {len(rows):,} rows ({len(rows) / total:.1%}) in {counted(counts[name], 'group')}"
        for name, rows in plan.items()
    ]
    return (f"data: splits are drawn by whole groups: {', '.join(parts)}{_worst_share(source, plan)}",)


def _worst_share(source: Drawable, plan: Mapping[str, Rows]) -> str:
    """The class whose share of a split differs most from its share of all."""
    labels = source.train.labels
    if labels.ndim > 1:
        return ""
    count = len(source.class_names)
    counts = {name: np.bincount(labels[rows], minlength=count) for name, rows in plan.items()}
    together = np.sum(list(counts.values()), axis=0)
    overall = together / together.sum()
    shares = {name: found / found.sum() for name, found in counts.items()}
    name = max(shares, key=lambda name: float(np.abs(shares[name] - overall).max()))
    worst = int(np.argmax(np.abs(shares[name] - overall)))
    return (
        f"; the largest difference in a class: {source.class_names[worst]!r} is {shares[name][worst]:.1%} of the "
        f"{name} rows and {overall[worst]:.1%} of all"
    )


_BINS = 10
"""Ranges of a value, with as many examples each, that the splits share evenly."""


def strata(labels: Labels) -> Strata:
    """A number for each row, `(count,)`: rows whose labels are alike have the same one.

    The class of a row; of several classes, the rarest one that it has; of numbers, the range in which the first lies.
    """
    if labels.ndim == 1:
        return labels
    if labels.dtype == np.uint8:
        rarity = np.where(labels == 1, labels.sum(axis=0, dtype=np.int64), len(labels) + 1)
        found = np.where(labels.any(axis=1), rarity.argmin(axis=1), labels.shape[1])
    else:
        edges = np.quantile(labels[:, 0], np.linspace(0, 1, _BINS + 1)[1:-1])
        found = np.searchsorted(edges, labels[:, 0], side="right")
    return np.asarray(found, dtype=np.int64)


def systematic(strata: Strata, fraction: float, order: NDArray[np.int64]) -> Rows:
    """A `fraction` of the rows, ascending, at regular intervals in the order of their strata.

    Every stratum gives its share, up to one row; small ones may give none. At least one row is taken, and one is left.

    Args:
        strata: Stratum of each row, `(count,)`.
        fraction: 0 to 1.
        order: A permutation of `range(count)`, the order of the rows of one stratum.
    """
    count = len(strata)
    take = min(max(1, round(fraction * count)), count - 1)
    by_stratum = order[np.argsort(strata[order], kind="stable")]
    steps = np.arange(count + 1) * take // count
    return np.sort(by_stratum[np.diff(steps) > 0])


def stratified(labels: NDArray[np.int64], fraction: float, order: NDArray[np.int64]) -> Rows:
    """Rows of a `fraction` of each class, ascending: those of the class that come first in `order`.

    At least one row of each class is taken, and at least one is left.

    Args:
        labels: Class of each row, `(count,)`; each class occurs at least twice.
        fraction: 0 to 1.
        order: A permutation of `range(count)`.
    """
    chosen = []
    for label in np.unique(labels):
        members = order[labels[order] == label]
        take = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen.append(members[:take])
    return np.sort(np.concatenate(chosen))


def _order(count: int, seed: int, stream: int) -> NDArray[np.int64]:
    """A permutation that only the arguments determine: NumPy may change its shuffle, but not its uniform draws."""
    draws = np.random.default_rng([seed, stream]).random(count)
    return np.argsort(draws, kind="stable").astype(np.int64)


def _check_counts(labels: Labels, names: tuple[str, ...], needed: int, purpose: str) -> None:
    counts = np.bincount(labels, minlength=len(names))
    rarest = int(np.argmin(counts))
    if counts[rarest] < needed:
        from_one = not counts[0] and counts[1:].all()
        hint = "" if "limit" in purpose else "; data.small_classes can drop or merge such classes"
        if from_one:
            hint = "; no label is 0: if the labels count from 1, subtract 1 from each"
        raise DataError(
            f"class {names[rarest]!r} has {counts[rarest]} images; at least {needed} per class are needed for {purpose}"
            f"{hint}"
        )


def _limit_hint(config: DataConfig) -> str:
    return "" if config.limit is None else f" (limit is {config.limit}; raise it)"
