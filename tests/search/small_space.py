"""A space that is small enough to cost every subnet, with all that spaces have: shared and nested choices, depths."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.costs import Costs
from device_profiles.profile import find_profile
from device_profiles.workload.workloads import Workloads
from search.objective import Objective
from supernet.space import SubnetConfig
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig

STAGE = {"widths": [8, 16], "depths": [1, 2], "kernels": [3], "expands": [1, 2]}
MODEL = {
    "resolutions": [16, 24],
    "stem_width": 8,
    "stages": [STAGE, {**STAGE, "kernels": [3, 5], "depths": [1, 2, 3], "stride": 2}],
    "head_width": 32,
}
MODEL_SPACE = MobileNetSpace(MobileNetConfig.model_validate(MODEL), classes=4)
WORKLOADS = Workloads(MODEL_SPACE)
SPACE = MODEL_SPACE.space


def device(name: str) -> DeviceCosts:
    return DeviceCosts(WORKLOADS, find_profile(name, Path()))


@dataclass(frozen=True)
class Everything:
    """All subnets of the space, and what they cost on two devices."""

    subnets: list[SubnetConfig]
    vectors: NDArray[np.int64]
    phone: list[Costs]
    speaker: list[Costs]

    def values(self, objective: Objective) -> NDArray[np.float64]:
        return objective.values(SPACE, self.vectors, np.array([float(costs.macs) for costs in self.phone]))

    def kept(self, budgets: Budgets, costs: list[Costs] | None = None) -> NDArray[np.bool_]:
        return np.array([not budgets.excesses(c) for c in costs or self.phone])


@cache
def everything_of_the_space() -> Everything:
    """All subnets, one by one; computed once in a process, because tracing is slow."""
    drawn = itertools.product(*(range(len(choice.options)) for choice in SPACE))
    subnets = sorted({SPACE.decode(vector) for vector in drawn})
    assert len(subnets) == SPACE.count()
    vectors = np.array([SPACE.encode(subnet) for subnet in subnets])
    return Everything(subnets, vectors, device("midrange").of(subnets), device("speaker").of(subnets))


def quantiles(costs: list[Costs], share: float, *budgets: str, **more: object) -> Budgets:
    """Budgets at a quantile of what subnets cost."""
    fields = {"latency": "latency_us", "peak_memory": "peak_memory_bytes", "file_size": "file_bytes", "macs": "macs"}
    units = {"latency": "us", "peak_memory": "B", "file_size": "B", "macs": "MACs"}
    found = {b: int(np.quantile([getattr(c, fields[b]) for c in costs], share)) for b in budgets}
    return Budgets.model_validate({b: f"{value} {units[b]}" for b, value in found.items()} | more)
