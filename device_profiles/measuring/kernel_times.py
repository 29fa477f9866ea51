"""How ONNX Runtime spends its time: the events of its profiler, summed by kind of kernel."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from device_profiles.workload.operators import KernelKind

OVERHEAD_LIMIT_US: Final = 5.0
"""Largest overhead of the profiler that is subtracted from a kernel: more than it was seen to take."""

WARM_UP_RUNS: Final = 3
"""Runs before those that are profiled: the first ones allocate memory, and the caches are cold."""

PROFILED_RUNS: Final = 21
"""Runs whose kernels are timed: an odd number, so that the median is one of them; enough for some to be undisturbed."""

_RUN: Final = "_kernel_time"
"""Suffix of the names of events that time a kernel."""

_CONVOLUTIONS: Final = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger", "ConvTranspose"})
_PRODUCTS: Final = frozenset(
    {"Attention", "DynamicQuantizeMatMul", "FusedGemm", "FusedMatMul", "Gemm", "MatMul", "MatMulInteger",
     "MatMulIntegerToFloat", "MultiHeadAttention", "QAttention", "QGemm", "QLinearMatMul"}
)  # fmt: skip


def kernel_latency_us(
    events: Sequence[Any], nodes: Iterable[Any], shapes: Mapping[str, tuple[int, ...]], *, warm_up: int, run_us: float
) -> dict[KernelKind, float]:
    """Microseconds of a run per kind of kernel: the median of every node over the runs after `warm_up`, summed by kind.

    The profiler slows every kernel down by some microseconds, which matters to small ones. So the same time, at most
    `OVERHEAD_LIMIT_US`, is subtracted from all of them, such that they add up to a run without the profiler. If they
    still exceed such a run, the machine was under another load, which is assumed to slow all kernels alike.

    Args:
        events: Events of the profiler's JSON file, from some runs of the same input.
        nodes: Nodes of the graph after the engine's optimisation; events refer to them by name.
        shapes: Shapes of the graph's constants, by name.
        warm_up: Number of runs to leave out.
        run_us: Microseconds of a run without the profiler.
    """
    durations: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(_RUN):
            durations[event["name"].removesuffix(_RUN)].append(int(event["dur"]))
    medians = {name: statistics.median(times[warm_up:]) for name, times in durations.items()}
    overhead = min(_overhead_us(list(medians.values()), run_us), OVERHEAD_LIMIT_US)
    times_us = {name: max(0.0, median - overhead) for name, median in medians.items()}
    stretched = max(1.0, sum(times_us.values()) / run_us)
    kinds = {node.name: kind_of(node, shapes) for node in nodes}
    totals: defaultdict[KernelKind, float] = defaultdict(float)
    for name, time_us in times_us.items():
        totals[kinds.get(name, "elementwise")] += time_us / stretched
    return dict(totals)


def _overhead_us(times_us: list[float], run_us: float) -> float:
    """The time to subtract from each of `times_us`, none below 0, so that they sum to `run_us`; 0 if none is needed."""
    ordered = sorted(times_us, reverse=True)
    for count in range(len(ordered), 0, -1):
        overhead = (sum(ordered[:count]) - run_us) / count
        if overhead <= ordered[count - 1]:
            return max(0.0, overhead)
    return 0.0


def kind_of(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> KernelKind:
    """The kind of a node. Copies, layout changes, quantisation and other nodes without products are `elementwise`."""
    if node.op_type in _CONVOLUTIONS:
        return _convolution_kind(node, shapes)
    if node.op_type in _PRODUCTS:
        return "linear"
    if "Pool" in node.op_type or node.op_type.startswith("Reduce"):
        return "pool"
    return "elementwise"


def _convolution_kind(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> KernelKind:
    weight = next((shapes[name] for name in node.input if len(shapes.get(name, ())) > 2), ())
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    if groups > 1 and weight[1:2] == (1,):
        return "depthwise"
    return "pointwise" if groups == 1 and set(weight[2:]) == {1} else "conv"
