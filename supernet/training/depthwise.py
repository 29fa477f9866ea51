"""Faster gradients of depthwise convolutions on CPUs, for training.

PyTorch's CPU library computes the weight gradient fast for kernels that are at most 3 wide and not taller than the
feature map, and 5 to 80 times slower for others. In bfloat16 it computes the input gradient of a strided convolution 20
to 30 times slower than in float32 (measured with PyTorch 2.13 and oneDNN 3.12 on an AMD EPYC). So a weight gradient
with a large kernel is reduced to cases that the library computes fast:

* A strided convolution is split into convolutions of stride 1, one for each phase of its input. With stride 2 the
  phases are the even and the odd rows, combined with the even and the odd columns.
* Taps of the kernel that meet no pixel have no gradient. On a map of 2x2, 3x3 taps of a 7x7 kernel remain.
* On maps as large as the kernel, up to three columns of the kernel are computed at a time, with all their rows.
* On smaller maps, every channel of every image becomes a channel of a single image, and its gradient becomes the filter
  of that channel. This is the library's forward convolution, its fastest operation.

The input gradient of a strided convolution is computed in float32. All results are the same up to rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_WIDEST = 3
"""The widest kernel whose weight gradient the library computes fast; see the top of the module."""
_DTYPES = (torch.float32, torch.bfloat16)


class FastDepthwise(TorchFunctionMode):
    """Within this context, depthwise `conv2d` on CPU tensors uses the gradients of this module.

    It works for any network, because it replaces the function and not the layers. Dense convolutions, convolutions on
    other devices, and those that are dilated, not square or padded by a string are left as they are.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = _square_depthwise(*args, **kwargs) if func is functional.conv2d else None
        if found is None:
            return func(*args, **kwargs)
        x, weight, bias, stride, padding = found
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
        y = _Depthwise.apply(x, weight, stride, padding)  # type: ignore[no-untyped-call]
        return y if bias is None else y + bias.to(y.dtype)[:, None, None]


def _square_depthwise(
    input: Tensor,  # the names of the arguments are those of `conv2d`
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, int, int] | None:
    """Input, weight, bias, stride and padding of a `conv2d` that this module handles, else None."""
    if not groups == weight.shape[0] == input.shape[-3] > 1 or input.ndim != 4 or input.device.type != "cpu":
        return None
    sides = [_side(value) for value in (stride, padding, dilation, tuple(weight.shape[2:]))]
    if None in sides or sides[2] != 1 or input.dtype not in _DTYPES:
        return None
    return input, weight, bias, sides[0], sides[1]  # type: ignore[return-value]


def _side(value: Any) -> int | None:
    """The number that `value` gives for both axes; None if there are two or none."""
    pair = (value, value) if isinstance(value, int) else value
    return pair[0] if isinstance(pair, tuple | list) and len(pair) == 2 and pair[0] == pair[1] else None


