"""Cross-layer equalisation: scale the channels between two convolutions so that all of them use the 8 bits.

One range covers all channels of an activation, so a channel with small values loses most of its bits. Between two
convolutions with nothing or a ReLU in between, a factor per channel can move from the weights before the activation to
those after it without a change of the function (Nagel et al., arXiv:1906.04721; by the ranges of activations, as in
Meller et al., arXiv:1902.01917). A hard-swish does not commute with a factor, and a value that a sum or a gate also
reads has to keep its scale: these are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exports.onnx.graphs import constant_values
from exports.onnx.quantising.layers import Layer, value_uses
from exports.onnx.quantising.ranges import Observed
from exports.onnx.quantising.weights import largest_per_channel, per_channel

_LARGEST_FACTOR: Final = 100.0
"""The most by which channels are scaled against each other: it lifts a channel from two of 255 steps to nearly all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two convolutions between which factors can move: the second alone reads what the first writes."""

    first: Layer
    second: Layer


def find_pairs(model: Any, layers: Sequence[Layer]) -> tuple[Pair, ...]:
    """The pairs of consecutive convolutions, in order. Weights that other layers share are left out."""
    uses, values = value_uses(model), constant_values(model.graph)
    readers = {layer.reads[0]: layer for layer in layers if layer.op_type == "Conv"}
    return tuple(
        Pair(first=first, second=readers[first.writes])
        for first in layers
        if first.op_type == "Conv" and first.activation in ("", "Relu") and first.writes in readers
        if uses[first.writes] == 1 and all(uses[name] == 1 for name in _constants(first, readers[first.writes]))
        if readers[first.writes].group in (1, len(values[first.weight]))
    )


def equalised(model: Any, pairs: Sequence[Pair], observed: Mapping[str, Observed]) -> Any:
    """A copy of a ModelProto in which the channels of each pair's activation are scaled against each other.

    Args:
        model: The float32 graph.
        pairs: What `find_pairs` found in it.
        observed: The values of the activations between the pairs.
    """
    import onnx

    values = constant_values(model.graph)
    for pair in pairs:
        factors = _factors(pair.second, observed[pair.first.writes].channels, values[pair.second.weight])
        for name in filter(None, (pair.first.weight, pair.first.bias)):
            values[name] = values[name] / per_channel(factors, values[name].ndim, 0)
        values[pair.second.weight] = _scaled_inputs(pair.second, values[pair.second.weight], factors)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))
    return result


def _factors(second: Layer, channels: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """By what the channels of the activation are divided, `(channels,)`; the largest is 1.

    A depthwise convolution has a scale for each channel, so its activation can be equalised fully. In a dense one the
    channels of an output share a scale, so activation and weights meet halfway.
    """
    if second.group == 1:
        channels = np.sqrt(channels / np.maximum(largest_per_channel(weight, 1), np.finfo(np.float32).tiny))
    factors = channels / max(float(channels.max()), float(np.finfo(np.float32).tiny))
    return np.asarray(np.maximum(factors, 1 / _LARGEST_FACTOR), dtype=np.float32)


def _scaled_inputs(second: Layer, weight: NDArray[np.float32], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    if second.group == 1:
        return np.asarray(weight * per_channel(factors, weight.ndim, 1))
    return np.asarray(weight * per_channel(np.repeat(factors, len(weight) // len(factors)), weight.ndim, 0))


def _constants(*layers: Layer) -> list[str]:
    return [name for layer in layers for name in (layer.weight, layer.bias) if name]
