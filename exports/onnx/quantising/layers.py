"""The layers of an ONNX graph that have a form with 8-bit integers: convolutions and matrix products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exports.onnx.graphs import inner_graphs
from factory_base.errors import EngineError

ABSORBED: Final = ("Relu", "Clip")
"""Activations that the range of an unsigned 8-bit value implies if they alone read the output of a layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution or matrix product.

    Attributes:
        name: The name of its node.
        op_type: `Conv`, `Gemm` or `MatMul`.
        reads: The values that it reads: one, or two for a product of two activations.
        writes: The value whose range bounds its output: its own, or that of the activation that it absorbs.
        activation: The operator that it absorbs, of `ABSORBED`; "" if none.
        weight: The constant that it multiplies by; "" for a product of two activations.
        bias: The constant that it adds; "" if none.
        channel_axis: The axis of the weight along which its output channels lie.
        group: The number of groups of a convolution, 1 for a matrix product.
    """

    name: str
    op_type: str
    reads: tuple[str, ...]
    writes: str
    activation: str
    weight: str
    bias: str
    channel_axis: int
    group: int

    def is_depthwise(self, weight: NDArray[np.float32]) -> bool:
        """Whether each output channel reads one input channel of its own."""
        return self.group > 1 and self.group == len(weight) and weight.shape[1] == 1


def find_layers(model: Any) -> tuple[Layer, ...]:
    """The layers of a ModelProto that can be quantised, in order.

    A convolution or `Gemm` whose weight or bias is computed, and a matrix product by a constant of more than two axes,
    have no such form.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    uses = value_uses(model)
    readers = {name: node for node in model.graph.node for name in node.input}
    found = []
    for node in model.graph.node:
        layer = _layer(node, constants, _absorbed(node, uses, readers))
        if layer is not None:
            found.append(layer)
    return tuple(found)


def value_uses(model: Any) -> Counter[str]:
    """How often each value is read; an output of the network counts as a reader."""
    return Counter([*names_read(model.graph.node), *(value.name for value in model.graph.output)])


def names_read(nodes: Iterable[Any]) -> Iterator[str]:
    """The names of all values and constants that nodes read, and the graphs inside them."""
    for node in nodes:
        yield from node.input
        for inner in inner_graphs(node):
            yield from names_read(inner.node)


def check_weights(layers: tuple[Layer, ...], constants: dict[str, NDArray[Any]]) -> None:
    """Raises `EngineError` if the weights of a layer are not finite."""
    for layer in layers:
        for name in (layer.weight, layer.bias):
            if name and not np.isfinite(constants[name]).all():
                raise EngineError(f"the weights of {layer.name} contain NaN or infinity; train again")


def _layer(node: Any, constants: dict[str, Any], absorbed: Any) -> Layer | None:
    attributes = {attribute.name: attribute for attribute in node.attribute}
    transposed = "transB" in attributes and attributes["transB"].i == 1
    channel_axis = 0 if node.op_type == "Conv" or transposed else 1
    operands = _operands(node, constants, channel_axis) if _is_plain(attributes) else None
    if operands is None:
        return None
    weight, bias = operands
    return Layer(
        name=node.name,
        op_type=node.op_type,
        reads=(node.input[0],) if weight else tuple(node.input),
        writes=node.output[0] if absorbed is None else absorbed.output[0],
        activation="" if absorbed is None else absorbed.op_type,
        weight=weight,
        bias=bias,
        channel_axis=channel_axis,
        group=attributes["group"].i if "group" in attributes else 1,
    )


def _operands(node: Any, constants: dict[str, Any], channel_axis: int) -> tuple[str, str] | None:
    """The names of the weight and the bias, "" for one that there is not; None if the node has no integer form."""
    if node.op_type == "MatMul":
        weight = node.input[1] if node.input[1] in constants else ""
        refused = node.input[0] in constants or (weight and len(_shape(constants, weight)) != 2)
        return None if refused else (weight, "")
    if node.op_type not in ("Conv", "Gemm") or node.input[1] not in constants:
        return None
    bias = node.input[2] if len(node.input) > 2 else ""
    channels = _shape(constants, node.input[1])[channel_axis]
    return (node.input[1], bias) if not bias or _shape(constants, bias) == (channels,) else None


def _is_plain(attributes: dict[str, Any]) -> bool:
    """Whether a node multiplies its inputs as they are; all but some `Gemm` do."""
    scaled = any(name in attributes and attributes[name].f != 1.0 for name in ("alpha", "beta"))
    return not scaled and not ("transA" in attributes and attributes["transA"].i)


def _shape(constants: dict[str, Any], name: str) -> tuple[int, ...]:
    """The shape of a constant; () if the value is computed."""
    return tuple(constants[name].dims) if name in constants else ()


def _absorbed(node: Any, uses: Counter[str], readers: dict[str, Any]) -> Any:
    """The activation that alone reads the output of `node`, if it is one that a range implies."""
    reader = readers.get(node.output[0]) if uses[node.output[0]] == 1 else None
    return reader if reader is not None and reader.op_type in ABSORBED and reader.input[0] == node.output[0] else None
