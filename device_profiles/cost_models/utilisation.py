"""Where a network spends its time, and which share of the machine's peak its kernels reach."""

from __future__ import annotations

from dataclasses import dataclass

from device_profiles.cost_models.models import BYTES_PER_ELEMENT, latency_by_kind
from device_profiles.profile import DeviceProfile
from device_profiles.workload.operators import COMPUTE_KINDS, KERNEL_KINDS, KernelKind, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelUse:
    """One kind of kernel in one network.

    Attributes:
        kind: The kind.
        latency_us: Time of all its kernels, predicted from the profile.
        share_of_peak: MACs per second over the machine's peak, at most 1. For kinds that only move bytes: bytes per
            second over the bandwidth of its caches. None if the predicted rate is above the peak, which nothing
            exceeds: the profile has the time or the peak of these kernels wrong, or the engine fuses them into others,
            so that they seem to take no time.
    """

    kind: KernelKind
    latency_us: float
    share_of_peak: float | None


def utilisation(workload: Workload, profile: DeviceProfile) -> tuple[KernelUse, ...]:
    """Return the use of every kind of kernel in the network, the slowest first; empty if the profile has no peak."""
    peak = profile.costs.peak
    if peak is None:
        return ()
    times, width = latency_by_kind(workload, profile), BYTES_PER_ELEMENT[profile.precision]
    found = []
    for kind, total in zip(KERNEL_KINDS, workload.totals, strict=True):
        if total.operators:
            computes = kind in COMPUTE_KINDS
            giga = (total.macs if computes else total.moved_elements * width) / 1e9
            rate = giga / (times[kind] / 1e6)
            share = rate / (peak.gmacs_per_s if computes else peak.fastest_gbytes_per_s)
            found.append(KernelUse(kind=kind, latency_us=times[kind], share_of_peak=share if share <= 1 else None))
    return tuple(sorted(found, key=lambda use: -use.latency_us))
