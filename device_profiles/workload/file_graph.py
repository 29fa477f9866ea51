"""The graph of an ONNX file, in the detail that its size depends on, built from ATen calls. Imports no torch.

A value of the graph is the output of a node. A view that has a node in the file makes a new value. The 8-bit file is
the one that `exports.onnx.quantising` makes from the float32 file: convolutions and matrix products read and write
8-bit values, each through a pair of nodes, and keep their weights as integers with a scale per channel. The files in
float16 and with 8-bit weights are the float32 file with other nodes in place of its large weights: a narrow constant, a
cast, and for integers a product with a scale per channel.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device_profiles.workload.exported import PRODUCTS, RESHAPES, Exported, exported_call, exported_view
from device_profiles.workload.file_activations import find_activations
from device_profiles.workload.file_size import (
    NARROWED_ELEMENTS,
    SMALL_ELEMENTS,
    FileContent,
    attribute_bytes,
    node_bytes,
    tensor_bytes,
)

if TYPE_CHECKING:
    from torch import Tensor

_QUANTISED = frozenset({"Conv", "Gemm", "MatMul"})
_LOOKUPS = frozenset({"Gather"})
_ABSORBING = frozenset({"Conv", "ConvTranspose", "Gemm"})
_VANISHING = frozenset({"Clip", "Relu"})
"""Operators that the range of the preceding 8-bit value makes redundant."""
_FREE_VIEWS = frozenset({"detach", "alias", "lift_fresh"})

_BYTE, _HALF, _INT32 = 1, 2, 4
_PAIR = (
    node_bytes("QuantizeLinear", 3)
    + node_bytes("DequantizeLinear", 3)
    + 2 * (tensor_bytes(()) + tensor_bytes((), _BYTE))
)
"""Bytes of an 8-bit value: two nodes, each with a scale and a zero point."""
_AXIS = attribute_bytes("axis", 1)
_CAST = node_bytes("Cast", 1, attribute_bytes("to", 1))


@dataclass(frozen=True, slots=True)
class _Weight:
    """A constant that is a tensor of the network. Views of one tensor have the same owner."""

    owner: int
    shape: tuple[int, ...]
    element_bytes: int = 4

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def is_small(self) -> bool:
        return self.elements <= SMALL_ELEMENTS


@dataclass(slots=True)
class _Node:
    """A node that may still be folded.

    Attributes:
        op_type: Operator; "" if `others` holds all bytes.
        reads: Values that the node reads.
        writes: Value that the node writes.
        weights: Constants that the node reads.
        attributes: Bytes of the attributes.
        others: Bytes of further nodes and of numbers.
        numbers: Number of inputs that are numbers.
        values: What they are, as in `Exported`.
        channels: Output channels of a convolution, matrix product or normalisation.
        normalises: Whether a preceding convolution or matrix product can absorb the node.
    """

    op_type: str
    reads: tuple[int, ...]
    writes: int
    weights: tuple[_Weight, ...] = ()
    attributes: int = 0
    others: int = 0
    numbers: int = 0
    values: tuple[float, ...] = ()
    channels: int = 0
    normalises: bool = False

    @property
    def own_bytes(self) -> int:
        """Bytes of the node without its weights."""
        if not self.op_type:
            return self.others
        inputs = len(self.reads) + len(self.weights) + self.numbers
        return self.others + node_bytes(self.op_type, inputs, self.attributes)


class FileGraph:
    """The graph of a network whose input is `image`. Tensors are identified by `id`, so the caller keeps them alive."""

    def __init__(self, image: Tensor) -> None:
        self._values = {id(image): 0}
        self._count = 1
        self._nodes: list[_Node] = []
        self._flattened: dict[int, _Node] = {}
        self._products: set[int] = set()

    def add_view(self, name: str, source: Tensor, outputs: Sequence[Tensor]) -> None:
        """Record a view of `source`.

        A matrix product with more than two axes is one node of a file, but PyTorch flattens its arguments and
        unflattens its result. Such views leave no node.

        Args:
            name: Name of the ATen function, as in `exported_call`.
            source: Tensor that is viewed.
            outputs: Tensors that the call returned, at least one.
        """
        output, value = outputs[0], self._value_of(source)
        reshapes = name in RESHAPES
        if (
            name in _FREE_VIEWS
            or (output.shape == source.shape and (reshapes or name == "expand"))
            or (reshapes and id(source) in self._products)
        ):
            self._values[id(output)] = value
            return
        size = exported_view(name, (output if reshapes else source).dim())
        for piece in outputs:
            node = _Node("", (value,), self._new(piece), others=size)
            self._nodes.append(node)
        if reshapes and output.dim() < source.dim() and output.shape[-1] == source.shape[-1]:
            self._flattened[node.writes] = node

    def add_call(
        self,
        name: str,
        args: Sequence[Any],
        inputs: Sequence[Tensor],
        constants: Sequence[tuple[int, Tensor]],
        output: Tensor,
    ) -> None:
        """Record a call that computes.

        Args:
            name: Name of the ATen function, as in `exported_call`.
            args: Positional arguments of the call.
            inputs: Its tensors that depend on the network's input.
            constants: Its other tensors, each with a number that is the same for views of one tensor.
            output: Its first result.
        """
        reads = tuple(self._value_of(tensor) for tensor in inputs)
        weights = tuple(_Weight(owner, tuple(tensor.shape), tensor.element_size()) for owner, tensor in constants)
        if name in PRODUCTS:
            self._add_product(name, reads, weights, output)
        elif "batch_norm" in name:
            self._nodes.append(_normalisation(reads, args[0].shape, self._new(output)))
        else:
            self._add_call(exported_call(name, args), reads, weights, output)

    def content(self, outputs: Iterable[Tensor]) -> FileContent:
        """Return the bytes of all nodes and constants; `outputs` are the network's. Folds the nodes: call it once."""
        ends = {self._value_of(tensor) for tensor in outputs}
        uses = Counter([value for node in self._nodes for value in node.reads] + list(ends))
        nodes = _fused(_folded(self._nodes, uses), uses)
        return FileContent(
            fp32=_float_bytes(nodes, _float_weight),
            fp16=_float_bytes(nodes, _half_weight),
            int8=_integer_bytes(nodes, uses, ends),
            int8_weights=_float_bytes(nodes, _scaled_weight),
        )

    def _add_call(self, call: Exported, reads: tuple[int, ...], weights: tuple[_Weight, ...], output: Tensor) -> None:
        if not call.op_type and not call.others:
            self._values[id(output)] = reads[0]
            return
        node = _Node(call.op_type, reads, self._new(output), weights, call.attributes, call.others, call.numbers)
        node.values = call.values
        node.channels = output.shape[1] if call.op_type == "Conv" else 0
        self._nodes.append(node)

    def _add_product(self, name: str, reads: tuple[int, ...], weights: tuple[_Weight, ...], output: Tensor) -> None:
        views = [view for view in (self._flattened.pop(value, None) for value in reads) if view]
        sources = {view.writes: view.reads[0] for view in views}
        for view in views:  # no longer a node
            view.reads, view.others = (), 0
        reads = tuple(sources.get(value, value) for value in reads)
        call, channels = exported_call("bmm" if views else name, ()), output.shape[-1]
        biases = tuple(weight for weight in weights if len(weight.shape) == 1) if views else ()
        matrices = tuple(weight for weight in weights if weight not in biases)
        node = _Node(call.op_type, reads, self._new(output), matrices, call.attributes, channels=channels)
        self._nodes.append(node)
        if biases:
            self._nodes.append(_Node("Add", (node.writes,), self._new(output), biases))
        if views:
            self._products.add(id(output))

    def _value_of(self, tensor: Tensor) -> int:
        """The value of `tensor`; a new one if its origin was not recorded (further outputs, overwritten constants)."""
        return self._values[id(tensor)] if id(tensor) in self._values else self._new(tensor)

    def _new(self, tensor: Tensor) -> int:
        self._values[id(tensor)] = self._count
        self._count += 1
        return self._count - 1


