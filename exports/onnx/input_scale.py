"""Folding the factor of a file's preprocessing into the convolution that follows it."""

from __future__ import annotations

from typing import Any

import numpy as np


def fold_input_scale(graph: Any) -> bool:
    """Remove `Mul` by a constant per channel between a graph's preprocessing and its first convolutions.

    Returns whether there was one to remove.

    `conv(x * s, w) = conv(x, w * s)` also holds where the convolution pads with zeros, which a factor leaves alone. The
    graph stays as it is if anything other than a convolution reads the product, or if weights are used twice. Only a
    file that takes bytes has such a product: `Transpose`, `Cast`, `Sub`, `Mul`.

    Args:
        graph: The GraphProto, changed in place.
    """
    readers = _readers(graph)
    name = graph.input[0].name
    for op_type in ("Transpose", "Cast", "Sub"):
        found = readers.get(name, [])
        if len(found) != 1 or found[0].op_type != op_type:
            return False
        name = found[0].output[0]
    constants = {tensor.name: tensor for tensor in graph.initializer}
    (product, *others) = readers.get(name, []) or [None]
    if product is None or others or product.op_type != "Mul" or product.input[1] not in constants:
        return False
    convolutions = readers.get(product.output[0], [])
    if not convolutions or not all(_can_take(node, product.output[0], constants, readers) for node in convolutions):
        return False
    _fold(product, convolutions, constants)
    graph.node.remove(product)
    graph.initializer.remove(constants[product.input[1]])
    return True


def _readers(graph: Any) -> dict[str, list[Any]]:
    """Name of a value -> the nodes that read it."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    return readers


def _can_take(node: Any, value: str, constants: dict[str, Any], readers: dict[str, list[Any]]) -> bool:
    return (
        node.op_type == "Conv"
        and node.input[0] == value
        and node.input[1] in constants
        and len(readers[node.input[1]]) == 1
    )


def _fold(product: Any, convolutions: list[Any], constants: dict[str, Any]) -> None:
    import onnx

    scale = onnx.numpy_helper.to_array(constants[product.input[1]]).reshape(-1).astype(np.float64)
    for node in convolutions:
        tensor = constants[node.input[1]]
        weights = onnx.numpy_helper.to_array(tensor).astype(np.float64)  # (outputs, inputs / groups, height, width)
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        channels = np.broadcast_to(scale, (weights.shape[1] * groups,)).reshape(groups, 1, -1, 1, 1)
        scaled = weights.reshape(groups, -1, *weights.shape[1:]) * channels
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(scaled.reshape(weights.shape).astype(np.float32), name=tensor.name)
        )
        node.input[0] = product.input[0]
