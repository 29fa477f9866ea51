"""Predicted accuracy as a function that an exact solver can maximise. Imports neither torch nor optuna."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from supernet.space import SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A concave, piecewise linear function of a sum over the choices and of the MACs.

    The argument is `macs_weight` times the subnet's MACs plus the sum of `options` over the choices that exist, and
    the value is the smallest of the lines there. So a maximising solver needs no integer variable for it.

    Attributes:
        slopes: Slope of each line, (lines,).
        intercepts: Value of each line at 0, (lines,).
        options: For some choices, by name, what each option adds to the argument, (options,).
        macs_weight: What one MAC adds to the argument.
    """

    slopes: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    options: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    macs_weight: float = 0.0

    def values(self, argument: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values of the curve at `argument`, both (subnets,)."""
        return np.asarray((argument[:, None] * self.slopes + self.intercepts).min(axis=1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Objective:
    """A constant, plus a value for each option that is taken, plus concave curves.

    Choices of absent blocks add nothing.

    Attributes:
        constant: The constant.
        options: For some choices, by name, the value of each option, (options,).
        curves: The curves.
    """

    constant: float
    options: Mapping[str, NDArray[np.float64]]
    curves: tuple[Curve, ...] = ()

    def values(
        self, space: SearchSpace, vectors: NDArray[np.integer], macs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The values of many subnets.

        Args:
            space: The search space of the subnets.
            vectors: Subnets as `SearchSpace.encode` returns them, (subnets, choices).
            macs: MACs of the subnets, (subnets,).

        Returns:
            (subnets,).
        """
        exists = space.existing(vectors)
        total = self.constant + _summed(space, vectors, exists, self.options)
        for curve in self.curves:
            total += curve.values(curve.macs_weight * macs + _summed(space, vectors, exists, curve.options))
        return np.asarray(total)


def _summed(
    space: SearchSpace,
    vectors: NDArray[np.integer],
    exists: NDArray[np.bool_],
    options: Mapping[str, NDArray[np.float64]],
) -> NDArray[np.float64]:
    total = np.zeros(len(vectors))
    for column, choice in enumerate(space):
        if choice.name in options:
            total += np.where(exists[:, column], options[choice.name][vectors[:, column]], 0.0)
    return total
