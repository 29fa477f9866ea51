"""The networks that are timed on a device: spread over sizes, with as many different parts as possible."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.workloads import Workloads
from factory_base.errors import ConfigError
from factory_base.progress import Progress
from supernet.space import SearchSpace, SubnetConfig

FEWEST_NETWORKS = 6
"""Fewest networks that a correction can be fitted to: it has five coefficients and a constant."""

_POOL = 6
"""Subnets considered for each network that is timed. More of them put more different parts into the sample, but each
has to be traced. In a MobileNet space with 134 parts, 40 networks had 116, 126 and 130 of them with pools of 2, 6 and
24."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Subnets to time.

    Attributes:
        fitted: Subnets that models are fitted to, including the smallest and the largest of the space.
        held_out: Subnets that the fitted models are evaluated on.
    """

    fitted: tuple[SubnetConfig, ...]
    held_out: tuple[SubnetConfig, ...]


def sample_networks(
    space: SearchSpace, workloads: Workloads, fitted: int, held_out: int, seed: int, progress: Progress
) -> Sample:
    """Sample up to `fitted` and up to `held_out` subnets, both spread evenly over the range of MACs.

    In each stratum of sizes, the fitted subnet is the one with the most parts that no subnet before it has; the
    held-out subnet is a random one of the others.

    Args:
        space: The search space.
        workloads: Workloads of its model space.
        fitted: Number of subnets to fit to.
        held_out: Number of subnets to evaluate on.
        seed: Seed of the sampling.
        progress: Called for each subnet of the pool.

    Raises:
        ConfigError: The space has too few subnets, or `fitted` or `held_out` is too small.
    """
    if fitted < FEWEST_NETWORKS or held_out < 2:
        raise ConfigError(
            f"{fitted} networks to fit and {held_out} to evaluate are too few for a cost model; choose at least "
            f"{FEWEST_NETWORKS} and 2"
        )
    rng = random.Random(seed)
    pool = _pool(space, _POOL * (fitted + held_out), rng)
    if len(pool) < FEWEST_NETWORKS + 2:
        raise ConfigError(
            f"the space has {len(pool)} subnets, too few to fit a cost model; {FEWEST_NETWORKS + 2} are needed"
        )
    sizes = np.empty(len(pool))
    for index, subnet in enumerate(pool):
        sizes[index] = workloads.of(subnet).macs
        progress(index + 1, len(pool), "looking at subnets")
    held_out = min(held_out, max(2, len(pool) // 4))
    first = _first(sizes, workloads.rows(pool), min(fitted, len(pool) - held_out))
    rest = np.setdiff1d(np.arange(len(pool)), first)
    ordered = rest[np.argsort(sizes[rest], kind="stable")]
    second = [int(rng.choice(stratum.tolist())) for stratum in np.array_split(ordered, held_out)]
    return Sample(fitted=tuple(pool[i] for i in first), held_out=tuple(pool[i] for i in second))


def _pool(space: SearchSpace, count: int, rng: random.Random) -> list[SubnetConfig]:
    """Distinct subnets, the smallest and the largest first; half of the others spread over sizes, half uniform."""
    found = dict.fromkeys([space.smallest, space.largest])
    for index in range(count):
        found[space.sample_near(index / count, rng) if index % 2 else space.sample(rng)] = None
    return list(found)


def _first(sizes: NDArray[np.float64], rows: NDArray[np.int32], count: int) -> list[int]:
    """Rows 0 and 1, and from each stratum of sizes the row with the most parts that were not seen before."""
    chosen, seen = [0, 1], set(rows[:2].ravel().tolist())
    order = np.array([i for i in np.argsort(sizes, kind="stable") if i > 1])
    for stratum in np.array_split(order, count - 2):
        best = max(stratum.tolist(), key=lambda i: len(set(rows[i].tolist()) - seen))
        chosen.append(best)
        seen.update(rows[best].tolist())
    return chosen
