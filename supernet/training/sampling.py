"""Which random subnets train: samplers that are told the step and remember nothing."""

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
_COUPLED = 0.4
"""Scatter with which the choices of a subnet are all about as large (after CompOFA, Sahni et al., 2021)."""


class Sampler(Protocol):
    """Where the random subnets of a step come from."""

    def sample(self, rng: random.Random, index: int) -> SubnetConfig:
        """One subnet.

        Args:
            rng: of the step.
            index: how many were drawn in the whole run before, counted from 0.
        """


class UniformSampler:
    """Draws every choice uniformly and independently."""

    def __init__(self, model_space: ModelSpace, seed: int, progress: Progress = silent) -> None:  # noqa: ARG002 - as all
        self._space = model_space.space

    def sample(self, rng: random.Random, index: int) -> SubnetConfig:  # noqa: ARG002 - the signature of all samplers
        """See `Sampler`."""
        return self._space.sample(rng)


class MacsSampler:
    """Stratified by multiply-accumulates: takes equal parts of the range of log MACs in turn.

    Independent uniform choices are nearly all of middle size, so a pool is drawn once in which large and small subnets
    are as frequent; steps take from the pool.

    Args:
        model_space: whose subnets.
        seed: of the pool.
        progress: told while their sizes are counted.
        scatter: of a subnet's choices around a common level, see `SearchSpace.sample_near`.
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
            progress(done + 1, len(pool), "measuring the sampler's subnets")
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
"""Name -> sampler, made of the model space, a seed and a listener."""


def _stratified(sizes: dict[SubnetConfig, float]) -> list[list[SubnetConfig]]:
    """The subnets of each eighth of the range of sizes that has any."""
    low, high = min(sizes.values()), max(sizes.values())
    edges = [low + (high - low) * i / _STRATA for i in range(1, _STRATA)]
    strata: list[list[SubnetConfig]] = [[] for _ in range(_STRATA)]
    for subnet, size in sizes.items():
        strata[bisect.bisect_right(edges, size)].append(subnet)
    return [stratum for stratum in strata if stratum]