class _Depthwise(torch.autograd.Function):
    """(batch, channels, h, w), (channels, 1, k, k) -> (batch, channels, h', w')."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        with torch.autocast("cpu", enabled=False):
            return functional.conv2d(x, weight, None, stride, padding, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        arguments = (gradient, x, weight, ctx.stride, ctx.padding)
        with torch.autocast("cpu", enabled=False):
            grad_x = _input_gradient(*arguments).to(x.dtype) if ctx.needs_input_grad[0] else None
            grad_w = _weight_gradient(*arguments) if ctx.needs_input_grad[1] else None
        return grad_x, grad_w, None, None


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    if stride > 1:
        gradient, x, weight = gradient.float(), x.float(), weight.float()
    return _backward(gradient, x, weight, stride, (padding, padding), (True, False))[0]


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    size = weight.shape[-1]
    if size <= _WIDEST and size <= min(x.shape[2:]):
        return _backward(gradient, x, weight, stride, (padding, padding), (False, True))[1]
    result = torch.zeros_like(weight)
    axes = (_phases(x.shape[axis], gradient.shape[axis], size, stride, padding) for axis in (2, 3))
    for rows, columns in itertools.product(*axes):
        part = x[:, :, rows.first :: stride, columns.first :: stride].contiguous(memory_format=torch.channels_last)
        compute = _by_columns if _fits(part, rows) else _by_images
        result[:, 0, rows.taps, columns.taps] = compute(gradient, part, rows, columns)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phase:
    """One phase of a strided convolution on one axis: a convolution of stride 1 over every `stride`-th pixel.

    Attributes:
        first: Index of the first of these pixels.
        lead: Padding before it, in pixels of the phase.
        count: Number of the taps that meet any pixel.
        taps: Indices of these taps in the whole kernel.
    """

    first: int
    lead: int
    count: int
    taps: slice

    @property
    def reach(self) -> int:
        """Half the size of the smallest centred kernel that has these taps."""
        return max(self.lead, self.count - 1 - self.lead)


def _phases(inputs: int, outputs: int, size: int, stride: int, padding: int) -> Iterator[_Phase]:
    for offset in range(stride):
        first = (offset - padding) % stride
        lead = (first + padding - offset) // stride
        pixels, taps = -(-(inputs - first) // stride), -(-(size - offset) // stride)
        start, stop = max(0, lead - outputs + 1), min(taps, lead + pixels)
        if pixels > 0 and start < stop:
            whole = slice(offset + stride * start, offset + stride * (stop - 1) + 1, stride)
            yield _Phase(first=first, lead=lead - start, count=stop - start, taps=whole)


def _fits(x: Tensor, rows: _Phase) -> bool:
    return x.shape[2] > 2 * rows.reach and x.shape[3] >= _WIDEST


def _by_columns(gradient: Tensor, x: Tensor, rows: _Phase, columns: _Phase) -> Tensor:
    """(batch, channels, h', w'), (batch, channels, h, w) -> (channels, rows.count, columns.count)."""
    height, width = (gradient.shape[axis] - x.shape[axis] for axis in (2, 3))
    reach = rows.reach
    result = x.new_empty(x.shape[1], rows.count, columns.count)
    for start, stop in _groups(columns):
        left = columns.lead - start
        right = width + stop - 1 - columns.lead
        # the library pads both sides equally; any other padding requires a copy
        vertical, above = (reach, (0, 0)) if height == 0 else (0, (reach, height + reach))
        horizontal, aside = (left, (0, 0)) if left == right >= 0 else (0, (left, right))
        window = functional.pad(x, (*aside, *above)) if any((*aside, *above)) else x
        kernel = x.new_empty(x.shape[1], 1, 2 * reach + 1, stop - start)
        found = _backward(gradient, window, kernel, 1, (vertical, horizontal), (False, True))[1]
        result[:, :, start:stop] = found[:, 0, reach - rows.lead :][:, : rows.count]
    return result


def _groups(columns: _Phase) -> list[tuple[int, int]]:
    """The fewest groups of at most three taps. If possible one of them is centred, which requires no copy."""

    def groups(first: int) -> list[tuple[int, int]]:
        edges = [0, *range(first, columns.count, _WIDEST), columns.count]
        return list(itertools.pairwise(edges))

    centred = (columns.lead - 1, columns.lead + 2)
    options = [groups(first) for first in range(1, min(_WIDEST, columns.count) + 1)]
    return min(options, key=lambda option: (len(option), centred not in option))


def _by_images(gradient: Tensor, x: Tensor, rows: _Phase, columns: _Phase) -> Tensor:
    """(batch, channels, h', w'), (batch, channels, h, w) -> (channels, rows.count, columns.count)."""
    batch, channels, height, width = x.shape
    if gradient.shape[2:] == (1, 1):  # the library is slow at this
        return (x[:, :, : rows.count, : columns.count] * gradient).sum(0)
    filters = gradient.contiguous().view(batch * channels, 1, *gradient.shape[2:])
    image = x.permute(2, 3, 0, 1).reshape(1, height, width, batch * channels).permute(0, 3, 1, 2)
    padding = [
        max(phase.lead, phase.count - 1 - phase.lead + gradient.shape[axis] - x.shape[axis])
        for axis, phase in ((2, rows), (3, columns))
    ]
    found = torch.ops.aten.convolution(image, filters, None, [1, 1], padding, [1, 1], False, [0, 0], batch * channels)
    found = found[:, :, padding[0] - rows.lead :, padding[1] - columns.lead :][:, :, : rows.count, : columns.count]
    per_image: Tensor = found.permute(0, 2, 3, 1).reshape(rows.count, columns.count, batch, channels)
    return per_image.sum(2).permute(2, 0, 1)


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], mask: tuple[bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        gradient, x, weight, None, [stride] * 2, list(padding), [1, 1], False, [0, 0], weight.shape[0], [*mask, False]
    )
