"""What the accuracy predictors see of a subnet, and which of its effects are likely to be alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.objective import Curve, Objective
from supernet.space import Choice, SearchSpace

Array = NDArray[np.float64]

_PIECES = 12
"""Lines of a curve. Over MACs that span a factor of 30, the logarithm and its nearest line differ by 0.01 at most, of a
range of 3.4."""
_POWERS = (1.0, 0.0, -1.0)
"""Exponents of the curves (Box and Cox, 1964): MACs, their logarithm and their negative reciprocal. Non-negative sums
of them flatten towards the upper end as slowly or as quickly as accuracies do."""
_MOST_PIVOTS = 4
"""Most choices that change what the others are worth; each multiplies the features."""


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

    The weights of the linear model are the value of each option, for each pivot the value of each option times the
    pivot's level, the factors of the curves, and a constant. Pivots are the choices that belong to no block or stage,
    such as the resolution, which changes what all other choices are worth.

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
        self._levels = [_levels(choice) for choice in space]
        self._starts = np.cumsum([0, *(len(choice.options) for choice in space)])
        whole = [c for c, choice in enumerate(space) if not _stage(choice) and not choice.depth_choice]
        self._pivots = [column for column in whole if len(self._levels[column]) > 1][:_MOST_PIVOTS]
        self.curves = tuple(_macs_curve(power, low, high) for power in _POWERS) if high > low else ()
        first = self._options * (1 + len(self._pivots))
        self.curve_columns = first + np.arange(len(self.curves))
        self._columns = first + len(self.curves) + 1

    def design(self, vectors: NDArray[np.integer], macs: Array) -> Array:
        """What the weights of the linear model are multiplied with.

        Args:
            vectors: Subnets as `SearchSpace.encode` returns them, (subnets, choices).
            macs: Their MACs, (subnets,).

        Returns:
            (subnets, columns): 1 for each option taken by a choice that exists; for each pivot the same times its
            level; the values of the curves; and 1.
        """
        taken = np.zeros((len(vectors), self._options))
        np.put_along_axis(taken, self._starts[:-1] + vectors, self._space.existing(vectors).astype(np.float64), axis=1)
        pivoted = [taken * self._levels[pivot][vectors[:, pivot], None] for pivot in self._pivots]
        curves = [curve.values(curve.macs_weight * macs)[:, None] for curve in self.curves]
        return np.concatenate([taken, *pivoted, *curves, np.ones((len(vectors), 1))], axis=1)

    def groups(self, curves: NDArray[np.bool_]) -> list[EffectGroup]:
        """The groups of effects. Their sizes are found from the scores, see `GaussianProcess`.

        Args:
            curves: The curves to use, (curves,).
        """
        alone = [[column] for column in range(len(self._levels))]
        stages, kinds = self._alike(_stage), self._alike(_kind)
        groups = [
            ([self._slope(columns) for columns in alone], 0.3),
            ([self._slope(columns) for columns in kinds], 0.3),
            ([self._slope(columns) for columns in stages], 0.2),
            ([bend for column in range(len(self._levels)) for bend in self._bends(column)], 0.15),
            (self._pivoted(alone), 0.1),
            (self._pivoted([*kinds, *stages]), 0.1),
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
        values, products = self._by_choice(weights[: self._options]), []
        for number, pivot in enumerate(self._pivots, start=1):
            factors = self._by_choice(weights[number * self._options : (number + 1) * self._options])
            products += self._product(pivot, factors, values)
        factors_of_curves = zip(self.curves, weights[self.curve_columns], strict=True)
        return Objective(
            constant=float(weights[-1]),
            options=self._named(values),
            curves=(*products, *(_scaled(curve, factor) for curve, factor in factors_of_curves if factor > 0)),
        )

    def _product(self, pivot: int, factors: list[Array], values: list[Array]) -> list[Curve]:
        """The pivot's level times the sum of `factors` as concave curves; what is linear is added to `values`.

        An indicator x of one of the pivot's options, times a sum s from 0 to m, is the smaller of s and m x. So it is
        m x plus the smaller of s - m x and 0, which is a concave curve.
        """
        levels, found = self._levels[pivot], []
        for column, factor in enumerate(factors):
            values[column] = values[column] + levels[0] * factor
        for option in range(1, len(levels)):
            terms = [(levels[option] - levels[0]) * factor for factor in factors]
            low = sum(self._bound(column, term, min) for column, term in enumerate(terms))
            high = sum(self._bound(column, term, max) for column, term in enumerate(terms))
            taken = np.eye(len(levels))[option]
            values[pivot] = values[pivot] + high * taken
            terms[pivot] = -low - (high - low) * taken
            found.append(Curve(slopes=np.array([1.0, 0.0]), intercepts=np.zeros(2), options=self._named(terms)))
        return found

    def _bound(self, column: int, term: Array, bound: Callable[[Iterable[float]], float]) -> float:
        """The least or the greatest that a choice can add."""
        return bound([*term.tolist(), *([0.0] if self._space.choices[column].depth_choice else [])])

    def _by_choice(self, values: Array) -> list[Array]:
        return [values[start:stop] for start, stop in zip(self._starts[:-1], self._starts[1:], strict=True)]

    def _named(self, values: list[Array]) -> dict[str, Array]:
        return {choice.name: value for choice, value in zip(self._space, values, strict=True)}

    @property
    def _options(self) -> int:
        return int(self._starts[-1])

    def _slope(self, columns: Sequence[int], part: int = 0) -> Array:
        """The effect of a slope that these choices share, by itself or (`part` > 0) times the level of a pivot."""
        effect = np.zeros(self._columns)
        for column in columns:
            start = part * self._options + self._starts[column]
            effect[start : start + len(self._levels[column])] = self._levels[column]
        return effect

    def _pivoted(self, groups: Sequence[Sequence[int]]) -> list[Array]:
        """Slopes of groups of choices times the level of each pivot, without the pivot's own choice."""
        found = []
        for part in range(1, len(self._pivots) + 1):
            others = [[column for column in columns if column not in self._pivots[:part]] for columns in groups]
            found += [self._slope(columns, part) for columns in others if columns]
        return found

    def _bends(self, column: int) -> list[Array]:
        """The effects of a choice's options apart from their mean and slope: an orthonormal basis."""
        count = len(self._levels[column])
        if count < 3:
            return []
        start = self._starts[column]
        basis, _ = np.linalg.qr(np.stack([self._levels[column] ** power for power in range(count)], 1))
        effects = np.zeros((count - 2, self._columns))
        effects[:, start : start + count] = basis[:, 2:].T
        return list(effects)

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
    values = edges**power / power if power else np.log(edges)
    values = (values - values[0]) / (values[-1] - values[0]) - 0.5
    slopes = np.diff(values) / np.diff(edges)
    return Curve(slopes=slopes, intercepts=values[:-1] - slopes * edges[:-1], macs_weight=1 / high)


def _scaled(curve: Curve, factor: float) -> Curve:
    return Curve(slopes=factor * curve.slopes, intercepts=factor * curve.intercepts, macs_weight=curve.macs_weight)
