"""What a plan for a fleet says: its models, what each class of devices gets, and the curve over numbers of models."""

from __future__ import annotations

from dataclasses import dataclass

from device_profiles.budgets import Budgets
from device_profiles.costs import Costs
from search.scored import Scored
from search.variant import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetModel:
    """A model of the plan.

    Attributes:
        variant: The subnet and its precision.
        scored: Its score on all held-out images.
        file_bytes: The predicted size of its file.
        share: The share of installs that get it.
        classes: The number of classes that get it.
    """

    variant: Variant
    scored: Scored
    file_bytes: int
    share: float
    classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedClass:
    """A class of devices and what it gets.

    Attributes:
        name: The name of the class.
        share: Its share of installs.
        profile: The name of its profile.
        latency_scale: The latency of these devices, as a multiple of that of the profile.
        budgets: Its budgets.
        model: The model that it gets, counted from 0 in the order of the plan.
        costs: The costs of the model on these devices.
        lost: By how much the metric is below that of the best candidate that the class could run.
    """

    name: str
    share: float
    profile: str
    latency_scale: float
    budgets: Budgets
    model: int
    costs: Costs
    lost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTier:
    """What the devices of one profile get in a family. A manifest tells devices apart by profile alone.

    Attributes:
        profile: The name of the profile.
        model: The best model of the plan that all classes of this profile can run; None if there is none.
        limits: The tightest of their limits on what the profile predicts.
        classes: The names of the classes.
        others: Those of them for which the plan has a better model.
        share: Their share of installs.
    """

    profile: str
    model: int | None
    limits: Budgets
    classes: tuple[str, ...]
    others: tuple[str, ...]
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The best plan with so many models.

    Attributes:
        most: The most models.
        models: The models of the plan.
        value: The mean metric over installs.
        bound: No choice of as many of the candidates has a higher value.
        status: `optimal` or `bounded`, as for `FleetPlan`.
        gain: How much the value is above that of the point before; None at the first.
        gain_error: The standard error of that difference, from the images on which models differ.
    """

    most: int
    models: tuple[Variant, ...]
    value: float
    bound: float
    status: str
    gain: float | None
    gain_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFound:
    """A plan for a fleet.

    Attributes:
        models: The models, the best first.
        classes: All classes, in the order of the fleet.
        value: The mean metric over installs.
        error: Its standard error, from the images.
        point: The point of the curve that this plan is.
        curve: The points for which plans exist, with growing numbers of models.
        suggested: The number of models after which another one stops paying.
        charge: What each model has to gain to pay, in units of the metric.
        ceiling: The value if every class got the best candidate that it can run.
        candidates: The number of variants to choose among.
        images: The number of held-out images that models are scored on.
        tiers: The plan as the tiers of a family, one for each profile.
    """

    models: tuple[FleetModel, ...]
    classes: tuple[ServedClass, ...]
    value: float
    error: float
    point: CurvePoint
    curve: tuple[CurvePoint, ...]
    suggested: int
    charge: float
    ceiling: float
    candidates: int
    images: int
    tiers: tuple[PlannedTier, ...]

    @property
    def tier_value(self) -> float | None:
        """The mean metric over installs if profiles are tiers; None if a profile has no model for all its classes."""
        if any(tier.model is None for tier in self.tiers):
            return None
        return sum(t.share * self.models[t.model].scored.accuracy for t in self.tiers if t.model is not None)
