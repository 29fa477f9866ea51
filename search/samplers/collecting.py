"""Keeps of random draws those that are new and inside the budgets, and shares them out over the targets."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from search.device_target import Target
from search.samplers import Say, SearchState
from supernet.space import SearchSpace, SubnetConfig

Draw = Callable[[], SubnetConfig]
"""Draws a subnet for one target. It may be known already, or exceed the budgets."""

_PARENTS: Final = 8
"""The draws that are changed: those that exceed the budgets least."""

_NEIGHBOURS: Final = 512
"""Changed copies of the draws for one subnet, if no draw itself will do. They take about 0.1 s."""


def collect(
    state: SearchState, count: int, draws: Sequence[Draw], attempts: int, seed: int, say: Say
) -> tuple[SubnetConfig, ...]:
    """Distinct new subnets, drawn for the targets in turn.

    If none of the draws for a target is both new and within its budgets, they are changed at random, ever more. If that
    finds none either, those that exceed the budgets least are taken.

    Args:
        state: What is known.
        count: The most subnets to return.
        draws: One for each target.
        attempts: The most draws for one subnet. After as many in vain, a target is not drawn for again.
        seed: The seed of the changes.
        say: Takes a line for each target for which no subnet within the budgets was found.
    """
    taken = {scored.subnet for scored in state.scored}
    room = state.space.count() - len(taken)
    targets = [
        _Drawn(target, state.space, draw, attempts, random.Random(f"{seed} {index} neighbours"))
        for index, (target, draw) in enumerate(zip(state.targets, draws, strict=True))
    ]
    found: list[SubnetConfig] = []
    for turn in range(min(count, room)):
        subnet = targets[turn % len(targets)].next(taken)
        if subnet is not None:
            taken.add(subnet)
            found.append(subnet)
    for target in targets:
        target.report(say)
    return tuple(found)


class _Drawn:
    """The draws for one target."""

    def __init__(self, target: Target, space: SearchSpace, draw: Draw, attempts: int, rng: random.Random) -> None:
        self._target, self._space, self._draw, self._attempts, self._rng = target, space, draw, attempts, rng
        self._drawn: dict[SubnetConfig, None] = {}
        self._excess: dict[SubnetConfig, float] = {}
        self._feasible = 0

    def next(self, taken: set[SubnetConfig]) -> SubnetConfig | None:
        """A subnet outside `taken`, feasible if one is found; None if all that were seen are taken."""
        for subnet in self._candidates():
            if subnet not in taken and subnet not in self._excess:
                excess = self._excess_of(subnet)
                if not excess:
                    self._feasible += 1
                    return subnet
                self._excess[subnet] = excess
        left = [subnet for subnet in self._excess if subnet not in taken]
        return min(left, key=lambda subnet: (self._excess[subnet], subnet)) if left else None

    def report(self, say: Say) -> None:
        """Say so if no feasible subnet was found."""
        if self._excess and not self._feasible:
            nearest = min(self._excess, key=lambda subnet: (self._excess[subnet], subnet))
            excesses = self._target.budgets.excesses(self._target.costs.of([nearest])[0])
            say(
                f"target {self._target.costs.profile.name!r}: none of {len(self._excess):,} proposals is within the "
                f"budgets; the nearest are scored instead: {' and '.join(excess.describe() for excess in excesses)}"
            )

    def _candidates(self) -> Iterator[SubnetConfig]:
        for _ in range(self._attempts):
            subnet = self._draw()
            self._drawn[subnet] = None
            yield subnet
        self._attempts = 0
        parents = sorted(self._drawn, key=lambda subnet: (self._excess.get(subnet, 0.0), subnet))[:_PARENTS]
        for step in range(_NEIGHBOURS):
            yield self._space.mutate(self._rng.choice(parents), self._rng, (step + 1) / _NEIGHBOURS)

    def _excess_of(self, subnet: SubnetConfig) -> float:
        """By which share of the budgets, added up, the subnet exceeds them."""
        return sum(excess.ratio - 1 for excess in self._target.budgets.excesses(self._target.costs.of([subnet])[0]))
