"""A target of the search: a device, a precision of the files that it runs, and its budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.engine import COMPUTED_IN, ComputePrecision, Precision
from search.objective import Objective
from search.predicting.precision_offset import PrecisionOffset
from supernet.space import SearchSpace, SubnetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A device, a precision, and the budgets that hold for this task.

    Attributes:
        costs: Predicts what subnets cost on the device, in one precision.
        budgets: Limits on these costs.
        offset: How much the accuracy in this precision differs from the one in fp32; None if it does not.
        given: The only subnet that may be picked; None if the search chooses.
    """

    costs: DeviceCosts
    budgets: Budgets
    offset: PrecisionOffset | None = None
    given: SubnetConfig | None = None

    @property
    def precision(self) -> Precision:
        """The precision of the files."""
        return self.costs.precision

    @property
    def name(self) -> str:
        """The name of the device's profile."""
        return self.costs.profile.name

    @property
    def gain(self) -> float:
        """What the precision adds to the accuracy of every subnet: mostly a little less than 0."""
        return self.offset.mean if self.offset else 0.0

    def objective(self, predicted: Objective) -> Objective:
        """The accuracy in this precision, given the one in fp32."""
        return replace(predicted, constant=predicted.constant + self.gain)

    def kept_by(self, subnets: Sequence[SubnetConfig]) -> list[bool]:
        """Whether each subnet may be picked and keeps the budgets. Raises `SpaceError` if one cannot be traced."""
        kept = (not self.budgets.excesses(costs) for costs in self.costs.of(subnets))
        return [keeps and self.allows(subnet) for subnet, keeps in zip(subnets, kept, strict=True)]

    def allows(self, subnet: SubnetConfig) -> bool:
        """Whether `subnet` may be picked, whatever the budgets."""
        return self.given is None or subnet == self.given


Alternatives = tuple[Target, ...]
"""The targets of one device: one for each precision that may be chosen, with the same budgets, the preferred first."""


def smallest_files(alternatives: Alternatives, space: SearchSpace) -> Alternatives:
    """Of the targets that compute alike, the one with the smallest files.

    Files that compute in the same precision have the same latency, memory and energy, and nearly the same accuracy. So
    whatever keeps the budgets with larger files keeps them with smaller ones.
    """
    found: dict[ComputePrecision, Target] = {}
    for target in alternatives:
        computed = COMPUTED_IN[target.precision]
        if computed not in found or _largest_file(target, space) < _largest_file(found[computed], space):
            found[computed] = target
    return tuple(found.values())


def _largest_file(target: Target, space: SearchSpace) -> int:
    return target.costs.of([space.largest])[0].file_bytes
