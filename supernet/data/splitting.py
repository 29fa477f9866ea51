"""Decides which image goes into which split: the splits are stratified, seeded and disjoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from supernet.data.config import DataConfig
from supernet.data.source_splits import Source
from supernet.data.types import Labels, Rows

FEWEST_WITH_TEST_DATA = 2
"""Training images that a class needs if the source has test data: one to train with, and one that is held out."""

FEWEST = 3
"""Images that a class needs if the test data are set aside from the training data, too."""

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

    Raises:
        DataError: A row is in two splits.
    """

    train: Rows
    heldout: Rows
    test: Rows
    test_from_train: bool

    def __post_init__(self) -> None:
        together = [self.train, self.heldout, *([self.test] if self.test_from_train else [])]
        rows = np.concatenate(together)
        if len(np.unique(rows)) != len(rows):
            raise DataError("training, held-out and test data overlap; the splits must be disjoint")


def plan_splits(source: Source, config: DataConfig, seed: int) -> SplitPlan:
    """Split by labels alone: first the test split (a fixed draw, if the source has none), then `limit`, then held-out.

    Args:
        source: The labels and class names.
        config: The `data` section: fractions and `limit`.
        seed: Seed of the draws of `limit` and of the held-out images.

    Raises:
        DataError: There is only one class, or a class has too few images.
    """
    names, labels = source.class_names, source.train.labels
    if labels.ndim > 1:
        return _plan_of_strata(source, config, seed)
    if len(names) < 2:
        raise DataError(
            f"the data has one class only ({', '.join(names)}); at least 2 are needed to train a classifier"
        )
    rows = np.arange(len(labels), dtype=np.int64)
    test = np.arange(0 if source.test is None else len(source.test.labels), dtype=np.int64)
    if source.test is None:
        _check_counts(labels, names, FEWEST, "training, held-out and test data")  # one image in each split
        test = stratified(labels, config.test_fraction, _order(len(rows), _TEST_SEED, _TEST))
        rows = np.setdiff1d(rows, test)
    if config.limit is not None:
        rows = np.sort(rows[_order(len(rows), seed, _LIMIT)[: config.limit]])
    _check_counts(labels[rows], names, FEWEST_WITH_TEST_DATA, "training and held-out data" + _limit_hint(config))
    heldout = rows[stratified(labels[rows], config.heldout_fraction, _order(len(rows), seed, _HELDOUT))]
    return SplitPlan(train=np.setdiff1d(rows, heldout), heldout=heldout, test=test, test_from_train=source.test is None)


_BINS = 10
"""Ranges of a value, with as many examples each, that the splits share evenly."""


def _plan_of_strata(source: Source, config: DataConfig, seed: int) -> SplitPlan:
    """As `plan_splits` for labels of several classes, or of numbers: every split gets its share of each stratum."""
    rows = np.arange(len(source.train.labels), dtype=np.int64)
    test = np.arange(0 if source.test is None else len(source.test.labels), dtype=np.int64)
    found = strata(source.train.labels)
    if source.test is None:
        test = stratified(found, config.test_fraction, _order(len(rows), _TEST_SEED, _TEST))
        rows = np.setdiff1d(rows, test)
    if config.limit is not None:
        rows = np.sort(rows[_order(len(rows), seed, _LIMIT)[: config.limit]])
    left = strata(source.train.labels[rows])
    heldout = rows[stratified(left, config.heldout_fraction, _order(len(rows), seed, _HELDOUT))]
    return SplitPlan(train=np.setdiff1d(rows, heldout), heldout=heldout, test=test, test_from_train=source.test is None)


def strata(labels: Labels) -> NDArray[np.int64]:
    """A number for each row, `(count,)`: rows whose labels are alike have the same one, and at least two rows have it.

    Of several classes, the rarest one of a row decides; of numbers, the range in which the first one lies.

    Raises:
        DataError: There are fewer than four rows.
    """
    if len(labels) < 4:
        raise DataError(f"there are {len(labels)} examples; at least 4 are needed for the splits")
    if labels.dtype == np.uint8:
        counts = labels.sum(axis=0, dtype=np.int64)
        rarity = np.where(labels == 1, counts, len(labels) + 1)
        found = np.where(labels.any(axis=1), rarity.argmin(axis=1), labels.shape[1])
    else:
        edges = np.quantile(labels[:, 0], np.linspace(0, 1, _BINS + 1)[1:-1])
        found = np.searchsorted(edges, labels[:, 0], side="right")
    sizes = np.bincount(found)
    alone = np.isin(found, np.flatnonzero(sizes == 1))
    found[alone] = np.argmax(sizes)  # a stratum of one row cannot be divided
    return np.asarray(found, dtype=np.int64)


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
