"""Which subnets to score for all targets at once."""

from __future__ import annotations

import math
import random

from device_profiles.workload.workloads import Workloads
from factory_base.progress import Progress, silent
from supernet.space import SearchSpace, SubnetConfig

_DRAWS_PER_SUBNET = 8
"""Random subnets drawn for each subnet that is chosen. Measured on MobileNet spaces of 13 and 33 choices, 40 subnets:
the widest gap between neighbouring sizes is 2.7, 1.9, 1.3 and 1.2 times the even one for 2, 4, 8 and 16 draws."""
_SPREAD = 0.35
"""Standard deviation of an option around the size that its subnet leans to, as a share of the choice's range. With 8
draws, 0.2 and 0.35 leave the narrowest gaps (1.3), 0.1 leaves 1.7 and 0.8 leaves 1.8; the wider of the two varies more
among subnets of one size, from which a predictor learns what each choice is worth."""


def shared_subnets(
    space: SearchSpace, workloads: Workloads, count: int, seed: int, progress: Progress = silent
) -> list[SubnetConfig]:
    """The smallest, the largest, and random subnets spread evenly over the logarithm of their MACs.

    Uniform sampling would crowd in the middle and leave the weakest and the strongest devices without scores.

    Args:
        space: The search space to sample.
        workloads: Computes the MACs of subnets.
        count: The number of subnets, at least 2. Fewer are returned if the draws hold fewer distinct ones.
        seed: The seed of the random draws.
        progress: Called after each subnet whose MACs are counted.
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
    """A random subnet whose choices lean towards small or large together, so that the extremes are reached."""
    lean = rng.random()
    values = {}
    for choice in space:
        last = len(choice.options) - 1
        values[choice.name] = choice.options[min(last, max(0, round(rng.gauss(lean * last, _SPREAD * max(1, last)))))]
    return space.subnet(values)


def _spread(sizes: dict[SubnetConfig, float], chosen: list[SubnetConfig], count: int) -> list[SubnetConfig]:
    """`chosen`, and for each of evenly spaced sizes the nearest subnet that is not chosen yet; `count` in all."""
    low, high = sizes[chosen[0]], sizes[chosen[-1]]
    rest = [subnet for subnet in sizes if subnet not in chosen]
    for step in range(count - len(chosen)):
        goal = low + (high - low) * (step + 1) / (count - 1)
        nearest = min(rest, key=lambda subnet: (abs(sizes[subnet] - goal), subnet.id))
        rest.remove(nearest)
        chosen.append(nearest)
    return chosen
