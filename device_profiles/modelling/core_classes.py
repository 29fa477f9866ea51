"""The share of its peak that a kind of processor reaches: the one table of assumptions behind modelled profiles.

Published figures give a peak (cores x clock x lanes) and a memory bus. The share of them that a kernel of each kind
reaches is not published. The shares here are assumptions, the same for every device of a class. They rest on these
arguments: a matrix product that is blocked for registers and caches reaches most of the peak; a depthwise kernel uses
each input only once per tap and is bound by loads; in-order cores do not hide latency; wide cores are hard to keep
busy. All values were set by hand and not fitted to timings. Those of `x86` were compared with a machine afterwards, see
`benchmarks/modelled_latency.py`. `CoreClass.latency_std` is the error to expect from them.
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
        compute_unit: Compute unit that the class belongs to.
        efficiency: Share of the peak that each kind of computing kernel reaches, in (0, 1].
        bytes_per_cycle: Bytes that one core streams at most in a cycle, bound by the cache misses that it can have in
            flight; None if only the bus limits it.
        bus_share: Share of the bus that these cores reach together, in (0, 1].
        cache_factor: Effective over streamed bandwidth for dense and pointwise convolutions, which read part of their
            bytes from a cache; at least 1.
        other_cache_factor: The same for all other kinds of kernels.
        call_cycles: Cycles of one core to prepare and dispatch one kernel; None for accelerators, which state
            `call_us`.
        call_us: Microseconds to enqueue one kernel on an accelerator; None for CPUs.
        run_calls: Overhead of an inference, in multiples of the overhead of one call.
        latency_std: Relative standard deviation of a modelled latency. For CPUs a little above 0.55, the root mean
            square of the errors on one x86 machine (0.25, 0.44 and 0.81 for three pairs of engine and precision); for
            accelerators a guess.
        instruction_pj: Picojoules of one vector instruction apart from its arithmetic, in 45 nm; None if unknown. 70 is
            what Horowitz (ISSCC 2014) gives for fetching, decoding and controlling an instruction.
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
    "apple": _WIDE,
    "x86": _cpu(0.6, 0.8, 0.3, 0.5, bytes_per_cycle=None, call_cycles=4000, instruction_pj=None),
    "wasm": _cpu(
        0.55, 0.65, 0.25, 0.45, bytes_per_cycle=None, call_cycles=40000, cache_factor=1.5, run_calls=10,
        instruction_pj=None,
    ),
    # Efficient in large dense kernels. Depthwise kernels can reuse little, and every call is enqueued and awaited.
    "mobile-gpu": _accelerator(
        "gpu", 0.35, 0.45, 0.05, 0.1, call_us=35, run_calls=8, cache_factor=1.5, other_cache_factor=1
    ),
    # A graph is compiled as a whole and its activations stay on the chip, but an inference crosses to another processor
    # and back. Chosen to agree with one published run of MobileNetV2 and ResNet-50 (0.37 and 1.40 ms, Snapdragon 8 Gen
    # 3).
    "npu": _accelerator(
        "npu", 0.1, 0.1, 0.01, 0.03, call_us=1, run_calls=100, cache_factor=4, other_cache_factor=4
    ),
}  # fmt: skip
"""Name in sheets -> class of core. In-order cores reach less of their peak than out-of-order cores; `wasm` checks every
memory access and has no fused multiply-add; for `x86` and `wasm` the sheet states the streamed bandwidth."""

INT8_SHARE: Mapping[KernelKind, float] = {"conv": 0.5, "pointwise": 0.75, "depthwise": 0.25, "linear": 0.75}
"""Efficiency of each kind of kernel in int8 over that in float32, on CPUs. Assumed: small kernels pay for packing and
rescaling, and depthwise ones have no use for dot products of four values. With these shares the median of int8 over
float32 latencies of 62 subnets of `configs/cifar10.yaml` is 0.53 on one x86 machine, where 0.69 and 0.74 were
measured; without them it is 0.38."""

INT8_FLOAT_SHARE = 0.25
"""Bandwidth of element-wise and pooling kernels in int8, over that in float32: costs count one byte for each value, but
most of these kernels still read and write float32."""

SCALING = 0.9
"""Share of the peak of several cores that they reach together, since threads wait for each other. Assumed."""

MOVING_SHARE = 0.8
"""Share of the streamed bandwidth that pooling and other reductions reach. Assumed: their reads are strided."""
