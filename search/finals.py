"""The finals: the best candidates of every target are compared on more and more held-out images.

Many candidates are compared, so the best score of a round is likely to be a lucky one. So the finalists of all targets
are scored on images that the rounds did not use, twice as many each time, and half of them stay (successive halving).
The last ones are scored on all held-out images, and these scores decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from device_profiles.costs import Costs
from factory_base.errors import BudgetError
from factory_base.wording import counted
from search.device_target import Target
from search.scored import Scored, paired_difference
from search.target import Candidate, judged
from supernet.space import SubnetConfig

Score = Callable[[Sequence[SubnetConfig], int, str], list[Scored]]
"""Scores subnets on that many held-out images, for a purpose that is shown to people. Known scores cost nothing."""

Measure = Callable[[Target, Candidate], Costs]
"""The costs of a candidate on a target's device, with what its exported graph shows in place of what was predicted."""

_FEWEST = 2
"""Finalists that are scored on all images: with one alone nothing would be compared."""
_DISTINCT = 0.25
"""Standard errors by which a finalist must be better than a faster one. In the table of `benchmarks/search_regret.py`,
where noise is 1 point, 0.25 cost no accuracy, 0.5 cost 0.15 points and 1 cost 0.3 points."""
_ATTEMPTS = 8
"""Graphs that are exported for one target at most. If predicted costs are that wrong, a person has to look at them."""


def hold_finals(ranked: Sequence[Sequence[SubnetConfig]], rungs: Sequence[int], score: Score) -> tuple[Scored, ...]:
    """Score finalists on more and more images.

    Args:
        ranked: For each target, its finalists, the most promising first.
        rungs: Numbers of images, ascending: first those of the rounds, at last all held-out images.
        score: Scores subnets.

    Returns:
        The finalists with their scores on the most images that they got.
    """
    staying = [list(subnets) for subnets in ranked]
    known: dict[SubnetConfig, Scored] = {}
    for images in rungs[1:] or rungs:
        distinct = list(dict.fromkeys(subnet for subnets in staying for subnet in subnets))
        known |= {s.subnet: s for s in score(distinct, images, "final")}
        for place, subnets in enumerate(staying):
            best = sorted(subnets, key=lambda subnet: -known[subnet].accuracy)  # stable: equal ones keep their order
            staying[place] = best[: max(_FEWEST, (len(best) + 1) // 2)]
    return tuple(known.values())


def decide(target: Target, scored: Sequence[Scored], measure: Measure) -> Candidate:
    """The most accurate subnet of those scored on the most images, or the fastest one that is nearly as accurate.

    Args:
        target: The target.
        scored: Scored subnets, of which at least one keeps the target's budgets by its predicted costs.
        measure: Corrects the costs of a subnet before it is taken. If they exceed a budget, another one is taken.

    Raises:
        BudgetError: The exported graphs of the best subnets all exceed a budget.
    """
    remaining = [s for s, c in zip(scored, judged(target, scored), strict=True) if not c.excesses]
    refused: list[str] = []
    while remaining and len(refused) < _ATTEMPTS:
        preferred = _preferred(target, remaining)
        (candidate,) = judged(target, [preferred])
        costs = measure(target, candidate)
        excesses = target.budgets.excesses(costs)
        if not excesses:
            return replace(candidate, costs=costs)
        refused.append(f"subnet {candidate.subnet.id}: {' and '.join(e.describe() for e in excesses)}")
        remaining.remove(preferred)
    best = counted(len(refused), "subnet")
    raise BudgetError(
        f"target {target.costs.profile.name!r}: the exported graphs of its best {best} exceed budgets that their "
        f"predicted costs keep; {refused[0]}; lower this budget by the difference, so that a smaller subnet is picked"
    )


def predicted_costs(_: Target, candidate: Candidate) -> Costs:
    """A `Measure` that takes the predicted costs as they are."""
    return candidate.costs


def _preferred(target: Target, scored: Sequence[Scored]) -> Scored:
    best = max(scored, key=lambda s: (s.images, s.accuracy))
    level = [s for s in scored if s == best or _is_level(best, s)]
    latency = dict(zip(level, (c.costs.latency_us for c in judged(target, level)), strict=True))
    return min(level, key=lambda s: (latency[s], -s.accuracy, s.subnet))


def _is_level(best: Scored, other: Scored) -> bool:
    if other.images != best.images:
        return False
    difference, error = paired_difference(best, other)
    return difference <= _DISTINCT * error
