"""The finals: the best candidates of every target are told apart on more and more held-out images.

Many candidates are compared, so the best score of a round is likely to be a lucky one. So the finalists of all targets
are scored on images that the rounds did not use, twice as many each time, and half of them stay (successive halving).
The last ones are scored on all held-out images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from device_profiles.costs import Costs
from factory_base.errors import BudgetError
from factory_base.wording import counted
from search.device_target import Target
from search.scored import Scored, paired_difference
from search.target import Candidate, judged
from supernet.space import SubnetConfig

Score = Callable[[Sequence[SubnetConfig], int, str], list[Scored]]
"""Scores subnets on that many held-out images, for a purpose that is told to people. Known scores cost nothing."""

Measure = Callable[[Target, Candidate], Costs]
"""The costs of a candidate on a target's device, with what its exported graph shows in place of what was predicted."""

_FEWEST = 2
"""Finalists that are scored on all images: with one alone nothing would be compared."""
_DISTINCT = 1.0
"""Standard errors by which a finalist must be better than a cheaper one."""


def hold_finals(
    ranked: Sequence[Sequence[SubnetConfig]], rungs: Sequence[int], score: Score
) -> list[tuple[Scored, ...]]:
    """Score finalists on more and more images.

    Args:
        ranked: For each target, its finalists, the most promising first.
        rungs: Numbers of images, ascending: first those of the rounds, at last all held-out images.
        score: Scores subnets.

    Returns:
        For each target, all its finalists with the score on the most images that they got; the last ones first.
    """
    staying = [list(subnets) for subnets in ranked]
    results: list[dict[SubnetConfig, Scored]] = [{} for _ in ranked]
    for images in rungs[1:] or rungs:
        distinct = list(dict.fromkeys(subnet for subnets in staying for subnet in subnets))
        scored = {s.subnet: s for s in score(distinct, images, "final")}
        for place, subnets in enumerate(staying):
            results[place] |= {subnet: scored[subnet] for subnet in subnets}
            best = sorted(subnets, key=lambda subnet: -scored[subnet].accuracy)  # stable: equal ones keep their order
            last = images == rungs[-1]
            staying[place] = best if last else best[: max(_FEWEST, (len(best) + 1) // 2)]
    return [_best_first(result, last) for result, last in zip(results, staying, strict=True)]


def decide(target: Target, finalists: Sequence[Scored], measure: Measure) -> Candidate:
    """The most accurate finalist, or a cheaper one that cannot be told apart from it, whose graph keeps the budgets.

    Args:
        target: The target.
        finalists: Scores of subnets whose predicted costs keep the target's budgets.
        measure: Corrects the costs of a finalist before it is taken.

    Raises:
        BudgetError: The exported graph of every finalist exceeds a budget.
    """
    remaining, refused = list(finalists), ""
    while remaining:
        candidate = _preferred(target, remaining)
        costs = measure(target, candidate)
        excesses = target.budgets.excesses(costs)
        if not excesses:
            return replace(candidate, costs=costs)
        refused = refused or f"subnet {candidate.subnet.id}: {' and '.join(e.describe() for e in excesses)}"
        remaining = [scored for scored in remaining if scored.subnet != candidate.subnet]
    count = counted(len(finalists), "finalist")
    raise BudgetError(
        f"target {target.costs.profile.name!r}: the exported graphs of its {count} exceed "
        f"the budgets, which their predicted costs keep; {refused}; lower this budget by the difference, so that a "
        "smaller subnet is picked"
    )


def predicted_costs(_: Target, candidate: Candidate) -> Costs:
    """A `Measure` that takes the predicted costs as they are."""
    return candidate.costs


def _preferred(target: Target, finalists: Sequence[Scored]) -> Candidate:
    best = max(finalists, key=lambda s: (s.images, s.accuracy))
    level = [s for s in finalists if s is best or _is_level(best, s)]
    return min(judged(target, level), key=lambda c: (c.costs.latency_us, -c.accuracy, c.subnet))


def _is_level(best: Scored, other: Scored) -> bool:
    if other.images != best.images:
        return False
    difference, error = paired_difference(best, other)
    return difference <= _DISTINCT * error


def _best_first(results: Mapping[SubnetConfig, Scored], last: Sequence[SubnetConfig]) -> tuple[Scored, ...]:
    rest = [scored for subnet, scored in results.items() if subnet not in last]
    return (*(results[subnet] for subnet in last), *sorted(rest, key=lambda s: (-s.images, -s.accuracy)))
