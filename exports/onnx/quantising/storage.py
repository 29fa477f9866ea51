"""Weights in fewer bytes that the engine decodes when it loads the file, so that it computes in float32.

ONNX Runtime folds operators on constants at load: the graph that it runs is that of the float32 file, and so are the
latency and the memory. A graph that also computes in float16 would gain nothing on x86 processors: ONNX Runtime has no
float16 kernels for them, so it converts the graph back and runs the float32 kernels in the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.file_size import NARROWED_ELEMENTS
from exports.onnx.graphs import constant_values
from exports.onnx.quantising.layers import Layer, find_layers
from exports.onnx.quantising.lookups import with_float16_tables, with_int8_tables
from exports.onnx.quantising.weights import as_integers, full_scales, per_channel

_Encoded = list[Any]
"""The constants and nodes that decode a weight; empty if it stays as it is."""


def with_float16_weights(model: Any) -> Any:
    """A copy of a ModelProto whose weights of convolutions and matrix products, and tables, are stored as float16.

    A weight with a value beyond the largest float16, 65,504, stays float32.
    """
    return with_float16_tables(_stored(model, _float16))


def with_int8_weights(model: Any) -> Any:
    """As `with_float16_weights`, but stored as 8-bit integers with one scale per output channel."""
    return with_int8_tables(_stored(model, _int8))


def _stored(model: Any, encode: Callable[[str, Layer, NDArray[np.float32]], _Encoded]) -> Any:
    import onnx

    constants = constant_values(model.graph)
    encoded: dict[str, _Encoded] = {}
    for layer in find_layers(model):
        weight = constants.get(layer.weight)
        if weight is not None and weight.dtype == np.float32 and weight.size >= NARROWED_ELEMENTS:
            encoded[layer.weight] = encode(layer.weight, layer, weight)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    kept = [tensor for tensor in model.graph.initializer if not encoded.get(tensor.name)]
    del result.graph.initializer[:], result.graph.node[:]
    result.graph.initializer.extend(kept)
    for parts in encoded.values():
        result.graph.initializer.extend(tensor for tensor in parts if isinstance(tensor, onnx.TensorProto))
        result.graph.node.extend(node for node in parts if isinstance(node, onnx.NodeProto))
    result.graph.node.extend(model.graph.node)
    return result


def _float16(name: str, _: Layer, weight: NDArray[np.float32]) -> _Encoded:
    import onnx

    if np.abs(weight).max() > np.finfo(np.float16).max:
        return []
    stored = onnx.numpy_helper.from_array(weight.astype(np.float16), f"{name}_stored")
    return [stored, onnx.helper.make_node("Cast", [stored.name], [name], to=onnx.TensorProto.FLOAT)]


def _int8(name: str, layer: Layer, weight: NDArray[np.float32]) -> _Encoded:
    import onnx

    axis = layer.channel_axis
    scales = full_scales(weight, axis)  # all 8 bits: the engine multiplies the decoded weights in float32
    stored = onnx.numpy_helper.from_array(as_integers(weight, axis, scales), f"{name}_stored")
    scale = onnx.numpy_helper.from_array(per_channel(scales, weight.ndim, axis), f"{name}_scale")
    cast = onnx.helper.make_node("Cast", [stored.name], [f"{name}_cast"], to=onnx.TensorProto.FLOAT)
    return [stored, scale, cast, onnx.helper.make_node("Mul", [cast.output[0], scale.name], [name])]
