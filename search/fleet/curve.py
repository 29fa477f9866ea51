"""What a fleet gains from each further model, and with how many models another one stops paying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from factory_base.errors import BudgetError
from factory_base.progress import Progress, silent
from search.fleet.problem import FleetProblem
from search.fleet.program import FleetPlan, plan_fleet

_SHORTEST = 8
"""The number of models up to which the curve goes at least: few teams maintain more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The best plans with growing numbers of models.

    Attributes:
        plans: The plan with at most 1, 2, ... models; None where so few cannot serve every class.
        ceiling: The mean metric if every class got the best candidate that it can run.
    """

    plans: tuple[FleetPlan | None, ...]
    ceiling: float

    def suggested(self, charge: float) -> int:
        """The number of models after which another one stops paying.

        It is the one with the highest value after `charge`, in units of the metric, is subtracted for each model; of
        equal ones the smallest.
        """
        values = [-np.inf if plan is None else plan.value - charge * len(plan.models) for plan in self.plans]
        return int(np.argmax(values)) + 1


def fleet_curve(
    problem: FleetProblem,
    models: int,
    download: int | None = None,
    *,
    seconds: float = 15.0,
    progress: Progress = silent,
) -> Curve:
    """The best plans with 1, 2, ... models: as many as are asked for, and at least 8 unless fewer reach the ceiling.

    Args:
        problem: The classes and the models to choose among.
        models: The number of models that is asked for, at least 1.
        download: The most bytes of all models of a plan together; None for no limit.
        seconds: The time after which each plan is taken as it is, with its bound.
        progress: Called after each plan.

    Raises:
        BudgetError: A class can run no model, or `models` models cannot serve every class.
    """
    everything = np.arange(len(problem.values))
    whole = problem.worth(everything)
    ceiling = -np.inf if whole is None else whole
    most, plans = max(models, _SHORTEST), list[FleetPlan | None]()
    for count in range(1, most + 1):
        try:
            plan = plan_fleet(problem, count, download=download, seconds=seconds)
        except BudgetError:
            if count == models or whole is None:
                raise
            plan = None
        plans.append(_better(plan, plans))
        progress(count, most, "models")
        if plan is not None and ceiling - plan.value <= 1e-9:
            break
    return Curve(plans=tuple(plans), ceiling=ceiling)


def _better(plan: FleetPlan | None, smaller: Sequence[FleetPlan | None]) -> FleetPlan | None:
    """The plan, or the models of the one before if these are better: a time limit may have ended the search."""
    before = smaller[-1] if smaller else None
    if plan is None or before is None or before.value <= plan.value:
        return plan
    return replace(before, bound=plan.bound, status=plan.status, seconds=plan.seconds)
