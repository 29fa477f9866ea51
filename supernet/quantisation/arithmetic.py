"""Rounding to 8-bit integers and back, with the integers and scales that `exports` writes into files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

_LEVELS: Final = 255
"""Activations are unsigned 8-bit integers from 0 to 255."""
_WEIGHT_LIMIT: Final = 127
"""Weights are signed 8-bit integers from -127 to 127."""
_SMALLEST_SCALE: Final = float(torch.finfo(torch.float32).tiny)
"""Below it a range counts as empty, as in ONNX Runtime; its scale is then 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The range of an activation: from the smallest to the largest value for the calibration inputs.

    Attributes:
        low: The smallest value, or 0 if that is smaller: zero is always exact, for padding.
        high: The largest value, or 0 if that is larger.
    """

    low: float
    high: float

    @property
    def scale(self) -> float:
        """The difference between neighbouring integers."""
        scale = (self.high - self.low) / _LEVELS
        return scale if scale >= _SMALLEST_SCALE else 1.0

    @property
    def zero_point(self) -> int:
        """The integer that stands for zero."""
        return round(-self.low / self.scale)


def range_of(x: Tensor, before: Range | None = None) -> Range:
    """The range of the values of `x` and of those in `before`."""
    low, high = (float(limit) for limit in torch.aminmax(x))
    known = before or Range(low=0.0, high=0.0)
    return Range(low=min(low, known.low), high=max(high, known.high))


def rounded_activation(x: Tensor, limits: Range, *, in_place: bool = False) -> Tensor:
    """`x` rounded to the 256 values of `limits`; values outside are clipped.

    If gradients are recorded, rounding passes them on unchanged (the straight-through estimator; Bengio et al.,
    "Estimating or propagating gradients through stochastic neurons", 2013), and clipping passes none on.

    Args:
        x: Any tensor.
        limits: Its range.
        in_place: Whether to overwrite `x`, which takes half the time. Only without gradients.
    """
    scale, zero_point = limits.scale, limits.zero_point
    low, high = -zero_point, _LEVELS - zero_point
    if torch.is_grad_enabled():
        clipped = x.clamp(low * scale, high * scale)
        return clipped + (clipped.div(scale).round_().mul_(scale) - clipped).detach()
    scaled = x.mul_(1 / scale) if in_place else x * (1 / scale)
    return scaled.round_().clamp_(low, high).mul_(scale)


def rounded_weight(weight: Tensor, axis: int, *, multiplied: bool = True) -> Tensor:
    """`weight` rounded to 8-bit integers with a scale per channel along `axis`.

    Rounding passes gradients on unchanged, as in `rounded_activation`; nothing is clipped.

    Args:
        weight: A matrix or the kernels of a convolution.
        axis: The axis of the output channels.
        multiplied: Whether the integers are multiplied as they are. Processors without 8-bit dot products then add the
            products of two neighbours in 16 bits, so two neighbours must not exceed 128 together; kernels of depthwise
            convolutions are exempt. Otherwise they are decoded first.
    """
    others = [other for other in range(weight.dim()) if other != axis]
    scale = weight.detach().abs().amax(others, keepdim=True) / _WEIGHT_LIMIT
    if multiplied and not (weight.dim() > 2 and weight.shape[1] == 1):
        scale = torch.maximum(scale, _neighbours(weight.detach(), axis).reshape(scale.shape) / _WEIGHT_LIMIT)
    scale = torch.where(scale >= _SMALLEST_SCALE, scale, 1.0)
    rounded = (weight.detach() / scale).round_().mul_(scale)
    return weight + (rounded - weight.detach()) if torch.is_grad_enabled() else rounded


def _neighbours(weight: Tensor, axis: int) -> Tensor:
    """The largest sum of two neighbouring absolute weights per channel, (channels,); 0 if there is only one weight.

    Neighbours belong to consecutive input channels at one place of the kernel, or to consecutive places.
    """
    rows = weight.abs().movedim(axis, 0).movedim(1, -1).flatten(1)
    return (rows[:, 1:] + rows[:, :-1]).amax(1) if rows.shape[1] > 1 else rows.new_zeros(len(rows))
