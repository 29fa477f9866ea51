"""From scored subnets to a plan: candidates in all precisions, plans, and real scores for every model of a plan.

    candidates   every scored subnet in every precision, valued by its own score or by that in fp32 and what the
                 precision costs in the mean
    plans        the best 1, 2, ... of them for the fleet
    scores       the models of all plans, and the best ones of each class, on all held-out images; again, with more of
                 the latter each time, until all of these have such a score

A high score on few images is likely to be a lucky one, so no plan is made of such scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from device_profiles.costs import Costs
from device_profiles.engine import Precision
from factory_base.errors import BudgetError
from factory_base.progress import Progress
from factory_base.wording import counted
from search.finals import Score
from search.fleet.curve import Curve, fleet_curve
from search.fleet.found import CurvePoint, FleetFound, FleetModel, ServedClass
from search.fleet.members import Devices, Member, fleet_problem
from search.fleet.problem import FleetProblem
from search.fleet.program import FleetPlan
from search.fleet.tiers import planned_tiers
from search.fleet.wishes import Wishes
from search.scored import Scored
from search.variant import Variant, variant_of

_ATTEMPTS = 8
"""Times that models are scored because a new plan may contain them: the last time the best 64 of each class."""


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Plans a fleet from scored subnets.

    Attributes:
        members: The classes of devices.
        devices: The costs on their profiles.
        wishes: What is wanted.
        score: Scores variants.
        images: The number of all held-out images.
        watch: Opens a stage of long work, whose progress is reported.
    """

    members: Sequence[Member]
    devices: Devices
    wishes: Wishes
    score: Score
    images: int
    watch: Callable[[str], AbstractContextManager[Progress]]

    def plan(self, scored: Sequence[Scored], offsets: Mapping[str, float]) -> FleetFound:
        """The plan.

        Args:
            scored: Scores of variants, those of files left aside.
            offsets: What each precision other than fp32 adds to the metric of a subnet in the mean.

        Raises:
            BudgetError: A class can run no candidate, or none that reaches the floor, or so few models cannot serve
                every class.
        """
        known = {variant_of(one): one for one in scored if not one.is_of_file}
        values = _values(known, offsets, {costs.precision for found in self.devices.values() for costs in found})
        problem = self._above_floor(fleet_problem(self.members, self.devices, values))
        variants = list(values)
        for attempt in range(_ATTEMPTS):
            curve = self._curve(problem, f"plan ({attempt + 1})" if attempt else "plan")
            wanted = [variants[index] for index in sorted({*_used(curve), *_best_of_classes(problem, 2**attempt)})]
            if all(v in known and known[v].images == self.images for v in wanted):
                break
            if attempt == _ATTEMPTS - 2:  # the last plan is one of models that are scored already
                full = np.array([v in known and known[v].images == self.images for v in variants])
                problem = replace(problem, serves=problem.serves & full)
                continue
            known |= zip(wanted, self.score(wanted, self.images, "fleet"), strict=True)
            found = [known[v].accuracy if v in known else values[v] for v in variants]
            problem = self._above_floor(replace(problem, values=np.array(found)))
        return _Findings(self, problem, variants, known, curve).found()

    def unserved(self, scored: Sequence[Scored]) -> list[int]:
        """The classes, as indices, that can run none of the scored subnets in any precision."""
        known = {variant_of(one): one for one in scored if not one.is_of_file}
        values = _values(known, {}, {costs.precision for found in self.devices.values() for costs in found})
        problem = fleet_problem(self.members, self.devices, values)
        return [int(index) for index in np.flatnonzero(~problem.serves.any(axis=1))]

    def _curve(self, problem: FleetProblem, title: str) -> Curve:
        with self.watch(title) as progress:
            return fleet_curve(problem, self.wishes.models or 1, self.wishes.download, progress=progress)

    def _above_floor(self, problem: FleetProblem) -> FleetProblem:
        """The problem without models below the floor. Raises `BudgetError` if a class can run no other."""
        floor = self.wishes.floor
        if floor is None:
            return problem
        serves = problem.serves & (problem.values >= floor)
        low = np.flatnonzero(problem.serves.any(axis=1) & ~serves.any(axis=1))
        if len(low):
            best = np.where(problem.serves[low], problem.values, -np.inf).max(axis=1)
            name, most = problem.classes[low[best.argmin()]], float(best.min())
            raise BudgetError(
                f"{counted(len(low), 'class', 'classes')} of the fleet cannot reach the floor of {100 * floor:.4g} %: "
                f"the best candidate that {name!r} can run has {100 * most:.4g} %; lower the floor, or raise the "
                "budgets of such classes"
            )
        return replace(problem, serves=serves)


