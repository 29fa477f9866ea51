"""Learned kernel transforms: a small kernel is the centre of the next larger one, multiplied by a learned matrix.

Source: Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment" (2020), section 3.2.
The largest network holds the matrices as parameters; a subnet holds the resulting kernel and no matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from supernet.sharing.slicing import Plan, plan_slices


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTransform:
    """The rule for a depthwise weight `<block>.<weight>`, (channels, 1, k, k), whose kernel shrinks in steps of 2.

    The matrix from size `k` to `k - 2` is `<block>.<matrices>.<k>to<k - 2>`, ((k - 2)^2, (k - 2)^2). It multiplies the
    centre, flattened row by row, from the left, and is shared by all channels.

    Attributes:
        weight: Name of the weight in its block.
        matrices: Name of the module that holds the matrices in the block of the largest network.
    """

    weight: str
    matrices: str

    def plan(self, full: tuple[int, ...], part: tuple[int, ...], name: str) -> Plan:
        """See `SliceRule`. The channels are the leading ones; a kernel of full size is not transformed."""
        slices = plan_slices(full, part, name)
        if part[2:] == full[2:]:
            return slices
        block = name.removesuffix(self.weight)
        sizes = range(full[-1], part[-1] - 1, -2)
        steps = tuple(_Step(f"{block}{self.matrices}.{a}to{b}", _centre(a)) for a, b in pairwise(sizes))
        return _TransformPlan(part[0], part[-1], steps)


@dataclass(frozen=True, slots=True)
class _Step:
    """From one size to the next smaller: name of the matrix, and indices of the centre in the flattened kernel."""

    matrix: str
    centre: Tensor


@dataclass(frozen=True, slots=True)
class _TransformPlan:
    """Takes the leading channels of the whole kernel, then applies one matrix after the other."""

    channels: int
    size: int
    steps: tuple[_Step, ...]

    def take(self, parameters: Mapping[str, Tensor], name: str) -> Tensor:
        """See `Plan`. Gradients reach the weight and the matrices."""
        kernel = parameters[name][: self.channels].flatten(1)  # (channels, k * k)
        for step in self.steps:
            # selecting by index takes half the time of a slice, which would have to be made contiguous
            centre = kernel.index_select(1, step.centre.to(kernel.device))
            kernel = functional.linear(centre, parameters[step.matrix])
        return kernel.view(self.channels, 1, self.size, self.size)


def _centre(size: int) -> Tensor:
    """Indices of the centre in a flattened kernel of `size` by `size`: int64 ((size - 2)^2,)."""
    return torch.arange(size * size).view(size, size)[1:-1, 1:-1].flatten()
