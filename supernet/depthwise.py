"""Faster gradients of depthwise convolutions on CPUs, for training.

PyTorch's CPU kernels are fast for 3x3 windows and slow elsewhere: the weight gradient of a 5x5 window costs 20-30 times
that of a 3x3 window, and in bfloat16 the input gradient of a strided one 20-30 times that in float32 (seen with PyTorch
2.13 on two AMD EPYC cores). So the weight gradient of a large window is put together from 3x3 windows on shifted
inputs, and the input gradient of a strided convolution is computed in float32. The results are the same up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_WINDOW = 3


class FastDepthwise(TorchFunctionMode):
    """Within this context, `conv2d` on CPU tensors with one filter per channel uses the gradients of this module.

    Works for any network, since it replaces the function and not the layers. Dense convolutions, other devices and
    dilated, asymmetric or string-padded convolutions are left as they are.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.conv2d and not kwargs and len(args) == 7 and _applies(*args):
            x, weight, bias, stride, padding, _, _ = args
            if torch.is_autocast_enabled("cpu"):
                dtype = torch.get_autocast_dtype("cpu")
                x, weight = x.to(dtype), weight.to(dtype)
            y = _Depthwise.apply(x, weight, stride[0], padding[0])  # type: ignore[no-untyped-call]
            return y if bias is None else y + bias.to(y.dtype)[:, None, None]
        return func(*args, **(kwargs or {}))


def _applies(x: Tensor, weight: Tensor, _bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    return (
        x.device.type == "cpu"
        and groups == x.shape[1] == weight.shape[0] > 1
        and all(isinstance(pair, tuple) for pair in (stride, padding, dilation))
        and padding[0] == padding[1]
        and stride[0] == stride[1]
        and dilation == (1, 1)
        and weight.shape[2] == weight.shape[3]
    )


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
        grad_x = _input_gradient(gradient, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        grad_w = _weight_gradient(gradient, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return grad_x, grad_w, None, None


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    if stride == 1:
        return _backward(gradient, x, weight, stride, padding, (True, False))[0]
    return _backward(gradient.float(), x.float(), weight.float(), stride, padding, (True, False))[0].to(x.dtype)


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    size = weight.shape[-1]
    if size <= _WINDOW:
        return _backward(gradient, x, weight, stride, padding, (False, True))[1]
    padded = functional.pad(x, (padding,) * 4)
    result = torch.empty_like(weight)
    starts = [*range(0, size - _WINDOW, _WINDOW - 1), size - _WINDOW]
    height, width = (stride * (extent - 1) + _WINDOW for extent in gradient.shape[2:])
    for top in starts:
        for left in starts:
            window = padded[:, :, top : top + height, left : left + width]
            window = window.contiguous(memory_format=torch.channels_last)
            part = weight[:, :, :_WINDOW, :_WINDOW].contiguous()
            result[:, :, top : top + _WINDOW, left : left + _WINDOW] = _backward(
                gradient, window, part, stride, 0, (False, True)
            )[1]
    return result


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, mask: tuple[bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        gradient, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], weight.shape[0], [*mask, False]
    )