def _normalisation(reads: tuple[int, ...], shape: Sequence[int], writes: int) -> _Node:
    """A normalisation that nothing absorbs: a scale, then a shift per channel."""
    constants = 2 * tensor_bytes((shape[1], *[1] * (len(shape) - 2)))
    others = node_bytes("Mul", 2) + node_bytes("Add", 2) + constants
    return _Node("", reads, writes, others=others, channels=shape[1], normalises=True)


def _folded(nodes: Sequence[_Node], uses: Mapping[int, int]) -> list[_Node]:
    """Fold each normalisation into the convolution or matrix product before it, as a bias, if it is the only reader.

    Likewise the padding of an image into the convolution that reads it.
    """
    producers: dict[int, _Node] = {}
    kept: list[_Node] = []
    for node in nodes:
        if node.op_type == "Conv" and uses[node.reads[0]] == 1:
            padding = producers.get(node.reads[0])
            if padding is not None and padding.op_type == "Pad":
                node.reads = (padding.reads[0], *node.reads[1:])
                kept.remove(padding)
        producer = producers.get(node.reads[0]) if node.normalises and uses[node.reads[0]] == 1 else None
        if producer is not None and producer.op_type in _ABSORBING:
            if len(producer.weights) == 1:
                producer.weights += (_Weight(-node.writes, (node.channels,)),)
            producer.writes = node.writes
            producers[node.writes] = producer
        else:
            producers[node.writes] = node
            kept.append(node)
    return kept


