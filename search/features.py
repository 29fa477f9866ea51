"""What the accuracy predictors see of a subnet, and which of its effects are likely to be alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from search.objective import Curve, Objective
from supernet.space import Choice, SearchSpace

Array = NDArray[np.float64]

_PIECES = 12
"""Lines of a curve. Over MACs that span a factor of 30, the logarithm and its nearest line differ by 0.01 at most, of a
range of 3.4."""
_POWERS = (0.0, -1.0)
"""Exponents of the curves (Box and Cox, 1964): the logarithm of the MACs and their negative reciprocal. A non-negative
sum of both is flatter at the upper end than the logarithm, as accuracies are that come near their limit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EffectGroup:
    """Independent effects of one prior scale.

    Attributes:
        effects: For each effect, what it adds to the weights of `Features.design`, (columns, effects).
        typical: The most likely scale, as a share of the standard deviation of accuracy over the scored subnets.
    """

    effects: Array
    typical: float


class Features:
    """The features of the subnets of one space.

    The weights of the linear model are the value of each option, the factors of the curves, and a constant.

    Args:
        space: The search space.
        low: MACs of the smallest subnet.
        high: MACs of the largest one; if they do not differ, there are no curves.

    Attributes:
        curves: Curves of the MACs, each from -0.5 at `low` to 0.5 at `high`.
        curve_columns: Their columns in `design`.
    """

    def __init__(self, space: SearchSpace, low: float, high: float) -> None:
        self._space, self._low, self._high = space, low, high
        self.curves = tuple(_macs_curve(power, low, high) for power in _POWERS) if high > low else ()
        self._starts = np.cumsum([0, *(len(choice.options) for choice in space)])
        self.curve_columns = self._starts[-1] + np.arange(len(self.curves))
        self._columns = int(self._starts[-1]) + len(self.curves) + 1

    def design(self, vectors: NDArray[np.integer], macs: Array) -> Array:
        """What the weights of the linear model are multiplied with.

        Args:
            vectors: Subnets as `SearchSpace.encode` returns them, (subnets, choices).
            macs: Their MACs, (subnets,).

        Returns:
            (subnets, columns): 1 for each option taken by a choice that exists, the values of the curves, and 1.
        """
        design = np.zeros((len(vectors), self._columns))
        np.put_along_axis(design, self._starts[:-1] + vectors, self._space.existing(vectors).astype(np.float64), axis=1)
        for column, curve in zip(self.curve_columns, self.curves, strict=True):
            design[:, column] = curve.values(curve.macs_weight * macs)
        design[:, -1] = 1.0
        return design

    def groups(self, curves: NDArray[np.bool_]) -> list[EffectGroup]:
        """The groups of effects. Their sizes are found from the scores, see `GaussianProcess`.

        Args:
            curves: The curves to use, (curves,).
        """
        own = [self._slope([column]) for column in range(len(self._levels))]
        bends = [self._bend(column) for column, levels in enumerate(self._levels) if len(levels) > 2]
        groups = [
            (own, 0.3),
            ([self._slope(columns) for columns in self._alike(_kind)], 0.3),
            ([self._slope(columns) for columns in self._alike(_stage)], 0.2),
            ([effect for bend in bends for effect in bend], 0.15),
            ([np.eye(self._columns)[column] for column in self.curve_columns[curves]], 1.0),
        ]
        return [EffectGroup(effects=np.stack(effects, 1), typical=typical) for effects, typical in groups if effects]

    def points(self, vectors: NDArray[np.integer], macs: Array) -> Array:
        """Coordinates in which subnets that are close have about the same accuracy, (subnets, coordinates).

        They are the sums of the levels of the choices of each kind and of each stage, and the logarithm of the MACs.
        """
        levels = np.stack([levels[vectors[:, i]] for i, levels in enumerate(self._levels)], 1)
        levels *= self._space.existing(vectors)
        groups = [*self._alike(_kind), *self._alike(_stage)]
        sums = [levels[:, columns].sum(1) / np.sqrt(len(columns)) for columns in groups]
        size = [np.log(macs / self._low) / np.log(self._high / self._low)] if self.curves else []
        return np.stack([*sums, *size], 1)

    def objective(self, weights: Array) -> Objective:
        """The linear model with these `weights`, (columns,), as a solver takes it. Factors of curves are at least 0."""
        ends = zip(self._space, self._starts[:-1], self._starts[1:], strict=True)
        return Objective(
            constant=float(weights[-1]),
            options={choice.name: weights[start:stop] for choice, start, stop in ends},
            curves=tuple(
                Curve(slopes=factor * curve.slopes, intercepts=factor * curve.intercepts, macs_weight=curve.macs_weight)
                for curve, factor in zip(self.curves, weights[self.curve_columns], strict=True)
                if factor > 0
            ),
        )

    @cached_property
    def _levels(self) -> list[Array]:
        return [_levels(choice) for choice in self._space]

    def _slope(self, columns: Sequence[int]) -> Array:
        """The effect of a slope that these choices share."""
        effect = np.zeros(self._columns)
        for column in columns:
            effect[self._starts[column] : self._starts[column + 1]] = self._levels[column]
        return effect

    def _bend(self, column: int) -> list[Array]:
        """The effects of a choice's options apart from their mean and slope."""
        levels = self._levels[column]
        basis, _ = np.linalg.qr(np.stack([np.ones(len(levels)), levels], 1))
        effects = np.zeros((self._columns, len(levels)))
        effects[self._starts[column] : self._starts[column + 1]] = np.eye(len(levels)) - basis @ basis.T
        return list(effects.T)

    def _alike(self, group: Callable[[Choice], str]) -> list[list[int]]:
        """The columns of the choices that `group` gives the same name other than ""."""
        names = [group(choice) for choice in self._space]
        found = [name for name in dict.fromkeys(names) if name]
        return [[column for column, name in enumerate(names) if name == one] for one in found]


def _levels(choice: Choice) -> Array:
    """The options from -0.5 to 0.5: their logarithms, or their ranks if some are not positive. (options,)."""
    options = np.array(choice.options, dtype=np.float64)
    if len(options) == 1:
        return np.zeros(1)
    scale = np.log(options) if options[0] > 0 else np.arange(len(options), dtype=np.float64)
    return np.asarray((scale - scale[0]) / (scale[-1] - scale[0]) - 0.5)


def _kind(choice: Choice) -> str:
    """The last part of the name: `kernel` of `stages.0.blocks.1.kernel`."""
    return choice.name.rpartition(".")[2]


def _stage(choice: Choice) -> str:
    """The name up to its first number: `stages.0` of `stages.0.blocks.1.kernel`; "" if it has none."""
    found = re.match(r"(.*?\.)?\d+(?=\.)", choice.name)
    return found.group() if found else ""


def _macs_curve(power: float, low: float, high: float) -> Curve:
    edges = np.geomspace(low, high, _PIECES + 1) / high
    values = (edges**power - 1) / power if power else np.log(edges)
    values = (values - values[0]) / (values[-1] - values[0]) - 0.5
    slopes = np.diff(values) / np.diff(edges)
    return Curve(slopes=slopes, intercepts=values[:-1] - slopes * edges[:-1], macs_weight=1 / high)
