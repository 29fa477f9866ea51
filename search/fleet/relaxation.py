"""An upper bound on what a few models are worth to a fleet, and which models can be part of the best choice.

The demand that every class gets just one model is relaxed with a multiplier for each class, and the limit on bytes with
one more (Lagrangian relaxation of the p-median problem; Cornuejols, Fisher and Nemhauser, 1977). The multipliers follow
the subgradient with steps in the manner of Polyak. Each step costs one pass over classes times models. Models that no
better choice can contain are dropped on the way, and classes that then differ no more become one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_FIRST_STEP, _LEAST_STEP = 2.0, 1e-4
"""Share of the distance to the best value by which the multipliers move: halved whenever the bound stops falling."""
_PATIENCE = 40
"""Steps without a lower bound after which the share is halved."""
_FEW = 24
"""Models that are left over: with so few the integer program takes about a second."""
_FEW_PAIRS = 25_000
"""Pairs of a class and a model that it can run: with more the integer program would take minutes."""
_EVERY = 50
"""Steps after which models are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which few of the free models to add to those that every choice contains.

    Attributes:
        worths: What each free model is worth to each class, weighted by its share and at least `base`, (classes,
            models).
        base: What each class has without any of them, (classes,).
        sizes: The bytes of each free model, (models,).
        most: The most free models, at least 1.
        download: The most bytes of free models together; None for no limit.
    """

    worths: NDArray[np.float64]
    base: NDArray[np.float64]
    sizes: NDArray[np.int64]
    most: int
    download: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxed:
    """What the relaxation proves.

    Attributes:
        bound: No choice is worth more.
        possible: The free models that can be part of a choice that is worth more than the best one known, as indices.
        picked: The free models of highest reduced worth when the bound was lowest: often close to the best choice.
    """

    bound: float
    possible: NDArray[np.int64]
    picked: NDArray[np.int64]


def relaxed(
    question: Question,
    chosen: NDArray[np.int64],
    *,
    tolerance: float,
    is_over: Callable[[], bool],
    steps: int = 3000,
) -> Relaxed:
    """Bound the value of all choices.

    Args:
        question: The question.
        chosen: The best choice of free models that is known.
        tolerance: The distance between bound and best value that counts as none.
        is_over: Whether the time is over.
        steps: The most steps.
    """
    ascent = _Ascent.of(question, chosen, tolerance)
    for step in range(steps):
        if not ascent.step() or is_over():
            break
        if step % _EVERY == _EVERY - 1:
            ascent.compress()
    return Relaxed(
        bound=max(ascent.bound, ascent.value), possible=np.flatnonzero(ascent.possible), picked=ascent.picked
    )


def is_small(pairs: int) -> bool:
    """Whether the integer program takes so many pairs of a class and a model that it can run."""
    return pairs <= _FEW_PAIRS


@dataclass
class _Ascent:
    """The state of the multipliers."""

    worths: NDArray[np.float64]
    base: NDArray[np.float64]
    sizes: NDArray[np.int64]
    most: int
    download: int | None
    value: float
    tolerance: float
    multipliers: NDArray[np.float64]
    columns: NDArray[np.int64]
    possible: NDArray[np.bool_]
    picked: NDArray[np.int64]
    price: float = 0.0
    share: float = _FIRST_STEP
    stale: int = 0
    bound: float = field(default=np.inf)

    @classmethod
    def of(cls, question: Question, chosen: NDArray[np.int64], tolerance: float) -> _Ascent:
        """The multipliers begin between what a class gets and what it would get without its model."""
        own = np.sort(np.column_stack([question.base, question.base, question.worths[:, chosen]]), axis=1)
        models = question.worths.shape[1]
        return cls(
            worths=question.worths,
            base=question.base,
            sizes=question.sizes,
            most=question.most,
            download=question.download,
            value=float(own[:, -1].sum()),
            tolerance=tolerance,
            multipliers=0.5 * (own[:, -1] + own[:, -2]),
            columns=np.arange(models),
            possible=np.ones(models, dtype=bool),
            picked=chosen,
        )

    def step(self) -> bool:
        """Bound the value with the present multipliers, and move them. Returns whether another step can help."""
        over = np.maximum(self.worths - self.multipliers[:, None], 0.0)
        gains = over.sum(axis=0) - self.price * self.sizes
        order = np.argsort(-gains, kind="stable")
        picked = order[: self.most][gains[order[: self.most]] > 0]
        found = float(self.multipliers.sum() + gains[picked].sum()) + self.price * (self.download or 0)
        self._drop(gains, order, found)
        self.stale += 1
        if found < self.bound - 1e-9:
            self.bound, self.stale, self.picked = found, 0, self.columns[picked]
        if self.stale >= _PATIENCE:
            self.share, self.stale = self.share / 2, 0
        if self.bound - self.value <= self.tolerance or self.share < _LEAST_STEP or self._is_decided():
            return False
        return self._move(1.0 - (over[:, picked] > 0).sum(axis=1), picked, found)

    def _move(self, slope: NDArray[np.float64], picked: NDArray[np.int64], found: float) -> bool:
        # A class that gets no model, and whose multiplier is as low as it can be, has its base.
        slope[(slope > 0) & (self.multipliers <= self.base)] = 0.0
        excess = 0.0 if self.download is None else float(self.sizes[picked].sum() - self.download)
        # An excess of the whole limit weighs as much as ten classes that get two models.
        scale = 10.0 / self.download if self.download else 0.0
        length = float(slope @ slope) + (excess * scale) ** 2
        if length == 0:
            return False
        step = self.share * max(found - self.value, self.tolerance) / length
        self.multipliers = np.maximum(self.multipliers - step * slope, self.base)
        self.price = max(0.0, self.price + step * excess * scale**2)
        return True

    def _drop(self, gains: NDArray[np.float64], order: NDArray[np.int64], found: float) -> None:
        """Drop models with which the bound is not above the best value, if one of them has to be chosen."""
        last = max(float(gains[order[self.most - 1]]), 0.0) if self.most <= len(gains) else 0.0
        forced = found - last + np.minimum(gains, last)
        self.possible[self.columns[forced <= self.value + self.tolerance]] = False

    def _is_decided(self) -> bool:
        """Whether so few models are left that the integer program is faster than another step."""
        if self.possible.sum() > _FEW:
            return False
        left = self.worths[:, self.possible[self.columns]]
        return is_small(int((left > self.base[:, None]).sum()))

    def compress(self) -> None:
        """Leave out the models that were dropped, and take classes for one that differ no more."""
        kept = self.possible[self.columns]
        if kept.all():
            return
        self.columns, self.sizes, worths = self.columns[kept], self.sizes[kept], self.worths[:, kept]
        packed = np.packbits(worths > self.base[:, None], axis=1)
        _, group = np.unique(packed, axis=0, return_inverse=True)

        def summed(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(group.ravel(), weights=weights).astype(np.float64)

        self.worths = np.stack([summed(column) for column in worths.T], axis=1)
        self.base, self.multipliers = summed(self.base), summed(self.multipliers)
