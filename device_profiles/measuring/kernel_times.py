"""Where ONNX Runtime's time goes: the events of its profiler, by kind of kernel."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from device_profiles.workload.operators import KernelKind

OVERHEAD_LIMIT_US: Final = 5.0
"""More than the profiler was seen to take per kernel."""

WARM_UP_RUNS: Final = 3
PROFILED_RUNS: Final = 21
"""So many runs are told apart by kernel, after so many that are not."""

_RUN: Final = "_kernel_time"
"""How the names of the events end that time a kernel."""

_CONVOLUTIONS: Final = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger", "ConvTranspose"})
_PRODUCTS: Final = frozenset(
    {"Attention", "DynamicQuantizeMatMul", "FusedGemm", "FusedMatMul", "Gemm", "MatMul", "MatMulInteger",
     "MatMulIntegerToFloat", "MultiHeadAttention", "QAttention", "QGemm", "QLinearMatMul"}
)  # fmt: skip


def kernel_latency_us(
    events: Sequence[Any], nodes: Iterable[Any], shapes: Mapping[str, tuple[int, ...]], *, warm_up: int, run_us: float
) -> dict[KernelKind, float]:
    """Microseconds per kind of one run: the median of every node over the runs after `warm_up`, summed by kind.

    The profiler slows every kernel down by some microseconds, which matters to small ones. So the same time, at most
    `OVERHEAD_LIMIT_US`, is taken off all of them, such that they add up to a run without it. What exceeds such a run
    even then is another load of the machine, which stretched all kernels by the same factor.

    Args:
        events: of the profiler's JSON file, some runs of the same input.
        nodes: of the graph as the engine optimised it; events bear their names.
        shapes: of the graph's constants, by name.
        warm_up: how many runs to leave out.
        run_us: a run without the profiler.
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
    """What to take off every time, at most all of it, so that they add up to `run_us`; 0 where they are no more."""
    ordered = sorted(times_us, reverse=True)
    for count in range(len(ordered), 0, -1):
        overhead = (sum(ordered[:count]) - run_us) / count
        if overhead <= ordered[count - 1]:
            return max(0.0, overhead)
    return 0.0


def kind_of(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> KernelKind:
    """The kind of a node. Copies, changes of layout, quantising and what fuses no product are `elementwise`."""
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
