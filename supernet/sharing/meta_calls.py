"""ATen calls on the meta device: a shortcut to results of known shape, and their multiply-accumulate operations.

PyTorch finds most shapes on that device by running Python code, which takes up to a millisecond per call: many times as
long as the rest of tracing a network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from factory_base.errors import SpaceError

PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm"})
"""Names of the ATen functions that are matrix products."""

_META = torch.device("meta")
_SAME_SHAPE = frozenset(
    {"relu", "hardtanh", "clamp", "leaky_relu", "sigmoid", "hardsigmoid", "tanh", "hardswish", "silu", "gelu"}
)
_BROADCAST = frozenset({"add", "mul"})


@cache
def name_of(func: Any) -> str:
    """The name of an ATen function, without its namespace, overload, and the underscore of in-place functions."""
    name: str = func._schema.name.partition("::")[2]
    return name[:-1] if _is_in_place(func) else name


def run_on_meta(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of `func(*args, **kwargs)` for meta tensors. The saved statistics of a normalisation are left empty.

    Raises:
        SpaceError: A convolution does not fit its input.
    """
    name = name_of(func)
    if name == "convolution":
        return torch.empty(_convolved(args[0], args[1], *args[3:9]), device=_META)
    if "batch_norm" in name:
        empty = torch.empty(0, device=_META)
        return (torch.empty(args[0].shape, device=_META), *[empty] * (len(func._schema.returns) - 1))
    if _is_in_place(func):
        return args[0]
    if name in _SAME_SHAPE:
        return torch.empty(args[0].shape, dtype=args[0].dtype, device=_META)
    if name in _BROADCAST and (shape := _broadcast(args[0], args[1])) is not None:
        return torch.empty(shape, dtype=args[0].dtype, device=_META)
    if name == "mean" and len(args) > 1 and not kwargs and args[0].is_floating_point():
        return torch.empty(_reduced(args[0], *args[1:]), dtype=args[0].dtype, device=_META)
    if name in PRODUCTS and (shape := _multiplied(args, kwargs)) is not None:
        return torch.empty(shape, dtype=args[-1].dtype, device=_META)
    return func(*args, **kwargs)


def macs_of(name: str, args: Sequence[Any], output: Tensor) -> int:
    """Multiply-accumulate operations of a convolution or a matrix product; 0 for any other function.

    Args:
        name: Name of the function, see `name_of`.
        args: Positional arguments of the call.
        output: Result of the call.
    """
    if name == "convolution":
        spread = args[0] if args[6] else output
        return int(spread.numel() * math.prod(args[1].shape[1:]))
    if name in PRODUCTS:
        left = args[1] if len(args) > 2 else args[0]
        return output.numel() * int(left.shape[-1])
    return 0


@cache
def _is_in_place(func: Any) -> bool:
    name = func._schema.name
    return bool(name.endswith("_") and not name.endswith("__"))


def _broadcast(left: Any, right: Any) -> Sequence[int] | None:
    """The shape of an element-wise sum or product; None if PyTorch has to find it or the type of the result."""
    if not (isinstance(left, Tensor) and isinstance(right, Tensor)) or left.dtype != right.dtype:
        return None
    if left.shape == right.shape:
        return left.shape
    short, long = sorted((tuple(left.shape), tuple(right.shape)), key=len)
    pairs = list(zip((1,) * (len(long) - len(short)) + short, long, strict=True))
    fits = all(a == b or 1 in (a, b) for a, b in pairs)
    return tuple(b if a == 1 else a for a, b in pairs) if fits else None


def _multiplied(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The shape of a matrix product; None if PyTorch has to find it, or to say what is wrong."""
    *bias, left, right = args
    tensors = (*bias, left, right)
    fits = left.dim() == right.dim() and left.shape[:-2] == right.shape[:-2] and left.shape[-1] == right.shape[-2]
    if kwargs or not fits or any(tensor.dtype != right.dtype for tensor in tensors):
        return None
    shape = (*left.shape[:-1], right.shape[-1])
    return shape if all(tensor.shape in (shape, shape[-1:]) for tensor in bias) else None


def _reduced(tensor: Tensor, axes: Sequence[int] | None, keep: bool = False) -> tuple[int, ...]:
    gone = {axis % tensor.dim() for axis in axes or range(tensor.dim())}
    return tuple(1 if axis in gone else n for axis, n in enumerate(tensor.shape) if keep or axis not in gone)


def _convolved(
    image: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> tuple[int, ...]:
    expected = weight.shape[0] if transposed else weight.shape[1] * groups
    if image.shape[1] != expected:
        raise SpaceError(
            f"a convolution with weights of shape {tuple(weight.shape)} expects {expected} channels, "
            f"got {image.shape[1]}"
        )
    axes = range(image.dim() - 2)
    stride, padding, dilation = (_spread(given, len(axes)) for given in (stride, padding, dilation))
    reach = [dilation[i] * (weight.shape[2 + i] - 1) for i in axes]
    if transposed:
        extra = _spread(output_padding, len(axes))
        sizes = [(image.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + reach[i] + extra[i] + 1 for i in axes]
        return (image.shape[0], weight.shape[1] * groups, *sizes)
    sizes = [(image.shape[2 + i] + 2 * padding[i] - reach[i] - 1) // stride[i] + 1 for i in axes]
    if min(sizes, default=1) < 1:
        raise SpaceError(
            f"a kernel of shape {tuple(weight.shape[2:])} is larger than its padded input, "
            f"which has shape {tuple(image.shape[2:])} before padding"
        )
    return (image.shape[0], weight.shape[0], *sizes)


def _spread(values: Sequence[int], length: int) -> Sequence[int]:
    return values if len(values) == length else [values[0]] * length
