"""Cost models: the costs of a network on a device, computed from its workload. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.costs import CostArrays, Costs
from device_profiles.engine import ComputePrecision, Precision
from device_profiles.profile import DeviceProfile
from device_profiles.profile_costs import EnergyCost, KernelCost
from device_profiles.workload.file_size import network_bytes
from device_profiles.workload.operators import COMPUTE_KINDS, KERNEL_KINDS, KernelKind, Workload

BYTES_PER_ELEMENT: dict[ComputePrecision, int] = {"fp32": 4, "int8": 1}
"""Bytes of one weight or activation."""

FEATURES_PER_KIND = 3
"""MACs, bytes and calls."""

_MIB = 2**20


class CostModel(Protocol):
    """Predicts one cost for many subnets."""

    unit: ClassVar[str]

    def predict(self, workloads: Sequence[Workload], profile: DeviceProfile) -> NDArray[np.float64]:
        """Return `(len(workloads),)` values in `unit`."""


class LatencyModel:
    """Sum over operators of MACs / rate + bytes / bandwidth + overhead, by kind of kernel, plus one overhead per run.

    The model is linear in the operators: the latency of a chain is the sum over its parts, with one run overhead.
    Computation and memory traffic are assumed not to overlap.
    """

    unit: ClassVar[str] = "us"

    def predict(self, workloads: Sequence[Workload], profile: DeviceProfile) -> NDArray[np.float64]:
        """Return microseconds, `(len(workloads),)`. Each value is bitwise independent of the other workloads."""
        return np.asarray((latency_features(workloads, profile.precision) * latency_coefficients(profile)).sum(axis=1))


class MemoryModel:
    """Weights, packed copies of weights, activations and scratch, and the engine's own memory.

    Activations and scratch are the liveness bound times the engine's `arena_ratio`. In int8 the bound counts every
    activation as one byte, so the ratio includes those that stay float32: sums, gates and hard-swish.
    """

    unit: ClassVar[str] = "bytes"

    def predict(self, workloads: Sequence[Workload], profile: DeviceProfile) -> NDArray[np.float64]:
        """Return bytes, `(len(workloads),)`."""
        packed = [packed_elements(w, profile.precision) for w in workloads]
        held = np.array([w.weight_elements for w in workloads], dtype=np.float64) + packed
        arena = np.array([w.arena_elements for w in workloads], dtype=np.float64)
        return peak_memory(held, arena, profile)


class FileSizeModel:
    """The size of the ONNX file that `exports` writes, see `file_size`; exact for all shipped image classifiers."""

    unit: ClassVar[str] = "bytes"

    def predict(self, workloads: Sequence[Workload], profile: DeviceProfile) -> NDArray[np.float64]:
        """Return bytes, `(len(workloads),)`; the same on all devices of one precision."""
        return file_sizes(workloads, profile.precision)


COST_MODELS: dict[str, type[CostModel]] = {
    "latency": LatencyModel,
    "peak_memory": MemoryModel,
    "file_size": FileSizeModel,
}
"""Budget name -> the cost model that predicts its cost."""


def file_sizes(workloads: Sequence[Workload], precision: Precision) -> NDArray[np.float64]:
    """Return the bytes of the files in `precision`, `(len(workloads),)`."""
    contents = [(np.array(w.file_content.of(precision)), w.input_shape, w.output_shape) for w in workloads]
    return np.array([network_bytes(*content) for content in contents], dtype=np.float64)


def peak_memory(held: NDArray[np.float64], arena: NDArray[np.float64], profile: DeviceProfile) -> NDArray[np.float64]:
    """Return the peak memory in bytes.

    Args:
        held: Elements that are held throughout an inference, (networks,).
        arena: Elements of the liveness bound, (networks,).
        profile: The device.
    """
    elements = held + profile.costs.arena_ratio.value * arena
    return np.asarray(elements * BYTES_PER_ELEMENT[profile.precision] + profile.costs.engine_memory.value)


def packed_elements(workload: Workload, precision: ComputePrecision) -> int:
    """Return the weights that engines keep a second copy of, in the layout of their matrix kernels.

    In float32 these are the weights of linear layers; in int8 also those of convolutions.
    """
    kinds: tuple[KernelKind, ...] = ("linear",) if precision == "fp32" else COMPUTE_KINDS
    return sum(workload.totals[KERNEL_KINDS.index(kind)].weight_elements for kind in kinds)


def latency_features(workloads: Sequence[Workload], precision: ComputePrecision) -> NDArray[np.float64]:
    """Return MACs, bytes and calls per kind in the order of `KERNEL_KINDS`, then 1: `(len(workloads), 3 kinds + 1)`."""
    width = BYTES_PER_ELEMENT[precision]
    rows = [[x for t in w.totals for x in (t.macs, t.moved_elements * width, t.operators)] + [1] for w in workloads]
    return np.array(rows, dtype=np.float64).reshape(len(workloads), FEATURES_PER_KIND * len(KERNEL_KINDS) + 1)


def latency_coefficients(profile: DeviceProfile) -> NDArray[np.float64]:
    """Return microseconds per unit of each column of `latency_features`."""
    kernels = profile.costs.kernels
    per_kind = [x for kind in KERNEL_KINDS for x in _coefficients(kernels[kind])]
    return np.array([*per_kind, profile.costs.run_overhead_us.value])


def latency_by_kind(workload: Workload, profile: DeviceProfile) -> dict[KernelKind, float]:
    """Return where the predicted time is spent: microseconds per kind of kernel, without the overhead per run."""
    shares = (latency_features([workload], profile.precision)[0] * latency_coefficients(profile))[:-1]
    sums = shares.reshape(len(KERNEL_KINDS), FEATURES_PER_KIND).sum(axis=1)
    return {kind: float(time) for kind, time in zip(KERNEL_KINDS, sums, strict=True)}


def costs_of(workloads: Sequence[Workload], profile: DeviceProfile, precision: Precision | None = None) -> list[Costs]:
    """Return the costs of each workload on the device, in the same order.

    Args:
        workloads: The networks.
        profile: The device, with the precision first that the files compute in.
        precision: Precision of the files; by default the profile's own.
    """
    found = {name: model().predict(workloads, profile) for name, model in COST_MODELS.items()}
    if precision is not None:
        found["file_size"] = file_sizes(workloads, precision)
    energy = None
    if profile.costs.energy is not None:
        energy = energy_uj(workloads, found["latency"], profile.costs.energy, profile.precision)
    arrays = CostArrays(
        latency_us=found["latency"],
        peak_memory_bytes=found["peak_memory"],
        file_bytes=found["file_size"],
        macs=np.array([workload.macs for workload in workloads], dtype=np.float64),
        latency_std_us=relative_std_us(found["latency"], profile),
        energy_uj=energy,
    )
    return costs_from(arrays, profile)


def relative_std_us(latency_us: NDArray[np.float64], profile: DeviceProfile) -> NDArray[np.float64] | None:
    """Return standard deviations of predicted latencies by the profile's `latency_std`; None if it states none."""
    spread = profile.costs.latency_std
    return None if spread is None else spread.value * latency_us


