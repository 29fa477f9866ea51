"""Cost models: what a subnet takes on a device, computed from its workload. Needs torch only to trace new subnets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.operators import KERNEL_KINDS, KernelKind, Workload, trace
from device_profiles.profile import DeviceProfile, KernelCost
from supernet.model_space import ModelSpace
from supernet.space import SubnetConfig

BYTES_PER_ELEMENT = 4
"""fp32, the only precision so far."""

FILE_BYTES = 2048
"""Bytes of an ONNX file besides its weights and nodes: header, opsets, input and output."""

NODE_BYTES = 256
"""Bytes per node of an ONNX file: its record, the names and shapes of its tensors, their small integer constants."""

FEATURES_PER_KIND = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What one subnet takes on one device, at batch 1."""

    latency_us: float
    peak_memory_bytes: int
    file_bytes: int
    macs: int


class CostModel(Protocol):
    """One cost of many subnets."""

    unit: ClassVar[str]

    def predict(self, workloads: Sequence[Workload], profile: DeviceProfile) -> NDArray[np.float64]:
        """`(len(workloads),)` values in `unit`."""


class LatencyModel:
    """Sum over operators: MACs / rate + bytes / bandwidth + overhead, by kind of kernel, plus one overhead per run.

    Linear in the operators: the latency of a chain is the sum over its parts (with one run overhead). Compute and
    memory traffic are not taken to overlap.
    """

    unit: ClassVar[str] = "us"

    def predict(self, workloads: Sequence[Workload], profile: DeviceProfile) -> NDArray[np.float64]:
        """Microseconds, `(len(workloads),)`; each is the same to the last bit whatever else is in the batch."""
        return np.asarray((latency_features(workloads) * latency_coefficients(profile)).sum(axis=1))


class MemoryModel:
    """Weights, packed copies of those of linear layers, activations and scratch, and the engine's own memory.

    Activations and scratch are the liveness bound times the engine's `arena_ratio`.
    """

    unit: ClassVar[str] = "bytes"

    def predict(self, workloads: Sequence[Workload], profile: DeviceProfile) -> NDArray[np.float64]:
        """Bytes, `(len(workloads),)`."""
        ratio = profile.costs.arena_ratio.value
        elements = [w.weight_elements + packed_elements(w) + ratio * w.arena_elements for w in workloads]
        return np.array(elements, dtype=np.float64) * BYTES_PER_ELEMENT + profile.costs.engine_memory.value


class FileSizeModel:
    """Weights, a constant per graph node, a constant per file: a cautious upper estimate of an ONNX file."""

    unit: ClassVar[str] = "bytes"

    def predict(self, workloads: Sequence[Workload], profile: DeviceProfile) -> NDArray[np.float64]:  # noqa: ARG002
        """Bytes, `(len(workloads),)`; the same on all devices of one precision."""
        weights = np.array([w.weight_elements for w in workloads], dtype=np.float64)
        nodes = np.array([w.graph_nodes for w in workloads], dtype=np.float64)
        return weights * BYTES_PER_ELEMENT + nodes * NODE_BYTES + FILE_BYTES


COST_MODELS: dict[str, type[CostModel]] = {
    "latency": LatencyModel,
    "peak_memory": MemoryModel,
    "file_size": FileSizeModel,
}
"""The cost behind every budget, by the budget's name."""


def packed_elements(workload: Workload) -> int:
    """Weights of linear layers, which engines keep a second time, in the layout of their matrix kernels."""
    return workload.totals[KERNEL_KINDS.index("linear")].weight_elements


def latency_features(workloads: Sequence[Workload]) -> NDArray[np.float64]:
    """`(len(workloads), 3 * kinds + 1)`: MACs, bytes and calls per kind in the order of `KERNEL_KINDS`, then 1."""
    rows = [
        [x for t in w.totals for x in (t.macs, t.moved_elements * BYTES_PER_ELEMENT, t.operators)] + [1]
        for w in workloads
    ]
    return np.array(rows, dtype=np.float64).reshape(len(workloads), FEATURES_PER_KIND * len(KERNEL_KINDS) + 1)


def latency_coefficients(profile: DeviceProfile) -> NDArray[np.float64]:
    """Microseconds per unit of each column of `latency_features`."""
    kernels = profile.costs.kernels
    per_kind = [x for kind in KERNEL_KINDS for x in _coefficients(kernels[kind])]
    return np.array([*per_kind, profile.costs.run_overhead_us.value])


def latency_by_kind(workload: Workload, profile: DeviceProfile) -> dict[KernelKind, float]:
    """Where the predicted time goes: microseconds per kind of kernel, without the overhead per run."""
    shares = (latency_features([workload])[0] * latency_coefficients(profile))[:-1]
    sums = shares.reshape(len(KERNEL_KINDS), FEATURES_PER_KIND).sum(axis=1)
    return {kind: float(time) for kind, time in zip(KERNEL_KINDS, sums, strict=True)}


def costs_of(workloads: Sequence[Workload], profile: DeviceProfile) -> list[Costs]:
    """The costs of each workload on the device, in the same order."""
    found = {name: model().predict(workloads, profile) for name, model in COST_MODELS.items()}
    return [
        Costs(latency_us=float(us), peak_memory_bytes=int(peak), file_bytes=int(file), macs=workload.macs)
        for workload, us, peak, file in zip(
            workloads, found["latency"], found["peak_memory"], found["file_size"], strict=True
        )
    ]


def workload_of(model_space: ModelSpace, subnet: SubnetConfig) -> Workload:
    """The workload of a subnet; its network is built on the meta device, without memory for weights.

    Raises:
        SpaceError: the network cannot be traced.
    """
    import torch

    with torch.device("meta"):
        module = model_space.build(subnet)
    return trace(module, model_space.input_shape(subnet))


class Workloads:
    """The workloads of one model space, each traced once."""

    def __init__(self, model_space: ModelSpace) -> None:
        self._model_space = model_space
        self._known: dict[SubnetConfig, Workload] = {}

    def of(self, subnet: SubnetConfig) -> Workload:
        """The workload of `subnet`. Raises `SpaceError` when it cannot be traced."""
        if subnet not in self._known:
            self._known[subnet] = workload_of(self._model_space, subnet)
        return self._known[subnet]


def _coefficients(kernel: KernelCost) -> tuple[float, float, float]:
    per_mac = 0.0 if kernel.gmacs_per_s is None else 1e-3 / kernel.gmacs_per_s.value
    return per_mac, 1e-3 / kernel.gbytes_per_s.value, kernel.overhead_us.value
