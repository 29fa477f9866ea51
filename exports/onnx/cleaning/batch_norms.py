"""Batch normalisations that the exporter did not fold into the layer before them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import EngineError

_DEFAULT_EPSILON: Final = 1e-5
"""The epsilon of BatchNormalization if the attribute is absent, by the ONNX specification."""


def fold_batch_norms(graph: Any) -> bool:
    """Replace each batch normalisation by `y = x * a + b` with constants per channel. Returns whether there was one.

    Raises:
        EngineError: A batch normalisation computes its statistics from its input.
    """
    import onnx

    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.input, *graph.value_info)}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[Any] = []
    for index, node in enumerate(graph.node):
        if node.op_type != "BatchNormalization":
            nodes.append(node)
            continue
        if any(name not in constants for name in node.input[1:]) or node.input[0] not in ranks:
            raise EngineError("a batch normalisation with computed statistics cannot be folded; use running statistics")
        scale, shift = _affine(node, constants, ranks[node.input[0]])
        names = [f"folded_{index}_scale", f"folded_{index}_shift", f"folded_{index}_product"]
        graph.initializer.extend(
            onnx.numpy_helper.from_array(v, n) for v, n in zip((scale, shift), names, strict=False)
        )
        nodes.append(onnx.helper.make_node("Mul", [node.input[0], names[0]], [names[2]]))
        nodes.append(onnx.helper.make_node("Add", [names[2], names[1]], [node.output[0]]))
    changed = len(nodes) > len(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    return changed


def _affine(node: Any, constants: dict[str, Any], rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and shift of a batch normalisation, float32 `(channels, 1, ...)`, which broadcast over `rank` axes."""
    import onnx

    weight, bias, mean, variance = (onnx.numpy_helper.to_array(constants[n]).astype(np.float64) for n in node.input[1:])
    epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), _DEFAULT_EPSILON)
    scale = weight / np.sqrt(variance + epsilon)
    shape = (-1, *[1] * (rank - 2))
    shift = bias - mean * scale
    return scale.reshape(shape).astype(np.float32), shift.reshape(shape).astype(np.float32)