def _values(
    known: Mapping[Variant, Scored], offsets: Mapping[str, float], precisions: set[Precision]
) -> dict[Variant, float]:
    """What each candidate is worth: subnets that are scored in fp32 are candidates in all precisions."""
    values = {variant: one.accuracy for variant, one in known.items() if variant.precision in precisions}
    for variant, one in known.items():
        if variant.precision == "fp32":
            for precision in precisions:
                other = replace(variant, precision=precision)
                values.setdefault(other, one.accuracy + offsets.get(precision, 0.0))
    return dict(sorted(values.items()))


def _used(curve: Curve) -> list[int]:
    return sorted({model for plan in curve.plans if plan for model in plan.models})


def _best_of_classes(problem: FleetProblem, count: int) -> list[int]:
    """The best `count` candidates of each class: what the ceiling is made of, and what plans may contain next."""
    order = np.argsort(-problem.values, kind="stable")
    serves = np.unique(problem.serves[:, order], axis=0)
    leading = serves & (serves.cumsum(axis=1) <= count)
    return [int(index) for index in order[leading.any(axis=0)]]


class _Findings:
    """What a finished curve says."""

    def __init__(
        self,
        planner: Planner,
        problem: FleetProblem,
        variants: Sequence[Variant],
        known: Mapping[Variant, Scored],
        curve: Curve,
    ) -> None:
        self._planner, self._problem, self._variants, self._curve = planner, problem, variants, curve
        self._scores = {index: np.array(known[variants[index]].scores) for index in _used(curve)}
        self._known = known

    def found(self) -> FleetFound:
        wishes = self._planner.wishes
        points = self._points()
        suggested = self._curve.suggested(wishes.charge)
        point = next(p for p in reversed(points) if p.most <= (wishes.models or suggested))
        plan = self._plan(point)
        error = _standard_error(self._of_images(plan))
        return FleetFound(
            models=self._models(plan),
            classes=self._classes(plan),
            value=plan.value,
            error=error,
            point=point,
            curve=points,
            suggested=suggested,
            charge=wishes.charge,
            ceiling=self._curve.ceiling,
            candidates=int(self._problem.serves.any(axis=0).sum()),
            tiers=planned_tiers(self._planner.members, self._problem, plan),
            images=self._planner.images,
        )

    def _points(self) -> tuple[CurvePoint, ...]:
        points: list[CurvePoint] = []
        before: FleetPlan | None = None
        for most, plan in enumerate(self._curve.plans, start=1):
            if plan is None:
                continue
            difference = None if before is None else self._of_images(plan) - self._of_images(before)
            points.append(
                CurvePoint(
                    most=most,
                    models=tuple(self._variants[index] for index in plan.models),
                    value=plan.value,
                    bound=plan.bound,
                    status=plan.status,
                    gain=None if before is None else plan.value - before.value,
                    gain_error=None if difference is None else _standard_error(difference),
                )
            )
            before = plan
        return tuple(points)

    def _plan(self, point: CurvePoint) -> FleetPlan:
        plan = self._curve.plans[point.most - 1]
        if plan is None:
            raise ValueError(f"there is no plan with {point.most} models")
        return plan

    def _of_images(self, plan: FleetPlan) -> NDArray[np.float64]:
        """For each image the mean score over installs, (images,)."""
        shares = np.bincount(plan.assigned, weights=self._problem.shares, minlength=len(self._variants))
        return np.asarray(sum(shares[index] * self._scores[index] for index in plan.models))

    def _models(self, plan: FleetPlan) -> tuple[FleetModel, ...]:
        assigned = np.array(plan.assigned)
        return tuple(
            FleetModel(
                variant=self._variants[index],
                scored=self._known[self._variants[index]],
                file_bytes=int(self._problem.sizes[index]),
                share=float(self._problem.shares[assigned == index].sum()),
                classes=int((assigned == index).sum()),
            )
            for index in plan.models
        )

    def _classes(self, plan: FleetPlan) -> tuple[ServedClass, ...]:
        best = np.where(self._problem.serves, self._problem.values, -np.inf).max(axis=1)
        costs = {
            (profile, index): found
            for profile in self._planner.devices
            for index in plan.models
            if (found := self._costs(profile, self._variants[index])) is not None
        }
        return tuple(
            ServedClass(
                name=member.name,
                share=member.share,
                profile=member.profile,
                latency_scale=member.latency_scale,
                budgets=member.budgets,
                model=plan.models.index(index),
                costs=_scaled(costs[member.profile, index], member.latency_scale),
                lost=float(most - self._problem.values[index]),
            )
            for member, index, most in zip(self._planner.members, plan.assigned, best, strict=True)
        )

    def _costs(self, profile: str, variant: Variant) -> Costs | None:
        for costs in self._planner.devices[profile]:
            if costs.precision == variant.precision:
                return costs.of([variant.subnet])[0]
        return None


def _scaled(costs: Costs, scale: float) -> Costs:
    std = None if costs.latency_std_us is None else scale * costs.latency_std_us
    return replace(costs, latency_us=scale * costs.latency_us, latency_std_us=std)


def _standard_error(scores: NDArray[np.float64]) -> float:
    return float(scores.std(ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else 0.0
