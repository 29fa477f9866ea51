"""The search for one target: the most accurate scored subnet inside its budgets."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from device_profiles.budgets import Budgets, Excess
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.costs import Costs
from factory_base.errors import BudgetError
from search.archive import Scored
from search.config import SearchConfig
from search.predictor import AccuracyPredictor
from supernet.space import SearchSpace, SubnetConfig

_MUTATION = 0.15
"""Share of the choices that change from a parent to its child."""
_GENERATIONS = 4
_PARENTS = 16

Score = Callable[[Sequence[SubnetConfig]], list[Scored]]
"""Scores subnets for this target; those already in the archive cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A device and the budgets that hold for this task.

    Attributes:
        costs: of subnets on the device.
        budgets: limits on them.
    """

    costs: DeviceCosts
    budgets: Budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A subnet judged for one target.

    Attributes:
        accuracy: on the held-out split, in [0, 1].
        costs: on the target's device.
        excesses: the budgets it breaks, worst first; empty means feasible.
    """

    subnet: SubnetConfig
    accuracy: float
    costs: Costs
    excesses: tuple[Excess, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """What the search found for one target.

    Attributes:
        pick: the feasible candidate of highest accuracy.
        candidates: all scored subnets considered, the pick among them.
        new_trials: how many of them were proposed for this target.
    """

    pick: Candidate
    candidates: tuple[Candidate, ...]
    new_trials: int

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The Pareto front of accuracy against latency among all candidates, fastest first."""
        front: list[Candidate] = []
        for candidate in sorted(self.candidates, key=lambda c: (c.costs.latency_us, -c.accuracy, c.subnet)):
            if not front or candidate.accuracy > front[-1].accuracy:
                front.append(candidate)
        return tuple(front)


def search_target(
    target: Target,
    space: SearchSpace,
    shared: Sequence[Scored],
    score: Score,
    config: SearchConfig,
    seed: int,
) -> TargetResult:
    """Choose a subnet for `target`.

    Only `shared` and what is proposed here is considered, never another target's proposals: so the result does not
    depend on which targets were searched before.

    Args:
        target: device and budgets.
        space: of the subnets.
        shared: the subnets scored for all targets.
        score: scores this target's proposals.
        config: how many.
        seed: of the proposals.

    Raises:
        BudgetError: no subnet meets the budgets.
    """
    judged = _judge(target, shared)
    feasible = [c for c in judged if not c.excesses]
    if not feasible:
        _check_feasible(target, space)
    wanted = max(config.trials_per_target, config.feasible_per_target - len(feasible))
    proposed = _propose(target, space, shared, wanted, config.pool, random.Random(seed))
    judged += _judge(target, score(proposed))
    pick = max((c for c in judged if not c.excesses), key=lambda c: (c.accuracy, -c.costs.latency_us, c.subnet.id))
    return TargetResult(pick=pick, candidates=tuple(judged), new_trials=len(proposed))


def _judge(target: Target, scored: Sequence[Scored]) -> list[Candidate]:
    costs = target.costs.of([s.subnet for s in scored])
    return [
        Candidate(subnet=s.subnet, accuracy=s.accuracy, costs=c, excesses=target.budgets.excesses(c))
        for s, c in zip(scored, costs, strict=True)
    ]


def _check_feasible(target: Target, space: SearchSpace) -> None:
    (costs,) = target.costs.of([space.smallest])
    excesses = target.budgets.excesses(costs)
    if excesses:
        tightest = excesses[0]
        raise BudgetError(
            f"target {target.costs.profile.name!r}: no subnet meets its budgets; the tightest is {tightest.budget}: "
            f"the smallest subnet's {tightest.describe()}; raise it, or add smaller options to the model section"
        )


def _propose(
    target: Target,
    space: SearchSpace,
    shared: Sequence[Scored],
    wanted: int,
    pool: int,
    rng: random.Random,
) -> list[SubnetConfig]:
    """Up to `wanted` feasible subnets outside `shared` of highest predicted accuracy, found by evolution."""
    if not wanted:
        return []
    predictor = AccuracyPredictor(space, shared)
    known = {s.subnet for s in shared}
    population = _feasible(target, [space.smallest, *known])
    for _ in range(_GENERATIONS):
        parents = _best(predictor, population, _PARENTS)
        children = [space.mutate(rng.choice(parents), rng, _MUTATION) for _ in range(pool // _GENERATIONS)]
        population = sorted(set(population) | set(_feasible(target, children)))
    return _best(predictor, [subnet for subnet in population if subnet not in known], wanted)


def _feasible(target: Target, subnets: Sequence[SubnetConfig]) -> list[SubnetConfig]:
    distinct = sorted(set(subnets))
    costs = target.costs.of(distinct)
    return [subnet for subnet, cost in zip(distinct, costs, strict=True) if not target.budgets.excesses(cost)]


def _best(predictor: AccuracyPredictor, subnets: Sequence[SubnetConfig], count: int) -> list[SubnetConfig]:
    if not subnets:
        return []
    promise = predictor.predict(subnets)
    order = sorted(range(len(subnets)), key=lambda i: (-promise[i], subnets[i]))
    return [subnets[i] for i in order[:count]]
