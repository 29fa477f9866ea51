"""Static quantisation: 8-bit integers around the layers of a graph, in the QDQ form of ONNX.

A value that an integer layer reads or writes passes through `QuantizeLinear` and `DequantizeLinear`; engines fuse a
layer between such pairs into one integer operator. Nodes between the layers (sums, gates, hard-swish) read dequantised
values and compute in float32, unless the engine has an integer form of them too, as ONNX Runtime has of sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.file_size import INPUT_NAME, OUTPUT_NAME
from exports.onnx.graphs import constant_values
from exports.onnx.quantising.layers import Layer, names_read
from exports.onnx.quantising.ranges import Range
from exports.onnx.quantising.weights import LARGEST_BIAS, as_integers, safe_scales


def quantised_values(layers: Sequence[Layer]) -> tuple[str, ...]:
    """The values that become 8-bit integers if `layers` do: all that they read and write.

    The output of a network that ends in a matrix product stays float32, because it would saturate at the largest logit
    that was seen. That of a last convolution does not, because the convolution would run in float32 otherwise.
    """
    read = [name for layer in layers for name in layer.reads]
    return tuple(dict.fromkeys(read + [layer.writes for layer in layers if not _is_last_product(layer)]))


def quantised_model(model: Any, layers: Sequence[Layer], ranges: Mapping[str, Range]) -> Any:
    """A copy of a ModelProto in which `layers` compute in integers.

    Weights have one scale per output channel. A bias has the scale of the sums: that of the input times the weight's.

    Args:
        model: The float32 graph, as `export_onnx` writes it.
        layers: Layers of the graph.
        ranges: The range of each of `quantised_values(layers)`.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = _QuantisedGraph(model, layers, ranges)
    nodes = list(graph.nodes())
    kept = set(names_read(nodes))
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in kept] + graph.constants
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(initializers)
    return result


class _QuantisedGraph:
    """The nodes of a quantised graph, and their new constants."""

    def __init__(self, model: Any, layers: Sequence[Layer], ranges: Mapping[str, Range]) -> None:
        self.constants: list[Any] = []
        self._names: dict[tuple[str, bytes], str] = {}
        self._model = model
        self._values = constant_values(model.graph)
        self._layers = {layer.name: layer for layer in layers}
        self._ranges = {name: ranges[name] for name in quantised_values(layers)}
        self._absorbed = {layer.writes: layer for layer in layers if layer.activation}

    def nodes(self) -> Iterator[Any]:
        """All nodes in order. Each value of the float graph that becomes integers keeps its name when dequantised."""
        if INPUT_NAME in self._ranges:
            yield from self._pair(INPUT_NAME, INPUT_NAME, f"{INPUT_NAME}_dequantised")
        for original in self._model.graph.node:
            if original.output[0] in self._absorbed:
                continue
            node = _copied(original)
            node.input[:] = [self._read(name) for name in original.input]
            layer = self._layers.get(original.name)
            if layer is not None:
                yield from self._constants_of(layer, node)
                node.output[0] = layer.writes
            written = list(node.output)
            node.output[:] = [f"{name}_float" if name in self._ranges else name for name in written]
            yield node
            for name in written:
                if name in self._ranges:
                    yield from self._pair(name, f"{name}_float", name)

    def _read(self, name: str) -> str:
        return f"{name}_dequantised" if name == INPUT_NAME and name in self._ranges else name

    def _pair(self, name: str, source: str, target: str) -> Iterator[Any]:
        import onnx

        span, quantised = self._ranges[name], f"{name}_quantised"
        parameters = [
            self._constant(f"{name}_scale", np.asarray(span.scale)),
            self._constant(f"{name}_zero_point", np.asarray(span.zero_point)),
        ]
        yield onnx.helper.make_node("QuantizeLinear", [source, *parameters], [quantised])
        yield onnx.helper.make_node("DequantizeLinear", [quantised, *parameters], [target])

    def _constants_of(self, layer: Layer, node: Any) -> Iterator[Any]:
        """Replace the weight and the bias of `node` by integers; yields the nodes that dequantise them."""
        if not layer.weight:
            return
        bias = self._values[layer.bias] if layer.bias else None
        input_scale = self._ranges[layer.reads[0]].scale
        scales = _scales(layer, self._values[layer.weight], bias, input_scale)
        weight = as_integers(self._values[layer.weight], layer.channel_axis, scales)
        # Convolutions need no zero points, which are 0; the engine's fused matrix product refuses weights without.
        zeros = [] if layer.op_type == "Conv" else [np.zeros(len(scales), np.int8)]
        node.input[1] = f"{layer.name}_weight"
        yield self._dequantised(node.input[1], layer.weight, [weight, scales, *zeros], layer.channel_axis)
        if bias is not None:
            sums = scales * input_scale
            integers = np.clip(np.rint(bias.astype(np.float64) / sums), -LARGEST_BIAS, LARGEST_BIAS)
            node.input[2] = f"{layer.name}_bias"
            yield self._dequantised(node.input[2], node.input[2], [integers.astype(np.int32), sums], 0)

    def _dequantised(self, target: str, constant: str, arrays: Sequence[NDArray[Any]], axis: int) -> Any:
        import onnx

        names = [self._constant(f"{constant}_{index}", array) for index, array in enumerate(arrays)]
        return onnx.helper.make_node("DequantizeLinear", names, [target], axis=axis)

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant; a weight that several layers share is stored once, if their integers are the same."""
        import onnx

        key = (name, array.tobytes())
        if key not in self._names:
            self._names[key] = f"{name}_{len(self._names)}"
            self.constants.append(onnx.numpy_helper.from_array(array, self._names[key]))
        return self._names[key]


def _is_last_product(layer: Layer) -> bool:
    return layer.writes == OUTPUT_NAME and layer.op_type != "Conv" and not layer.activation


def _copied(node: Any) -> Any:
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _scales(
    layer: Layer, weight: NDArray[np.float32], bias: NDArray[np.float32] | None, input_scale: np.float32
) -> NDArray[np.float32]:
    """The scales of a weight. A channel with next to no weights has that with which its bias fits into 32 bits."""
    scales = safe_scales(layer, weight)
    if bias is None:
        return scales
    needed = np.abs(bias) / (np.float32(LARGEST_BIAS) * input_scale)
    return np.asarray(np.maximum(scales, needed), dtype=np.float32)
