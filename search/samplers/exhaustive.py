"""Samplers without a model: every subnet of a small space, and random ones."""

from __future__ import annotations

import random
from typing import Final

from search.enumeration import every_subnet, require_small
from search.samplers import Say, SearchState
from search.samplers.collecting import Draw, collect
from supernet.space import SearchSpace, SubnetConfig

_ATTEMPTS: Final = 4096
"""Random draws for one subnet: about a second. If one subnet in 1,400 is within the budgets, they miss it with a
probability of 5 %."""


class ExhaustiveSampler:
    """Proposes every subnet of the space: first those within the budgets of some target, in random order."""

    def propose(self, state: SearchState, count: int, seed: int) -> tuple[SubnetConfig, ...]:
        """See `Sampler.propose`.

        Raises:
            ConfigError: The space has more than 5,000 subnets.
        """
        require_small(state.space)
        known = {scored.subnet for scored in state.scored}
        new = [subnet for subnet in every_subnet(state.space) if subnet not in known]
        random.Random(seed).shuffle(new)
        feasible = _feasible(state, new)
        return tuple(sorted(new, key=lambda subnet: subnet not in feasible)[:count])


class RandomSampler:
    """Proposes random subnets within the budgets of each target in turn, with choices drawn uniformly.

    Args:
        say: Takes a line for each target for which no feasible subnet was drawn.
    """

    def __init__(self, say: Say) -> None:
        self._say = say

    def propose(self, state: SearchState, count: int, seed: int) -> tuple[SubnetConfig, ...]:
        """See `Sampler.propose`."""
        draws = [_uniform(state.space, seed, index) for index in range(len(state.targets))]
        return collect(state, count, draws, _ATTEMPTS, seed, self._say)


def _uniform(space: SearchSpace, seed: int, index: int) -> Draw:
    rng = random.Random(f"{seed} {index}")
    return lambda: space.sample(rng)


def _feasible(state: SearchState, subnets: list[SubnetConfig]) -> set[SubnetConfig]:
    """Those that are within the budgets of at least one target."""
    found: set[SubnetConfig] = set()
    for target in state.targets:
        costs = target.costs.of(subnets)
        found |= {s for s, cost in zip(subnets, costs, strict=True) if not target.budgets.excesses(cost)}
    return found
