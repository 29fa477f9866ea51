"""The best few models for a fleet, with a bound on what any choice can reach.

    plan = plan_fleet(problem, models=4)
    plan.models, plan.value, plan.gap

Every class of devices gets the best of the chosen models that it can run: the p-median problem. First a good choice is
found by exchanges. A relaxation then bounds all choices, and shows which models no better choice can contain. With the
few that are left an integer program decides. SciPy is imported when it is solved.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import BudgetError
from factory_base.wording import counted
from search.fleet.heuristics import greedy_models, improved_models
from search.fleet.problem import FleetProblem, grouped, undominated
from search.fleet.relaxation import Question, is_small, relaxed
from search.fleet.tree import solve_tree

_ATTEMPTS = 3
"""Times that the bound is computed anew because a better choice was found with it, which makes it sharper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """The models for a fleet.

    Attributes:
        models: Their indices, the best model first.
        assigned: The model of each class, int (classes,).
        value: The mean metric over installs.
        bound: No choice of as many models has a higher value.
        status: `optimal` if the bound is reached within the tolerance, else `bounded`.
        seconds: Duration.
    """

    models: tuple[int, ...]
    assigned: tuple[int, ...]
    value: float
    bound: float
    status: str
    seconds: float

    @property
    def gap(self) -> float:
        """How much better another choice of as many models could be at most, in units of the metric."""
        return max(0.0, self.bound - self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a choice of models must keep.

    Attributes:
        most: The most models.
        download: The most bytes of all models together; None for no limit.
    """

    most: int
    download: int | None


def plan_fleet(
    problem: FleetProblem,
    models: int,
    *,
    download: int | None = None,
    tolerance: float = 1e-6,
    seconds: float = 15.0,
) -> FleetPlan:
    """The models that maximise the mean metric of a fleet in which every class can run one of them.

    Args:
        problem: The classes and the models to choose among.
        models: The most models, at least 1.
        download: The most bytes of all models together; None for no limit.
        tolerance: The gap that counts as none, in units of the metric.
        seconds: The time after which the best choice so far is returned with its bound; a little more may pass.

    Raises:
        BudgetError: A class can run no model, or no choice of as many models serves all classes.
    """
    started = time.monotonic()
    _require_served(problem)
    whole = grouped(problem)
    useful = undominated(whole)
    small = restricted(whole, useful)
    limits = Limits(most=min(models, len(useful)), download=download)
    chosen, bound = _best(small, limits, tolerance, started + seconds)
    found = useful[chosen]
    used = np.unique(problem.assigned(found))
    ordered = used[np.argsort(-problem.values[used], kind="stable")]
    value = problem.mean(ordered)
    return FleetPlan(
        models=tuple(map(int, ordered)),
        assigned=tuple(map(int, problem.assigned(ordered))),
        value=value,
        bound=max(bound, value),
        status="optimal" if bound - value <= tolerance else "bounded",
        seconds=time.monotonic() - started,
    )


def restricted(problem: FleetProblem, models: NDArray[np.int64]) -> FleetProblem:
    """The same question with these models alone."""
    return replace(
        problem, serves=problem.serves[:, models], values=problem.values[models], sizes=problem.sizes[models]
    )


def _require_served(problem: FleetProblem) -> None:
    unserved = np.flatnonzero(~problem.serves.any(axis=1))
    if len(unserved):
        names = ", ".join(repr(problem.classes[index]) for index in unserved[:5])
        more = f" and {len(unserved) - 5:,} more" if len(unserved) > 5 else ""
        raise BudgetError(
            f"no model keeps the budgets of {counted(len(unserved), 'class', 'classes')} of the fleet: {names}{more}; "
            "raise their budgets or leave them out"
        )


def _best(problem: FleetProblem, limits: Limits, tolerance: float, deadline: float) -> tuple[NDArray[np.int64], float]:
    """The best choice that was found, and the bound."""
    best = improved_models(problem, greedy_models(problem, limits.most, limits.download), limits.download)
    bound, left = np.inf, np.arange(len(problem.values))
    for _ in range(_ATTEMPTS):
        found, possible, close = _bounded(problem, limits, best, tolerance, deadline)
        # What held while a worse choice was the best one known still holds.
        bound, left = min(bound, found), np.union1d(np.intersect1d(left, possible), best)
        value = problem.worth(best) if len(best) else None
        better = improved_models(problem, close, limits.download)
        reached = problem.worth(better) if len(better) else None
        if reached is None or (value is not None and reached <= value + tolerance):
            break
        best, value = better, reached
    if value is None or bound - value > tolerance:
        solved, limit = _solved(problem, limits, left, max(1.0, deadline - time.monotonic()))
        reached = problem.worth(solved) if len(solved) else None
        if reached is not None and (value is None or reached > value):
            best, value = solved, reached
        # Models that are left out can be part of no choice that is worth more than the best one known.
        bound = min(bound, limit if value is None else max(limit, value))
    if value is None:
        raise BudgetError(_unserved_message(problem, limits))
    return best, bound


def _solved(
    problem: FleetProblem, limits: Limits, left: NDArray[np.int64], seconds: float
) -> tuple[NDArray[np.int64], float]:
    """The best choice among the models that are left, and a bound on it: none of them if it would take too long."""
    smaller, nothing = grouped(restricted(problem, left)), np.empty(0, dtype=np.int64)
    if not is_small(int(smaller.serves.sum())) and problem.worth(left) is not None:
        return nothing, np.inf
    solved = solve_tree(smaller, limits.most, limits.download, seconds)
    return (nothing, np.inf) if solved is None else (left[solved[0]], solved[1])


def _bounded(
    problem: FleetProblem, limits: Limits, best: NDArray[np.int64], tolerance: float, deadline: float
) -> tuple[float, NDArray[np.int64], NDArray[np.int64]]:
    """A bound on the value, the models that a choice better than `best` can contain, and a choice that may be better.

    The models of `best` are among the former.
    """
    everything = np.arange(len(problem.values))
    if not len(best) or problem.worth(best) is None:
        return float(problem.values.max()), everything, best
    only = problem.serves.sum(axis=1) == 1
    essential = np.unique(problem.serves[only].argmax(axis=1)) if only.any() else np.empty(0, dtype=np.int64)
    free = np.setdiff1d(everything, essential)
    question = _question(problem, limits, essential, free)
    if question.most < 1 or not len(free):
        return float(question.base.sum()), best, best
    chosen = np.flatnonzero(np.isin(free, best))
    proof = relaxed(question, chosen, tolerance=tolerance, is_over=lambda: time.monotonic() > deadline)
    left = np.union1d(free[proof.possible], np.union1d(essential, best))
    return proof.bound, left, np.concatenate([essential, free[proof.picked]])


def _question(problem: FleetProblem, limits: Limits, essential: NDArray[np.int64], free: NDArray[np.int64]) -> Question:
    """What to add to the essential models, the only ones that some class can run.

    A class that has none of these is given a little less than the worst model if it gets none: that may be better than
    what a choice may do, but never worse, so the bound holds.
    """
    low, high = float(problem.values.min()), float(problem.values.max())
    unserved = low - (high - low)
    base = np.where(problem.serves[:, essential], problem.values[essential], unserved).max(axis=1, initial=unserved)
    worths = np.maximum(np.where(problem.serves[:, free], problem.values[free], unserved), base[:, None])
    return Question(
        worths=worths * problem.shares[:, None],
        base=base * problem.shares,
        sizes=problem.sizes[free],
        most=limits.most - len(essential),
        download=None if limits.download is None else limits.download - int(problem.sizes[essential].sum()),
    )


def _unserved_message(problem: FleetProblem, limits: Limits) -> str:
    hardest = problem.classes[int(problem.serves.sum(axis=1).argmin())]
    together = "" if limits.download is None else f" of {limits.download:,} bytes together"
    return (
        f"{counted(limits.most, 'model')}{together} cannot serve every class of the fleet; allow more models"
        f"{'' if limits.download is None else ' or bytes'}, or raise the budgets of classes such as {hardest!r}, which "
        "can run the fewest models"
    )
