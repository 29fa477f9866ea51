"""Keeps of random draws those that are new and inside the budgets, and shares them out over the targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from search.device_target import Target
from search.samplers import Say, SearchState
from supernet.space import SubnetConfig

Draw = Callable[[], SubnetConfig]
"""Draws a subnet for one target. It may be known already, or exceed the budgets."""


def collect(state: SearchState, count: int, draws: Sequence[Draw], attempts: int, say: Say) -> tuple[SubnetConfig, ...]:
    """Distinct new subnets, drawn for the targets in turn.

    Args:
        state: What is known.
        count: The most subnets to return.
        draws: One for each target.
        attempts: The most draws for one subnet. A target whose budgets none of them meets is not drawn for again;
            its turns take the draws that exceed its budgets least.
        say: Takes a line for each such target.
    """
    taken = {scored.subnet for scored in state.scored}
    room = state.space.count() - len(taken)
    targets = [_Drawn(target, draw, attempts) for target, draw in zip(state.targets, draws, strict=True)]
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

    def __init__(self, target: Target, draw: Draw, attempts: int) -> None:
        self._target, self._draw, self._attempts = target, draw, attempts
        self._excess: dict[SubnetConfig, float] = {}
        self._exhausted = False
        self._feasible = 0

    def next(self, taken: set[SubnetConfig]) -> SubnetConfig | None:
        """A subnet outside `taken`, feasible if one is found; None if all draws were taken."""
        for _ in range(0 if self._exhausted else self._attempts):
            subnet = self._draw()
            if subnet not in taken and subnet not in self._excess:
                excess = self._excess_of(subnet)
                if not excess:
                    self._feasible += 1
                    return subnet
                self._excess[subnet] = excess
        self._exhausted = True
        left = [subnet for subnet in self._excess if subnet not in taken]
        return min(left, key=lambda subnet: (self._excess[subnet], subnet)) if left else None

    def report(self, say: Say) -> None:
        """Say so if no draw was feasible."""
        if self._exhausted and not self._feasible and self._excess:
            nearest = min(self._excess, key=lambda subnet: (self._excess[subnet], subnet))
            excesses = self._target.budgets.excesses(self._target.costs.of([nearest])[0])
            say(
                f"target {self._target.costs.profile.name!r}: none of {len(self._excess):,} proposals is within the "
                f"budgets; the nearest are scored instead: {' and '.join(excess.describe() for excess in excesses)}"
            )

    def _excess_of(self, subnet: SubnetConfig) -> float:
        """By which share of the budgets, added up, the subnet exceeds them."""
        return sum(excess.ratio - 1 for excess in self._target.budgets.excesses(self._target.costs.of([subnet])[0]))
