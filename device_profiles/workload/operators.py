"""The workload of a network: its operators as an engine would run them, and their totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from device_profiles.workload.file_size import FileContent

KernelKind = Literal["conv", "pointwise", "depthwise", "linear", "elementwise", "pool"]
"""Kinds of kernels that devices run at different speeds.

`conv`: dense or grouped spatial convolution; `pointwise`: 1x1 convolution in one group; `depthwise`: one input channel
per group; `linear`: matrix products, attention included; `elementwise`: one pass over activations (also normalisation,
softmax, copies, concatenation); `pool`: pooling and other reductions.
"""

KERNEL_KINDS: tuple[KernelKind, ...] = get_args(KernelKind)
COMPUTE_KINDS: tuple[KernelKind, ...] = ("conv", "pointwise", "depthwise", "linear")
"""The kinds that multiply and accumulate; the others only move bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One kernel call at batch 1.

    Attributes:
        kind: Kind of the kernel.
        macs: Multiply-accumulate operations; 0 for `elementwise` and `pool`.
        input_elements: Activation elements read.
        output_elements: Activation elements written.
        weight_elements: Constant elements read, the bias of a folded normalisation included.
    """

    kind: KernelKind
    macs: int
    input_elements: int
    output_elements: int
    weight_elements: int

    @property
    def moved_elements(self) -> int:
        """Elements that move between memory and the kernel."""
        return self.input_elements + self.output_elements + self.weight_elements


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTotals:
    """Sums over all operators of one kind."""

    macs: int
    moved_elements: int
    weight_elements: int
    operators: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a network at batch 1 requires of a device: all that the cost models read.

    Attributes:
        operators: Kernel calls in execution order.
        macs: MACs of all operators.
        weight_elements: Elements of the stored constants, each constant once, normalisation folded if possible.
        arena_elements: Liveness lower bound of the activations: the largest sum of live tensors over time in execution
            order, including the network's input. No operator runs in place; views take no memory.
        input_elements: Elements of the network's input.
        input_shape: Shape of the network's input, without the batch.
        output_shape: Shape of the network's first output, without the batch.
        file_content: Bytes in an ONNX file apart from the header, see `file_size.network_bytes`.
        totals: Sums for each kind, in the order of `KERNEL_KINDS`.
    """

    operators: tuple[Operator, ...]
    macs: int
    weight_elements: int
    arena_elements: int
    input_elements: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    file_content: FileContent
    totals: tuple[KernelTotals, ...]


def totals_of(operators: Sequence[Operator]) -> tuple[KernelTotals, ...]:
    """Return the sums for each kind, in the order of `KERNEL_KINDS`."""
    by_kind: dict[KernelKind, list[Operator]] = {kind: [] for kind in KERNEL_KINDS}
    for operator in operators:
        by_kind[operator.kind].append(operator)
    return tuple(
        KernelTotals(
            macs=sum(o.macs for o in same),
            moved_elements=sum(o.moved_elements for o in same),
            weight_elements=sum(o.weight_elements for o in same),
            operators=len(same),
        )
        for same in by_kind.values()
    )
