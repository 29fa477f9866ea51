"""Budgets that a model space can keep: some subnets fit every target, and each target has limits of its own."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.costs import Costs
from device_profiles.profile import find_profile
from device_profiles.workload.workloads import Workloads
from factory_base.quantities import format_macs
from supernet.model_space import ModelSpace
from supernet.space import SubnetConfig

DEVICES: Final = ("lowend_1gb", "midrange", "flagship", "iphone_old", "iphone")
"""Phones from the weakest to the strongest of each platform: a first family that covers both stores."""
SMOKE_DEVICES: Final = ("lowend_1gb", "flagship")
"""The devices of a trial: as few as make a family."""
_LEVELS: Final = {"lowend_1gb": 0.25, "midrange": 0.6, "flagship": 1.0, "iphone_old": 0.5, "iphone": 0.85}
"""How much of the range of subnets, by their latency, fits each device. At 1 even the largest one does."""
_SUBNETS = 48
"""Subnets whose costs are computed, spread from the smallest to the largest."""
_FEWEST = 3
"""Of these subnets, those that must fit each target, so that the search has a choice."""
_KIB, _MIB = 2**10, 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetBudgets:
    """A target with budgets.

    Attributes:
        device: Name of the profile.
        budgets: The budgets as files hold them.
        fitting: How many of the sampled subnets keep them.
        sampled: How many subnets were sampled.
        largest_macs: MACs of the largest subnet that keeps them.
        note: What is unusual: the model space is too large for the device's usual limits; "" if nothing is.
    """

    device: str
    budgets: dict[str, str]
    fitting: int
    sampled: int
    largest_macs: float
    note: str

    def describe(self) -> str:
        """The comment beside the target."""
        return f"up to {format_macs(self.largest_macs)}MACs" + (f"; {self.note}" if self.note else "")


def budgets_for(model_space: ModelSpace, devices: Sequence[str], *, pixels: bool) -> list[TargetBudgets]:
    """Budgets that subnets of a model space keep.

    Args:
        model_space: The model space.
        devices: Some of `DEVICES`.
        pixels: Whether files of its networks take pixels.

    Raises:
        SpaceError: A network of the model space cannot be traced.
    """
    subnets = _spread(model_space)
    workloads = Workloads(model_space, pixels=pixels)
    return [_target(device, _LEVELS[device], subnets, workloads) for device in devices]


def _spread(model_space: ModelSpace) -> list[SubnetConfig]:
    """Distinct subnets from the smallest to the largest."""
    space, rng = model_space.space, random.Random(0)
    between = [space.sample_near(level, rng) for level in np.linspace(0, 1, _SUBNETS - 2)]
    return list(dict.fromkeys([space.smallest, *between, space.largest]))


def _target(device: str, level: float, subnets: Sequence[SubnetConfig], workloads: Workloads) -> TargetBudgets:
    found = find_profile(device, Path())
    costs = sorted(DeviceCosts(workloads, found).of(subnets), key=lambda cost: cost.latency_us)
    usual = found.profile.budgets
    place = max(_FEWEST - 1, round(level * (len(costs) - 1)))
    wanted = _limits(costs[: place + 1])
    capped = {
        "latency": min(wanted["latency"], usual.latency_us or math.inf),
        "peak_memory": min(wanted["peak_memory"], usual.peak_memory_bytes or math.inf),
        "file_size": min(wanted["file_size"], usual.file_bytes or math.inf),
    }
    note = ""
    if _count(costs, capped) < _FEWEST:
        capped = _limits(costs[:_FEWEST])
        note = "above the profile's usual limits, which no network of this model space keeps"
    kept = [cost for cost in costs if not _budgets(capped).excesses(cost)]
    return TargetBudgets(
        device=device,
        budgets=_written(capped),
        fitting=len(kept),
        sampled=len(costs),
        largest_macs=max(cost.macs for cost in kept),
        note=note,
    )


def _limits(costs: Sequence[Costs]) -> dict[str, float]:
    """Round limits that all of `costs` keep."""
    return {
        "latency": _rounded_up(max(cost.latency_us for cost in costs), 10),
        "peak_memory": _rounded_up(max(cost.peak_memory_bytes for cost in costs), _KIB),
        "file_size": _rounded_up(max(cost.file_bytes for cost in costs), _KIB),
    }


def _rounded_up(value: float, unit: float) -> float:
    """`value` rounded up to two digits in the unit in which it is written."""
    scale = unit if value < 1000 * unit else _MIB if unit == _KIB else 1000
    number = value / scale
    step = 10 ** (math.floor(math.log10(number)) - 1) if number > 1 else 0.1
    return math.ceil(number / step - 1e-9) * step * scale


def _written(limits: dict[str, float]) -> dict[str, str]:
    size = {key: limits[key] for key in ("peak_memory", "file_size")}
    return {
        "latency": f"{limits['latency'] / 1000:.3g} ms",
        **{key: f"{v / _MIB:.3g} MiB" if v >= _MIB else f"{v / _KIB:.4g} KiB" for key, v in size.items()},
    }


def _budgets(limits: dict[str, float]) -> Budgets:
    values: dict[str, Any] = _written(limits)
    return Budgets.model_validate(values)


def _count(costs: Sequence[Costs], limits: dict[str, float]) -> int:
    budgets = _budgets(limits)
    return sum(not budgets.excesses(cost) for cost in costs)
