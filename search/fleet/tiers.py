"""A plan as the tiers of a family: one for each profile, for a manifest tells devices apart by profile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from device_profiles.budgets import BudgetName, Budgets
from search.fleet.found import PlannedTier
from search.fleet.members import Member
from search.fleet.problem import FleetProblem
from search.fleet.program import FleetPlan

_FIELDS: dict[BudgetName, str] = {
    "latency": "latency_us",
    "peak_memory": "peak_memory_bytes",
    "file_size": "file_bytes",
    "macs": "macs",
    "energy": "energy_uj",
}


def planned_tiers(members: Sequence[Member], problem: FleetProblem, plan: FleetPlan) -> tuple[PlannedTier, ...]:
    """A tier for each profile, in the order in which the fleet names them."""
    return tuple(
        _tier(
            profile,
            [index for index, member in enumerate(members) if member.profile == profile],
            members,
            problem,
            plan,
        )
        for profile in dict.fromkeys(member.profile for member in members)
    )


def _tier(
    profile: str, own: Sequence[int], members: Sequence[Member], problem: FleetProblem, plan: FleetPlan
) -> PlannedTier:
    models = np.array(plan.models)
    running = problem.serves[own][:, models].all(axis=0)
    model = int(running.argmax()) if running.any() else None  # the models are in order, the best first
    return PlannedTier(
        profile=profile,
        model=model,
        limits=_tightest([members[index].limits for index in own]),
        classes=tuple(members[index].name for index in own),
        others=tuple(members[i].name for i in own if model is None or plan.assigned[i] != plan.models[model]),
        share=float(sum(members[index].share for index in own)),
    )


def _tightest(budgets: Sequence[Budgets]) -> Budgets:
    found: dict[str, int | float] = {}
    for one in budgets:
        for limit in one.limits():
            field = _FIELDS[limit.budget]
            found[field] = min(limit.value, found.get(field, limit.value))
    confidences = [one.confidence for one in budgets if one.confidence is not None]
    return Budgets().model_copy(update={**found, **({"confidence": max(confidences)} if confidences else {})})