def _fused(nodes: Sequence[_Node], uses: Mapping[int, int]) -> list[_Node]:
    """Replace each written-out activation by its operator."""
    found = find_activations(nodes, uses)
    gone = {value for fused in found for value in fused.inner}
    made = {f.last.writes: _Node(f.op_type, (f.source,), f.last.writes, attributes=f.attributes) for f in found}
    return [made.get(node.writes, node) for node in nodes if node.writes not in gone]


def _float_bytes(nodes: Iterable[_Node], weight: Callable[[_Node, _Weight], int]) -> int:
    return sum(node.own_bytes for node in nodes) + _weight_bytes(nodes, weight)


def _integer_bytes(nodes: Iterable[_Node], uses: Mapping[int, int], ends: AbstractSet[int]) -> int:
    """As `_float_bytes`, for the 8-bit file. Values at the `ends` of the network stay in float32: they have no pair."""
    eight_bit: set[int] = set()
    kept = []
    for node in nodes:
        if node.op_type in _VANISHING and node.reads[0] in eight_bit and uses[node.reads[0]] == 1:
            eight_bit.remove(node.reads[0])
            eight_bit.add(node.writes)
            continue
        kept.append(node)
        if node.op_type in _QUANTISED:
            eight_bit.update(node.reads, (node.writes,))
    pairs = len(eight_bit - ends) * _PAIR
    return pairs + sum(node.own_bytes for node in kept) + _weight_bytes(kept, _integer_weight)


def _weight_bytes(nodes: Iterable[_Node], size: Callable[[_Node, _Weight], int]) -> int:
    """Bytes of the weights of all nodes: small weights once per use, large ones once."""
    small, large = 0, {}
    for node in nodes:
        for weight in node.weights:
            if weight.is_small:
                small += size(node, weight)
            else:
                large[weight.owner] = size(node, weight)
    return small + sum(large.values())


def _float_weight(_: _Node, weight: _Weight) -> int:
    return tensor_bytes(weight.shape, weight.element_bytes)


def _half_weight(node: _Node, weight: _Weight) -> int:
    """A large matrix or table in float16, and the node that casts it."""
    if not _is_narrowed(node, weight):
        return _float_weight(node, weight)
    return tensor_bytes(weight.shape, _HALF) + _CAST


def _scaled_weight(node: _Node, weight: _Weight) -> int:
    """A large matrix or table in 8 bits, a scale per output channel or column, and the nodes that cast and scale it."""
    if not _is_narrowed(node, weight):
        return _float_weight(node, weight)
    table = node.op_type in _LOOKUPS
    scale = weight.shape[1:] if table else (node.channels, *[1] * (len(weight.shape) - 1))
    return tensor_bytes(weight.shape, _BYTE) + tensor_bytes(scale) + _CAST + node_bytes("Mul", 2)


def _is_narrowed(node: _Node, weight: _Weight) -> bool:
    return node.op_type in _QUANTISED | _LOOKUPS and len(weight.shape) > 1 and weight.elements >= NARROWED_ELEMENTS


def _integer_weight(node: _Node, weight: _Weight) -> int:
    """A matrix in 8 bits, a bias in 32 bits, each with a scale per output channel; products also have zero points."""
    if node.op_type not in _QUANTISED:
        return _scaled_weight(node, weight)
    is_matrix, channels = len(weight.shape) > 1, (node.channels,)
    has_zeros = is_matrix and node.op_type != "Conv"
    dequantised = node_bytes("DequantizeLinear", 3 if has_zeros else 2, _AXIS)
    stored = tensor_bytes(weight.shape, _BYTE if is_matrix else _INT32) + tensor_bytes(channels)
    return dequantised + stored + (tensor_bytes(channels, _BYTE) if has_zeros else 0)
