"""Which subnets to score first: they are of all sizes, and a predictor learns most from them."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads
from factory_base.progress import Progress, silent
from search.predicting.features import Features
from supernet.space import SearchSpace, SubnetConfig

_DRAWS_PER_SUBNET = 8
"""Random subnets drawn for each subnet that is chosen. Measured on MobileNet spaces of 13 and 33 choices, 40 subnets:
the widest gap between neighbouring sizes is 2.7, 1.9, 1.3 and 1.2 times the even one for 2, 4, 8 and 16 draws."""
_SPREAD = 0.35
"""Standard deviation of an option around the size that its subnet leans to, as a share of the choice's range. With 8
draws, 0.2 and 0.35 leave the narrowest gaps (1.3), 0.1 leaves 1.7 and 0.8 leaves 1.8; the wider of the two varies more
among subnets of one size, from which a predictor learns what each choice is worth."""
_NOISE = 0.05
"""Variance of a score's noise, as a share of the variance of accuracy: accuracies scatter by 5 points, scores by one.
0.02 is as good."""
_CONSTANT = 3.0
"""Prior standard deviation of the constant, as that of `GaussianProcess`."""


def shared_subnets(
    space: SearchSpace, workloads: Workloads, count: int, seed: int, progress: Progress = silent
) -> list[SubnetConfig]:
    """The smallest, the largest, and subnets of evenly spaced sizes, on a logarithmic scale of their MACs.

    For each of these sizes, in random order, random subnets of about that size compete. The one is taken that reduces
    the variance of the predictor most, averaged over all subnets that were drawn ("active learning Cohn", Cohn et al.,
    1996). On a CIFAR-10 supernet, predictions from 20 such subnets are off by 1.18 points (without what all have in
    common), those from 20 that are only of evenly spaced sizes by 1.36, and those from a design of which half vary one
    choice at a time by 1.73. From 40 on, the first two do not differ.

    Args:
        space: The search space to sample.
        workloads: Computes the MACs of subnets.
        count: The number of subnets, at least 2. Fewer are returned if the draws hold fewer distinct ones.
        seed: The seed of the random draws.
        progress: Called while MACs are counted.
    """
    rng = random.Random(seed)
    draws = (_biased_sample(space, rng) for _ in range(count * _DRAWS_PER_SUBNET))
    drawn = list(dict.fromkeys([space.smallest, space.largest, *draws]))
    macs = workloads.macs_of(encoded(space, drawn), progress)
    ends = len({space.smallest, space.largest})
    goals = np.linspace(np.log(macs[0]), np.log(macs[ends - 1]), max(count, 3))
    between = goals[1:-1].tolist()[: min(count, len(drawn)) - ends]
    rng.shuffle(between)
    choice = _Choice(_scaled_features(space, drawn, macs), np.log(macs), float(goals[1] - goals[0]))
    for number in range(ends):
        choice.take(number)
    for goal in between:
        choice.take(choice.most_informative(goal))
    return [drawn[number] for number in choice.taken]


def _biased_sample(space: SearchSpace, rng: random.Random) -> SubnetConfig:
    """A random subnet whose choices lean towards small or large together, so that the extremes are reached."""
    lean = rng.random()
    values = {}
    for choice in space:
        last = len(choice.options) - 1
        values[choice.name] = choice.options[min(last, max(0, round(rng.gauss(lean * last, _SPREAD * max(1, last)))))]
    return space.subnet(values)


def _scaled_features(space: SearchSpace, subnets: list[SubnetConfig], macs: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the predictor's effects add to the accuracy of each subnet at their typical scales, (subnets, effects)."""
    features = Features(space, float(macs[0]), float(macs[len({space.smallest, space.largest}) - 1]))
    design = features.design(encoded(space, subnets), macs)
    groups = features.groups(np.ones(len(features.curves), dtype=bool))
    scaled = [group.typical * (design @ group.effects) for group in groups]
    return np.concatenate([*scaled, _CONSTANT * design[:, -1:]], axis=1)


class _Choice:
    """The subnets that are taken so far, and how uncertain the accuracy of all subnets is once these are scored.

    Args:
        effects: See `_scaled_features`.
        sizes: Logarithms of the MACs, (subnets,).
        step: The distance between neighbouring sizes.
    """

    def __init__(self, effects: NDArray[np.float64], sizes: NDArray[np.float64], step: float) -> None:
        self._covariance, self._sizes, self._step = effects @ effects.T, sizes, step
        self.taken: list[int] = []

    def take(self, number: int) -> None:
        """Score this subnet."""
        seen = self._covariance[number]
        self._covariance = self._covariance - np.outer(seen, seen) / (seen[number] + _NOISE)
        self.taken.append(number)

    def most_informative(self, size: float) -> int:
        """Of the subnets at most a step from `size`, or of all if there are none, the one to take."""
        near = np.abs(self._sizes - size) <= self._step
        near[self.taken] = False
        if not near.any():
            near = np.ones(len(near), dtype=bool)
            near[self.taken] = False
        gains = (self._covariance**2).sum(axis=0) / (self._covariance.diagonal() + _NOISE)
        return int(np.where(near, gains, -1.0).argmax())
