"""Which subnets to score for all targets at once."""

from __future__ import annotations

import math
import random

from device_profiles.workload.workloads import Workloads
from factory_base.progress import Progress, silent
from supernet.space import SearchSpace, SubnetConfig

_DRAWS_PER_SUBNET = 8
_SPREAD = 0.35
"""Standard deviation of an option around the leaning of its subnet, in shares of the number of options."""


def shared_subnets(
    space: SearchSpace, workloads: Workloads, count: int, seed: int, progress: Progress = silent
) -> list[SubnetConfig]:
    """The smallest, the largest, and random subnets spread evenly over the logarithm of their MACs.

    Uniform sampling would crowd in the middle and leave the weakest and the strongest devices without scores.

    Args:
        space: to sample.
        workloads: for MACs.
        count: how many, at least 2; fewer come back where the space has fewer.
        seed: of the draws.
        progress: told per subnet whose MACs are counted.
    """
    rng = random.Random(seed)
    drawn = {space.smallest: None, space.largest: None}
    for _ in range(count * _DRAWS_PER_SUBNET):
        drawn[_biased_sample(space, rng)] = None
    sizes: dict[SubnetConfig, float] = {}
    for subnet in drawn:
        sizes[subnet] = math.log(workloads.of(subnet).macs)
        progress(len(sizes), len(drawn), "costing random subnets")
    return _spread(sizes, list(dict.fromkeys([space.smallest, space.largest])), min(count, len(drawn)))


def _biased_sample(space: SearchSpace, rng: random.Random) -> SubnetConfig:
    """A subnet whose choices lean towards small or large together, so that the extremes are reached."""
    lean = rng.random()
    values = {}
    for choice in space:
        last = len(choice.options) - 1
        values[choice.name] = choice.options[min(last, max(0, round(rng.gauss(lean * last, _SPREAD * max(1, last)))))]
    return space.subnet(values)


def _spread(sizes: dict[SubnetConfig, float], chosen: list[SubnetConfig], count: int) -> list[SubnetConfig]:
    """Add to `chosen`, for each of evenly spaced sizes, the nearest subnet not yet chosen."""
    low, high = sizes[chosen[0]], sizes[chosen[-1]]
    rest = [subnet for subnet in sizes if subnet not in chosen]
    for step in range(count - len(chosen)):
        goal = low + (high - low) * (step + 1) / (count - 1)
        nearest = min(rest, key=lambda subnet: (abs(sizes[subnet] - goal), subnet.id))
        rest.remove(nearest)
        chosen.append(nearest)
    return chosen
