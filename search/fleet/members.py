"""The classes of a fleet as a search sees them: which budgets hold, and which subnets in which precision keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.costs import Costs
from search.fleet.problem import FleetProblem
from search.variant import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A class of devices with all of its budgets.

    Attributes:
        name: The name of the class.
        share: Its share of installs.
        profile: The name of the profile that predicts costs.
        latency_scale: The latency on these devices, as a multiple of that of the profile.
        budgets: The budgets on these devices.
    """

    name: str
    share: float
    profile: str
    latency_scale: float
    budgets: Budgets

    @property
    def limits(self) -> Budgets:
        """The budgets as limits on the costs that the profile predicts: a slow device has less latency to spend."""
        limit = self.budgets.latency_us
        if limit is None or self.latency_scale == 1:
            return self.budgets
        scaled = max(1, int(limit / self.latency_scale))
        return self.budgets.model_copy(update={"latency_us": scaled, "frames_per_s": None, "frame_share": None})


Devices = Mapping[str, Sequence[DeviceCosts]]
"""For each profile its costs, once for each precision that its devices may get."""


def fleet_problem(members: Sequence[Member], devices: Devices, values: Mapping[Variant, float]) -> FleetProblem:
    """The question of which variants to give to a fleet.

    Args:
        members: The classes of devices, at least one.
        devices: The costs on the profiles that they name.
        values: The metric of each variant, at least one.

    Raises:
        ConfigError: A class limits the energy, but its profile has no energy costs.
        SpaceError: A subnet cannot be traced.
    """
    variants = list(values)
    serves = np.zeros((len(members), len(variants)), dtype=bool)
    sizes = np.zeros(len(variants), dtype=np.int64)
    for profile, precisions in devices.items():
        of_profile = [index for index, member in enumerate(members) if member.profile == profile]
        for costs in precisions:
            columns = [index for index, variant in enumerate(variants) if variant.precision == costs.precision]
            found = costs.of([variants[column].subnet for column in columns])
            sizes[columns] = np.maximum(sizes[columns], [one.file_bytes for one in found])
            for row, kept in zip(
                of_profile, _kept([members[index].limits for index in of_profile], found), strict=True
            ):
                serves[row, columns] = kept
    return FleetProblem(
        classes=tuple(member.name for member in members),
        shares=np.array([member.share for member in members]),
        serves=serves,
        values=np.array(list(values.values())),
        sizes=sizes,
    )


def _kept(limits: Sequence[Budgets], costs: Sequence[Costs]) -> list[NDArray[np.bool_]]:
    """For each of many budgets, which of the costs keep it. Fleets repeat budgets, so each is compared once."""
    found: dict[str, NDArray[np.bool_]] = {}
    kept = []
    for one in limits:
        key = repr([(limit.budget, limit.value, limit.confidence) for limit in one.limits()])
        if key not in found:
            found[key] = np.array([not one.excesses(cost) for cost in costs], dtype=bool)
        kept.append(found[key])
    return kept
