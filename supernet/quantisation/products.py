"""Matrix products as PyTorch functions, computed operand by operand, so that every operand can be rounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Operands(Protocol):
    """What is done with the operands of a product."""

    def read(self, x: Tensor) -> Tensor:
        """Called with an activation that the product reads; returns what it computes with."""

    def weight(self, name: str, x: Tensor, axis: int) -> Tensor:
        """Called with an operand that is usually constant, and with the axis of its output channels."""

    def within(self, name: str, x: Tensor) -> Tensor:
        """Called with an activation within the call that an int8 file rounds; returns what is computed with further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """How a function is computed.

    Attributes:
        compute: Takes the operands, the function and its arguments.
        ends_in_float: Whether its output stays float32 if it is the network's output.
    """

    compute: Callable[..., Tensor]
    ends_in_float: bool


def _convolution(
    operands: Operands, function: Callable[..., Tensor], input: Tensor, weight: Tensor, *args: Any, **named: Any
) -> Tensor:
    return function(operands.read(input), operands.weight("weight", weight, 0), *args, **named)


def _linear(
    operands: Operands, function: Callable[..., Tensor], input: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    x, weight = operands.read(input), operands.weight("weight", weight, 0)
    if bias is None or x.dim() == 2:
        return function(x, weight, bias)
    return operands.within(UNBIASED, function(x, weight)) + bias  # ONNX has a product with a bias for two axes only


def _matrices(operands: Operands, function: Callable[..., Tensor], *args: Tensor, **named: Tensor) -> Tensor:
    """Both operands may be activations. A constant has a scale per index of axis 1, as ONNX Runtime has it."""
    pair = [(name, operands.read(x)) for name, x in (*enumerate(args), *named.items())]
    rounded = {name: operands.weight(str(name), x, min(1, x.dim() - 1)) for name, x in pair}
    return function(*(rounded[i] for i in range(len(args))), **{name: rounded[name] for name in named})


def _sum_and_matrices(
    operands: Operands, function: Callable[..., Tensor], input: Tensor, *args: Tensor, **named: Any
) -> Tensor:
    scalars = {name: named.pop(name) for name in ("beta", "alpha") if name in named}
    return _matrices(operands, lambda *a, **n: function(input, *a, **n, **scalars), *args, **named)


def _attention(
    operands: Operands,
    _: Callable[..., Tensor],
    query: Tensor,  # (..., heads, tokens, width), and the same for key and value
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001 - evaluation mode
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As PyTorch's exporter writes it: each operand is scaled by the root of the scale."""
    root = math.sqrt(1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    value = operands.read(value)
    query, key = operands.within("query", query * root), operands.within("key", key * root)
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    scores = operands.within("scores", query @ key.transpose(-2, -1))
    if is_causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)
    elif attn_mask is not None:
        is_bool = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if is_bool else scores + attn_mask
    return operands.within("shares", scores.softmax(-1)) @ value


UNBIASED: Final = "product"
"""The name of a product whose bias is a sum of its own."""

_CONVOLUTION = Product(compute=_convolution, ends_in_float=False)
_LINEAR = Product(compute=_linear, ends_in_float=True)
_MATRICES = Product(compute=_matrices, ends_in_float=True)
_SUM_AND_MATRICES = Product(compute=_sum_and_matrices, ends_in_float=True)

PRODUCTS: Final[Mapping[Callable[..., Any], Product]] = MappingProxyType(
    {
        **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _CONVOLUTION),
        functional.linear: _LINEAR,
        functional.scaled_dot_product_attention: Product(compute=_attention, ends_in_float=True),
        **dict.fromkeys(
            (
                torch.matmul, torch.mm, torch.bmm,
                Tensor.matmul, Tensor.mm, Tensor.bmm, Tensor.__matmul__, Tensor.__rmatmul__,
            ),
            _MATRICES,
        ),
        **dict.fromkeys((torch.addmm, torch.baddbmm, Tensor.addmm, Tensor.baddbmm), _SUM_AND_MATRICES),
    }
)  # fmt: skip
"""The functions that an int8 file computes in integers. All others, for example `einsum`, compute in float32."""

ACTIVATIONS: Final = frozenset(
    (
        torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, functional.relu, functional.relu6,
        functional.hardtanh, torch.clamp, torch.clamp_, Tensor.clamp, Tensor.clamp_, torch.clip, Tensor.clip,
    )
)  # fmt: skip
"""The functions that become part of the product before them, because clipping to its range does the same."""

HIDING: Final = frozenset((functional.multi_head_attention_forward,))
"""Functions with matrix products inside that cannot be seen."""