def energy_uj(
    workloads: Sequence[Workload], latency_us: NDArray[np.float64], energy: EnergyCost, precision: ComputePrecision
) -> NDArray[np.float64]:
    """Return microjoules, `(len(workloads),)`: the energy of MACs and bytes, plus power times time.

    The energy is linear in the operators, as latency is: the energy of a chain is the sum over its parts.

    Args:
        workloads: Networks, or parts of one.
        latency_us: Latency of each workload, `(len(workloads),)`.
        energy: Energy costs of the device.
        precision: Precision of weights and activations.
    """
    macs = np.array([w.macs for w in workloads], dtype=np.float64)
    moved = np.array([sum(t.moved_elements for t in w.totals) for w in workloads], dtype=np.float64)
    moved_bytes = moved * BYTES_PER_ELEMENT[precision]
    work_pj = energy.pj_per_mac.value * macs + energy.pj_per_byte.value * moved_bytes
    return np.asarray(work_pj * 1e-6 + running_uj(latency_us, energy))


def running_uj(latency_us: NDArray[np.float64] | float, energy: EnergyCost) -> NDArray[np.float64]:
    """Return the microjoules that the processors take while they run for `latency_us`, whatever they compute."""
    return np.asarray(energy.running_mw.value * 1e-3 * latency_us)


def costs_from(arrays: CostArrays, profile: DeviceProfile) -> list[Costs]:
    """Return one record for each network, with the load time that follows from the size of its file."""
    load, stds, energies = profile.costs.load, arrays.latency_std_us, arrays.energy_uj
    return [
        Costs(
            latency_us=float(us),
            peak_memory_bytes=int(peak),
            file_bytes=int(file),
            macs=int(count),
            load_us=None if load is None else load.fixed_us + load.us_per_mib * float(file) / _MIB,
            latency_std_us=None if stds is None else float(stds[index]),
            energy_uj=None if energies is None else float(energies[index]),
        )
        for index, (us, peak, file, count) in enumerate(
            zip(arrays.latency_us, arrays.peak_memory_bytes, arrays.file_bytes, arrays.macs, strict=True)
        )
    ]


def _coefficients(kernel: KernelCost) -> tuple[float, float, float]:
    per_mac = 0.0 if kernel.gmacs_per_s is None else 1e-3 / kernel.gmacs_per_s.value
    return per_mac, 1e-3 / kernel.gbytes_per_s.value, kernel.overhead_us.value
