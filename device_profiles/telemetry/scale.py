"""The scale of one device from what its models say, which may differ from each other by more than their noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from device_profiles.telemetry.values import Floats

NEGLIGIBLE = 1e-6
"""Relative density below which a point is dropped: a normal distribution falls to it at 5.3 standard deviations. Tried
from 1e-9 to 1e-4."""

_GRID, _REFINEMENTS = 301, 2
"""Points of the grid on which the density of the scale is computed, and how often the grid is fitted to the points that
are not negligible. A step is then 0.04 standard deviations. 151 and 1,001 points gave the same errors to a few
hundredths of a percent."""

_REACH = 6.0
"""Standard deviations of the most certain model by which the first grid exceeds the range of the models' means. Tried
from 4 to 10."""

_FEW_MODELS = 4
"""With fewer models the first grid also allows for their largest deviation, since their means do not show it."""

_MODEL_STDS = np.array([0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32])
_USUAL_MODEL_STD = 0.1
_MODEL_STD_WEIGHTS = np.gradient(_MODEL_STDS) / (1 + (_MODEL_STDS / _USUAL_MODEL_STD) ** 2)
"""Relative standard deviations by which models may deviate from the device's scale on their own, in steps of two, and
their prior weights. The weights are a Cauchy density (Gelman, 2006), flat up to 10 %, since expectations from a cost
model or another device are off by some percent. Each value counts by how well the models agree with it. The choice sets
the width of intervals, not the scale: on the benchmark, 0.03 instead of 0.1 covered the truth in 93 instead of 96 % of
the cases, and a flat prior widened intervals by up to 60 % with few rows. Twice as many steps changed nothing."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Belief:
    """What the rows of one model say about the logarithm of its ratio: a mixture of normals with one variance.

    Attributes:
        points: Means of the normals, (points,).
        weights: Their weights, which sum to 1, (points,).
        variance: Variance of each normal.
    """

    points: Floats
    weights: Floats
    variance: float

    def moments(self) -> tuple[float, float]:
        """Return mean and standard deviation."""
        mean = float(self.points @ self.weights)
        return mean, math.sqrt(float((self.points - mean) ** 2 @ self.weights) + self.variance)


def scale_of(of_models: Sequence[Belief | None]) -> tuple[float, float, float] | None:
    """Return a device's scale and the ends of its 95 % interval; None without any belief.

    Models may deviate from the scale by more than their noise.

    Args:
        of_models: One belief for each model with an expectation; None for a model without rows.
    """
    beliefs = [belief for belief in of_models if belief is not None]
    if not beliefs:
        return None
    means, stds = np.array([belief.moments() for belief in beliefs]).T
    spreads = _MODEL_STDS if len(beliefs) > 1 else _MODEL_STDS[:1]
    unseen = 2 * spreads[-1] if len(beliefs) < _FEW_MODELS else 0.0
    reach = _REACH * float(stds.min()) + float(np.ptp(means)) + unseen
    grid = np.linspace(means.min() - reach, means.max() + reach, _GRID)
    for _ in range(_REFINEMENTS):
        density = _density(grid, beliefs, spreads)
        inside = grid[density > NEGLIGIBLE * density.max()]
        step = grid[1] - grid[0]
        grid = np.linspace(inside[0] - step, inside[-1] + step, _GRID)
    density = _density(grid, beliefs, spreads)
    low, middle, high = np.exp(np.interp([0.025, 0.5, 0.975], np.cumsum(density) / density.sum(), grid))
    return float(middle), float(low), float(high)


def _density(grid: Floats, beliefs: Sequence[Belief], spreads: Floats) -> Floats:
    """(grid,): the density of the scale, up to a constant factor."""
    variance = (spreads**2)[:, None, None]
    total = np.zeros((len(spreads), len(grid)))
    for belief in beliefs:
        wide = variance + belief.variance
        likely = np.exp(-0.5 * (grid[None, :, None] - belief.points) ** 2 / wide) / np.sqrt(wide)
        total += np.log(np.maximum(likely @ belief.weights, 1e-300))  # 1e-300: no logarithm of zero
    weights = np.exp(total - total.max()) * _MODEL_STD_WEIGHTS[: len(spreads), None]
    return np.asarray(weights.sum(axis=0))
