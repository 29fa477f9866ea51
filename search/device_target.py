"""A target of the search: a device and the budgets that hold there. Imports neither torch nor optuna."""

from __future__ import annotations

from dataclasses import dataclass

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A device and the budgets that hold for this task.

    Attributes:
        costs: Predicts what subnets cost on the device.
        budgets: Limits on these costs.
    """

    costs: DeviceCosts
    budgets: Budgets
