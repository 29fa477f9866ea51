"""The search for one target: the most accurate scored subnet inside its budgets."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from device_profiles.budgets import Excess
from device_profiles.costs import Costs
from factory_base.errors import BudgetError
from search.config import SearchConfig
from search.device_target import Target
from search.objective import Objective
from search.predictor import AccuracyPredictor
from search.scored import Scored
from search.solver import solve
from supernet.space import SearchSpace, SubnetConfig

_MUTATION = 0.15
"""The share of the choices that change from a parent to its child. In 27 searches of a space of 33 choices whose
accuracy is a known sum, the pick was better than with 0.05, 0.1, 0.25 and 0.4."""
_GENERATIONS = 4
"""Rounds of mutation, over which the pool is divided. In the same searches the pick was 0.028 worse with 1 round and
0.012 better with 16, of a range of 0.33."""
_PARENTS = 16
"""The best subnets of a round, which the next one mutates. In the same searches 4 gained 0.010 and 64 lost 0.020; 16
keep more variety in case the predictor errs."""

Score = Callable[[Sequence[SubnetConfig]], list[Scored]]
"""Scores subnets for this target; those that are already in the archive cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A subnet judged for one target.

    Attributes:
        subnet: The subnet.
        accuracy: Its accuracy on the held-out images, in [0, 1].
        costs: Its predicted costs on the target's device.
        excesses: The budgets that it exceeds, worst first; a feasible candidate has none.
    """

    subnet: SubnetConfig
    accuracy: float
    costs: Costs
    excesses: tuple[Excess, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """What the search found for one target.

    Attributes:
        pick: The feasible candidate of highest accuracy.
        candidates: All scored subnets that were considered, the pick among them.
        new_trials: The number of candidates that were proposed for this target.
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

    A predictor is fitted to `shared`; the subnets that it ranks highest inside the budgets are scored, and the most
    accurate feasible one of all is the pick. Proposals for other targets are never considered, so the result does not
    depend on which targets were searched before.

    >>> from pathlib import Path
    >>> from device_profiles import Budgets, DeviceCosts, Workloads, find_profile
    >>> from search import Scored, SearchConfig, Target, search_target, shared_subnets
    >>> from supernet import MobileNetConfig, StageConfig, make_model_space
    >>> stages = (StageConfig(widths=(8, 16, 24), depths=(1,), expands=(2, 3, 4)),)
    >>> config = MobileNetConfig(resolutions=(12, 16, 24), stem_width=8, stages=stages, head_width=32)
    >>> model_space = make_model_space(config, classes=10)
    >>> workloads = Workloads(model_space)
    >>> def score(subnets):  # stands in for recalibration and the accuracy on the held-out images
    ...     return [Scored(subnet=subnet, accuracy=1 - 1e4 / workloads.of(subnet).macs) for subnet in subnets]
    >>> shared = score(shared_subnets(model_space.space, workloads, 8, seed=0))
    >>> speaker = DeviceCosts(workloads, find_profile("speaker", Path()))
    >>> target = Target(costs=speaker, budgets=Budgets(latency="0.5 ms"))
    >>> result = search_target(target, model_space.space, shared, score, SearchConfig(), seed=0)
    >>> result.new_trials, result.pick.excesses, result.pick.subnet["resolution"]
    (4, (), 16)

    Args:
        target: The device and the budgets.
        space: The search space of the subnets.
        shared: The subnets scored for all targets, at least two.
        score: Scores the proposals for this target.
        config: The numbers of proposals.
        seed: The seed of the proposals.

    Raises:
        BudgetError: No subnet inside the budgets was found.
    """
    judged = _judge(target, shared)
    feasible = [c for c in judged if not c.excesses]
    start = [s.subnet for s in shared]
    if not feasible:
        start = _any_feasible(target, space)
    wanted = max(config.trials_per_target, config.feasible_per_target - len(feasible))
    proposed = _propose(target, space, shared, start, wanted, config.pool, random.Random(seed))
    judged += _judge(target, score(proposed))
    pick = max((c for c in judged if not c.excesses), key=lambda c: (c.accuracy, -c.costs.latency_us, c.subnet.id))
    return TargetResult(pick=pick, candidates=tuple(judged), new_trials=len(proposed))


def _any_feasible(target: Target, space: SearchSpace) -> list[SubnetConfig]:
    """A subnet inside the budgets. Raises `BudgetError` if there is none."""
    found = solve(Objective(constant=0.0, options={}), [target], space)
    if not found.solutions:
        raise BudgetError(f"target {target.costs.profile.name!r}: {found.describe_failure()}")
    return list(found.solutions)


def _judge(target: Target, scored: Sequence[Scored]) -> list[Candidate]:
    costs = target.costs.of([s.subnet for s in scored])
    return [
        Candidate(subnet=s.subnet, accuracy=s.accuracy, costs=c, excesses=target.budgets.excesses(c))
        for s, c in zip(scored, costs, strict=True)
    ]


def _propose(
    target: Target,
    space: SearchSpace,
    shared: Sequence[Scored],
    start: Sequence[SubnetConfig],
    wanted: int,
    pool: int,
    rng: random.Random,
) -> list[SubnetConfig]:
    """Up to `wanted` feasible subnets outside `shared`, those of highest predicted accuracy that mutation finds.

    The mutation begins with the smallest subnet and those of `start` that are feasible.
    """
    if not wanted:
        return []
    predictor = AccuracyPredictor(space, shared)
    known = {s.subnet for s in shared}
    population = _feasible(target, [space.smallest, *start])
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
