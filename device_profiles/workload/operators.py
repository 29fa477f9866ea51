"""What a network asks of a device: its operators as an engine would run them, and their totals."""

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
"""The kinds that multiply and add; the others only move bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One kernel call at batch 1.

    Attributes:
        macs: multiply-accumulate operations; 0 for `elementwise` and `pool`.
        input_elements: activation elements read.
        output_elements: activation elements written.
        weight_elements: constant elements read, the bias of a folded normalisation included.
    """

    kind: KernelKind
    macs: int
    input_elements: int
    output_elements: int
    weight_elements: int

    @property
    def moved_elements(self) -> int:
        """Elements that pass between memory and the kernel."""
        return self.input_elements + self.output_elements + self.weight_elements


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTotals:
    """The sums over all operators of one kind."""

    macs: int
    moved_elements: int
    weight_elements: int
    operators: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A network at batch 1, as far as costs go.

    Attributes:
        operators: in execution order.
        macs: over all operators.
        weight_elements: stored constants, each once, normalisation folded where it can be.
        arena_elements: liveness lower bound of the activations: the largest sum of live tensors over time in execution
            order, the network's input included, no operator in place, views free.
        input_elements: of the network's input.
        input_shape: of the network's input, without the batch.
        output_shape: of the network's first output, without the batch.
        file_content: what it takes in an ONNX file beside the header, see `file_size.network_bytes`.
        totals: one per kind, in the order of `KERNEL_KINDS`.
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
    """The sums per kind, in the order of `KERNEL_KINDS`."""
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
