"""Quantised weights of a network as parts of a shared file: its folded normalisation goes into its scales.

A network has a vector of scales and one of biases for each layer. Each kind is stored as one tensor for all layers, in
float16, which engines decode and split when they load the graph. Stored are the scales of the products, input scale
times weight scale, because the biases are integers in these units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exports.onnx.graph_edit import ConstantNodes
from exports.onnx.parameter_match import Floats
from exports.onnx.quantising.weights import LARGEST_BIAS

_LARGEST_HALF = 2.0**15
"""Values are brought below this by a power of two before they are stored in float16, whose largest value is 65504."""

_SMALLEST_SHARE = 2.0**-30
"""The smallest scale, as a share of the largest. In float16 it keeps 9 bits below the largest value allowed above."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class QuantisedLayer:
    """A convolution or matrix product with quantised weights, and where its vectors are in the graph.

    Attributes:
        weight: The DequantizeLinear node of the weight.
        bias: The DequantizeLinear node of the bias; None without a quantised bias.
        zero_points: Whether zero points of 0 must be stated: ONNX Runtime fuses a convolution without them, which take
            five bytes per channel, but not a matrix product.
        input_scale: The name of the scale of the layer's input; None if the input is not quantised.
        input_step: Its value; 1 if the input is not quantised.
    """

    weight: Any
    bias: Any | None
    zero_points: bool
    input_scale: str | None
    input_step: float


def quantised_weights(graph: Any, constants: Mapping[str, NDArray[Any]]) -> dict[str, tuple[Any, Floats, int]]:
    """Integers, scales and the axis of the output channels of every quantised weight, by name."""
    return {
        node.input[0]: (constants[node.input[0]], constants[node.input[1]], _axis(node))
        for node in graph.node
        if node.op_type == "DequantizeLinear" and _is_weight(node, constants)
    }


def _is_weight(node: Any, constants: Mapping[str, NDArray[Any]]) -> bool:
    if any(name not in constants for name in node.input):
        return False
    values, scale, *zero_points = (constants[name] for name in node.input)
    symmetric = all(not zero_point.any() for zero_point in zero_points)
    return values.dtype == np.int8 and values.ndim > 1 and scale.dtype == np.float32 and symmetric


def _axis(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 1)


def quantised_layers(graph: Any, constants: Mapping[str, NDArray[Any]], weights: Sequence[str]) -> list[QuantisedLayer]:
    """The layers that use the named weights, in the order of the graph."""
    producers = {output: node for node in graph.node for output in node.output}
    wanted, layers = set(weights), []
    for node in graph.node:
        given = [producers.get(name) for name in node.input]
        weight = next((other for other in given if other is not None and other.input[0] in wanted), None)
        if weight is None or weight.op_type != "DequantizeLinear":
            continue
        layers.append(_layer(given, weight, node.op_type != "Conv", constants))
    return layers


def _layer(
    given: Sequence[Any | None], weight: Any, zero_points: bool, constants: Mapping[str, NDArray[Any]]
) -> QuantisedLayer:
    image, bias = given[0], given[2] if len(given) > 2 else None
    if bias is not None and (bias.op_type != "DequantizeLinear" or bias.input[0] not in constants):
        bias = None
    scale = image.input[1] if image is not None and image.op_type == "DequantizeLinear" else None
    if scale not in constants:
        scale, bias = None, None
    step = 1.0 if scale is None else float(constants[scale])
    return QuantisedLayer(weight=weight, bias=bias, zero_points=zero_points, input_scale=scale, input_step=step)


def put_scales(
    nodes: ConstantNodes,
    layers: Sequence[QuantisedLayer],
    weights: Sequence[tuple[str, Floats]],
    constants: Mapping[str, NDArray[Any]],
) -> None:
    """Let the layers use shared integers and their own scales.

    Args:
        nodes: Where nodes that compute constants are added.
        layers: The layers.
        weights: For each of them the value that has its integers, and its scales, float32 (output channels,).
        constants: The constants of the file.
    """
    biases = [_bias(layer, len(scale), constants) for layer, (_, scale) in zip(layers, weights, strict=True)]
    steps = [layer.input_step * scale.astype(np.float64) for layer, (_, scale) in zip(layers, weights, strict=True)]
    lengths, bias_values = [len(part) for part in steps], np.concatenate(biases)
    products = _halves(nodes, _positive(np.concatenate(steps), bias_values))
    of_layers = _split(nodes, products, lengths)
    for layer, (integers, _), product, length in zip(layers, weights, of_layers, lengths, strict=True):
        scale = nodes.node("Div", product, layer.input_scale) if layer.input_scale else product
        layer.weight.input[:] = [integers, scale, *_zeros(nodes, layer, length, np.int8)]
    if not any(layer.bias for layer in layers):
        return
    rounded = nodes.node("Round", nodes.node("Div", _halves(nodes, bias_values), products))
    integers_of = _split(nodes, nodes.node("Cast", rounded, to=6), lengths)  # 6: int32
    for layer, integers, product, length in zip(layers, integers_of, of_layers, lengths, strict=True):
        if layer.bias:
            layer.bias.input[:] = [integers, product, *_zeros(nodes, layer, length, np.int32)]


def _positive(products: NDArray[np.float64], biases: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scales that float16 can hold and with which the biases fit into 32 bits.

    Only channels whose weights are next to nothing beside their bias or beside all other channels get a larger scale.
    """
    smallest = np.maximum(np.abs(biases) / LARGEST_BIAS, products.max() * _SMALLEST_SHARE)
    positive: NDArray[np.float64] = np.maximum(products, smallest)
    return positive


def _zeros(nodes: ConstantNodes, layer: QuantisedLayer, length: int, kind: type[np.generic]) -> list[str]:
    return [nodes.constant(np.zeros(length, kind))] if layer.zero_points else []


def _bias(layer: QuantisedLayer, length: int, constants: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """The bias of a layer; zeros if it has none."""
    if layer.bias is None:
        return np.zeros(length)
    integers, scale = (constants[name].astype(np.float64) for name in layer.bias.input[:2])
    bias: NDArray[np.float64] = integers * scale
    return bias


def _halves(nodes: ConstantNodes, values: NDArray[np.float64]) -> str:
    """Values stored in float16, each rounded by at most 1/2048 of it, as a float32 value."""
    largest = float(np.abs(values).max())
    unit = 2.0 ** np.floor(np.log2(_LARGEST_HALF / largest)) if largest else 1.0
    stored = nodes.constant((values * unit).astype(np.float16))
    decoded = nodes.node("Cast", stored, to=1)  # 1: float32
    return nodes.node("Mul", decoded, nodes.constant(np.array(1 / unit, np.float32)))


def _split(nodes: ConstantNodes, value: str, lengths: Sequence[int]) -> list[str]:
    if len(lengths) == 1:
        return [value]
    return nodes.nodes("Split", [value, nodes.constant(np.array(lengths, np.int64))], len(lengths))
