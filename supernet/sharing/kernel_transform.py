"""Learned kernel transforms: a small kernel is the centre of a larger one, multiplied by a matrix of its own.

From Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment" (2020), section 3.2. The
largest network holds the matrices as parameters; a subnet holds the resulting kernel and no matrix.
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
        block = name.removesuffix(self.weight)
        sizes = range(full[-1], part[-1] - 1, -2)
        steps = tuple(_Step(f"{block}{self.matrices}.{a}to{b}", _centre(a)) for a, b in pairwise(sizes))
        return _TransformPlan(part[0], part[-1], steps)


@dataclass(frozen=True, slots=True)
class _Step:
    """From one size to the next: the name of the matrix, and which elements of the flat kernel are its centre."""

    matrix: str
    centre: Tensor


@dataclass(frozen=True, slots=True)
class _TransformPlan:
    """The channels of the whole kernel, then one matrix after the other."""

    channels: int
    size: int
    steps: tuple[_Step, ...]

    def take(self, parameters: Mapping[str, Tensor], name: str) -> Tensor:
        """See `Plan`; gradients reach the weight and the matrices."""
        kernel = parameters[name][: self.channels].flatten(1)  # (channels, k * k)
        for step in self.steps:
            # picking by index takes half the time of a slice, which would have to become contiguous
            centre = kernel.index_select(1, step.centre.to(kernel.device))
            kernel = functional.linear(centre, parameters[step.matrix])
        return kernel.view(self.channels, 1, self.size, self.size)


def _centre(size: int) -> Tensor:
    """The places of the centre of a flattened kernel of `size` by `size`, ((size - 2)^2)."""
    return torch.arange(size * size).view(size, size)[1:-1, 1:-1].flatten()
