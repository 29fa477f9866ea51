"""Weights as 8-bit integers with one scale per output channel: weight = integer * scale."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exports.onnx.quantising.layers import Layer

LARGEST_WEIGHT: Final = 127
"""The largest 8-bit integer of a weight; -128 is not used, so that the integers are symmetric."""

LARGEST_BIAS: Final = 1 << 30
"""The largest integer of a bias: half of what 32 bits hold, which leaves as much for the sum that it is added to."""

_SMALLEST_SCALE: Final = float(np.finfo(np.float32).tiny)
"""The scale of a channel of zeros: the smallest normal number."""


def full_scales(weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The scales, `(channels,)`, with which the largest weight of each channel along `axis` becomes 127."""
    scales = np.maximum(largest_per_channel(weight, axis) / np.float32(LARGEST_WEIGHT), _SMALLEST_SCALE)
    return np.asarray(scales, dtype=np.float32)


def safe_scales(layer: Layer, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smallest scales, `(channels,)`, with which every processor computes the layer exactly.

    x86 processors without 8-bit dot products multiply unsigned by signed bytes with `vpmaddubsw`, which adds the
    products of two neighbours in 16 bits and saturates without an error: 255 * 127 + 255 * 127 > 32,767. So the
    integers of two neighbours must not exceed 128 together. Neighbours are weights for consecutive input channels at
    one place of the kernel, and those for the last and the first channel at consecutive places. The kernels of
    depthwise convolutions add in 32 bits, so their weights use all 8 bits. (ONNX Runtime's kernels as of 1.32; its
    quantiser's `reduce_range` halves all weights instead, at a cost of 2 to 3 dB in the logits of a small MobileNet.)
    """
    full = full_scales(weight, layer.channel_axis)
    if layer.is_depthwise(weight):
        return full
    pairs = largest_pairs(weight, layer.channel_axis)
    scales = np.maximum(full, pairs / np.float32(LARGEST_WEIGHT))  # rounding adds up to 1 to the sum of two integers
    return np.asarray(scales, dtype=np.float32)


def largest_pairs(weight: NDArray[Any], axis: int) -> NDArray[Any]:
    """The largest sum of two neighbouring absolute weights of each channel along `axis`, `(channels,)`."""
    rows = np.moveaxis(np.abs(weight), axis, 0)
    rows = np.moveaxis(rows, 1, -1).reshape(len(rows), -1)  # in the order in which kernels read them
    sums: NDArray[Any] = (rows[:, 1:] + rows[:, :-1]).max(axis=1, initial=0)
    return sums


def as_integers(weight: NDArray[np.float32], axis: int, scales: NDArray[np.float32]) -> NDArray[np.int8]:
    """The integers of `weight` with the scales `(channels,)` of its channels along `axis`."""
    rounded = np.rint(weight / per_channel(scales, weight.ndim, axis))
    return np.asarray(np.clip(rounded, -LARGEST_WEIGHT, LARGEST_WEIGHT), dtype=np.int8)


def per_channel(scales: NDArray[np.float32], rank: int, axis: int) -> NDArray[np.float32]:
    """`(channels,)` -> `(1, ..., channels, ..., 1)` with `rank` axes, the channels along `axis`."""
    return scales.reshape([-1 if index == axis else 1 for index in range(rank)])


def largest_per_channel(weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The largest absolute weight of each channel along `axis`, `(channels,)`."""
    others = tuple(index for index in range(weight.ndim) if index != axis)
    return np.asarray(np.abs(weight).max(axis=others, initial=0.0), dtype=np.float32)
