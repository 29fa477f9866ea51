"""What a kind of processor makes of its peak: the one table of assumptions behind modelled profiles.

Published figures give a peak (cores x clock x lanes) and a bus; how much of them a kernel of each kind reaches is not
published. These shares are assumptions, the same for every device of a class. Their origin: a matrix product that is
blocked for registers and caches reaches most of the peak; a depthwise kernel reuses each input once per tap and is
bound by loads; in-order cores hide no latency; wide cores are hard to feed. The values were set by hand and fitted
to no timing; those of `x86` were afterwards compared with a machine, see `benchmarks/modelled_latency.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_profiles.profile import ComputeUnit
from device_profiles.workload.operators import KernelKind


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreClass:
    """One kind of processor.

    Attributes:
        compute_unit: to which it belongs.
        efficiency: share of the peak that each kind of kernel that computes reaches, in (0, 1].
        bytes_per_cycle: that one core streams at most, bound by the misses it can have under way; None where only the
            bus limits.
        bus_share: of the bus that these cores reach together, in (0, 1].
        cache_factor: how often a byte that dense and pointwise convolutions read comes from a cache, at least 1.
        other_cache_factor: the same of all other kinds.
        call_cycles: of one core to prepare and dispatch one kernel; None for accelerators, which state `call_us`.
        call_us: microseconds to enqueue one kernel on an accelerator.
        run_calls: overhead of an inference, in overheads of one call.
        latency_std: relative standard deviation of a modelled latency. Of CPUs a little above the root mean square
            error on one x86 machine (0.25, 0.44 and 0.81 in three engines and precisions), of others a guess.
        instruction_pj: picojoule of one vector instruction beside its arithmetic, in 45 nm; None where unknown.
    """

    compute_unit: ComputeUnit
    efficiency: Mapping[KernelKind, float]
    bytes_per_cycle: float | None
    bus_share: float
    cache_factor: float
    call_cycles: float | None
    call_us: float | None = None
    other_cache_factor: float = 1
    run_calls: float = 4
    latency_std: float = 0.6
    instruction_pj: float | None = None


def _cpu(
    conv: float, pointwise: float, depthwise: float, linear: float, *, bytes_per_cycle: float | None,
    call_cycles: float, cache_factor: float = 2, run_calls: float = 4, instruction_pj: float | None = 70,
) -> CoreClass:  # fmt: skip
    return CoreClass(
        compute_unit="cpu",
        efficiency={"conv": conv, "pointwise": pointwise, "depthwise": depthwise, "linear": linear},
        bytes_per_cycle=bytes_per_cycle,
        bus_share=0.55,
        cache_factor=cache_factor,
        call_cycles=call_cycles,
        run_calls=run_calls,
        instruction_pj=instruction_pj,
    )


def _accelerator(
    unit: ComputeUnit, conv: float, pointwise: float, depthwise: float, linear: float, *, call_us: float,
    run_calls: float, cache_factor: float, other_cache_factor: float,
) -> CoreClass:  # fmt: skip
    return CoreClass(
        compute_unit=unit,
        efficiency={"conv": conv, "pointwise": pointwise, "depthwise": depthwise, "linear": linear},
        bytes_per_cycle=None,
        bus_share=0.5,
        cache_factor=cache_factor,
        other_cache_factor=other_cache_factor,
        call_cycles=None,
        call_us=call_us,
        run_calls=run_calls,
        latency_std=0.8,
    )


_WIDE = _cpu(0.5, 0.6, 0.16, 0.4, bytes_per_cycle=4.2, call_cycles=6000)

CORE_CLASSES: dict[str, CoreClass] = {
    "cortex-a53": _cpu(0.4, 0.5, 0.10, 0.35, bytes_per_cycle=0.9, call_cycles=14000, cache_factor=1.5),
    "cortex-a55": _cpu(0.4, 0.5, 0.13, 0.35, bytes_per_cycle=1.05, call_cycles=12000, cache_factor=1.5),
    "cortex-a76": _cpu(0.55, 0.65, 0.22, 0.45, bytes_per_cycle=3.2, call_cycles=7000),
    "cortex-a78": _cpu(0.55, 0.65, 0.22, 0.45, bytes_per_cycle=3.2, call_cycles=6500),
    "cortex-x4": _WIDE,
    "oryon": _WIDE,
    "x86": _cpu(0.6, 0.8, 0.3, 0.5, bytes_per_cycle=None, call_cycles=4000, instruction_pj=None),
    "wasm": _cpu(
        0.55, 0.65, 0.25, 0.45, bytes_per_cycle=None, call_cycles=40000, cache_factor=1.5, run_calls=10,
        instruction_pj=None,
    ),
    # Good in large dense kernels; depthwise ones have little to reuse, and every call is enqueued and awaited.
    "mobile-gpu": _accelerator(
        "gpu", 0.35, 0.45, 0.05, 0.1, call_us=35, run_calls=8, cache_factor=1.5, other_cache_factor=1
    ),
    # A graph is compiled as a whole and its activations stay on the chip, but an inference crosses to another processor
    # and back. Set with sight of one published run of MobileNetV2 and ResNet-50 (0.37 and 1.40 ms, Snapdragon 8 Gen 3).
    "npu": _accelerator(
        "npu", 0.1, 0.1, 0.01, 0.03, call_us=1, run_calls=100, cache_factor=4, other_cache_factor=4
    ),
}  # fmt: skip
"""By the name that sheets use. In-order cores reach less of their peak than out-of-order ones; `wasm` checks every
access and has no fused multiply-add; `x86` has its streamed bandwidth stated in the sheet."""

SCALING = 0.9
"""Of the second and every further core: threads wait for each other."""

MOVING_SHARE = 0.8
"""Of the streamed bandwidth, that pooling and other reductions reach."""
