"""Samplers of the random subnets that are trained. They are stateless: the caller passes generator and index."""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Protocol

from factory_base.progress import Progress, silent
from supernet.model_space import ModelSpace
from supernet.sharing.macs import count_macs
from supernet.space import SubnetConfig

_STRATA = 8
_POOL = 384
"""Subnets drawn once to fill the strata: dozens for each, and few enough that their MACs are counted in seconds."""
_COUPLED = 0.4
"""Scatter at which the choices of a subnet are about equally large. CompOFA (Sahni et al., 2021) couples choices
completely, which would be 0; this leaves some variety."""


class Sampler(Protocol):
    """Where the random subnets of a step come from."""

    def sample(self, rng: random.Random, index: int) -> SubnetConfig:
        """Draw one subnet.

        Args:
            rng: The random generator of the step.
            index: Number of subnets drawn before in the whole run.
        """


class UniformSampler:
    """Draws every choice uniformly and independently."""

    def __init__(self, model_space: ModelSpace, seed: int, progress: Progress = silent) -> None:  # noqa: ARG002 - as all
        self._space = model_space.space

    def sample(self, rng: random.Random, index: int) -> SubnetConfig:  # noqa: ARG002 - the signature of all samplers
        """See `Sampler`."""
        return self._space.sample(rng)


class MacsSampler:
    """Stratified sampling by MACs: draws from equal parts of the range of log MACs in turn.

    Subnets with independent uniform choices are nearly all of medium size. So a pool with more large and small subnets
    is drawn once, and steps draw from the pool.

    Args:
        model_space: The model space whose subnets are drawn.
        seed: Seed of the pool.
        progress: Called with the number of subnets whose MACs are counted.
        scatter: How far the choices of a subnet are from a common level, see `SearchSpace.sample_near`.
    """

    def __init__(
        self, model_space: ModelSpace, seed: int, progress: Progress = silent, *, scatter: float = 1.0
    ) -> None:
        space = model_space.space
        rng = random.Random(seed)
        pool = sorted({space.sample_near(i / (_POOL - 1), rng, scatter) for i in range(_POOL)})
        sizes: dict[SubnetConfig, float] = {}
        for done, subnet in enumerate(pool):
            sizes[subnet] = math.log(max(1, count_macs(model_space, subnet)))
            progress(done + 1, len(pool), "counting MACs of the sampler's subnets")
        self._strata = _stratified(sizes)

    def sample(self, rng: random.Random, index: int) -> SubnetConfig:
        """See `Sampler`."""
        stratum = self._strata[index % len(self._strata)]
        return stratum[rng.randrange(len(stratum))]


SAMPLERS: dict[str, Callable[[ModelSpace, int, Progress], Sampler]] = {
    "uniform": UniformSampler,
    "macs": MacsSampler,
    "coupled": partial(MacsSampler, scatter=_COUPLED),
}
"""Name -> function of the model space, a seed and a progress callback that returns the sampler."""


def _stratified(sizes: dict[SubnetConfig, float]) -> list[list[SubnetConfig]]:
    """The subnets of each eighth of the range of sizes, without empty eighths."""
    low, high = min(sizes.values()), max(sizes.values())
    edges = [low + (high - low) * i / _STRATA for i in range(1, _STRATA)]
    strata: list[list[SubnetConfig]] = [[] for _ in range(_STRATA)]
    for subnet, size in sizes.items():
        strata[bisect.bisect_right(edges, size)].append(subnet)
    return [stratum for stratum in strata if stratum]
