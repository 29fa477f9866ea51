"""Learned kernel transforms: a small kernel is the centre of a larger one, multiplied by a matrix of its own.

From Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment" (2020), section 3.2. The
largest network holds the matrices as parameters; a subnet holds the resulting kernel and no matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor
from torch.nn import functional

from supernet.slicing import Plan, SlicePlan, plan_slices


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTransform:
    """The weight `<block>.<weight>` (channels, 1, k, k) shrinks in steps of 2 by the matrices of its block.

    The matrix from size `k` to `k - 2` is `<block>.<matrices>.<k>to<k - 2>`, ((k - 2)^2, (k - 2)^2). It multiplies the
    centre, flattened row by row, from the left, and is shared by all channels.

    Attributes:
        weight: name of the weight in its block.
        matrices: name of what holds the matrices in the block of the largest network.
    """

    weight: str
    matrices: str

    def plan(self, full: tuple[int, ...], part: tuple[int, ...], name: str) -> Plan:
        """See `SliceRule`. Channels are the leading ones; a kernel as large as the largest is taken as it is."""
        slices = plan_slices(full, part, name)
        if part[2:] == full[2:]:
            return slices
        channels = SlicePlan((*slices.axes[:2], *((slice(0, size),) for size in full[2:])))
        block = name.removesuffix(self.weight)
        sizes = range(full[-1], part[-1] - 1, -2)
        return _TransformPlan(channels, tuple(f"{block}{self.matrices}.{a}to{b}" for a, b in pairwise(sizes)))


@dataclass(frozen=True, slots=True)
class _TransformPlan:
    """The channels of the whole kernel, then one matrix after the other."""

    channels: SlicePlan
    matrices: tuple[str, ...]

    def take(self, parameters: Mapping[str, Tensor], name: str) -> Tensor:
        """See `Plan`; gradients reach the weight and the matrices."""
        kernel = self.channels.take(parameters, name)  # (channels, 1, k, k)
        for matrix in self.matrices:
            centre = kernel[:, :, 1:-1, 1:-1]
            kernel = functional.linear(centre.flatten(2), parameters[matrix]).reshape(centre.shape)
        return kernel
