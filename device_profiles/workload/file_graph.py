"""The graph of an ONNX file, as far as its size goes, built from the ATen calls of a network. Imports no torch.

A value of the graph is the output of a node; a view that a file has a node for makes a new one. The 8-bit file is what
`exports.onnx.quantise` makes of the float32 file: convolutions and matrix products read and write 8-bit values, each
through a pair of nodes, and keep their weights as integers with a scale per channel.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device_profiles.workload.exported import PRODUCTS, RESHAPES, Exported, exported_call, exported_view
from device_profiles.workload.file_size import SMALL_ELEMENTS, FileContent, attribute_bytes, node_bytes, tensor_bytes

if TYPE_CHECKING:
    from torch import Tensor

_QUANTISED = frozenset({"Conv", "Gemm", "MatMul"})
_ABSORBING = frozenset({"Conv", "ConvTranspose", "Gemm"})
_VANISHING = frozenset({"Clip", "Relu"})
"""They disappear into the range of the 8-bit value that they follow."""
_FREE_VIEWS = frozenset({"detach", "alias", "lift_fresh"})

_BYTE, _INT32 = 1, 4
_PAIR = (
    node_bytes("QuantizeLinear", 3)
    + node_bytes("DequantizeLinear", 3)
    + 2 * (tensor_bytes(()) + tensor_bytes((), _BYTE))
)
"""Of an 8-bit value: two nodes, each with a scale and a zero point."""
_DEQUANTISED = node_bytes("DequantizeLinear", 3, attribute_bytes("axis", 1))


@dataclass(frozen=True, slots=True)
class _Weight:
    """A constant that was a tensor of the network; views of one tensor have one owner."""

    owner: int
    shape: tuple[int, ...]
    element_bytes: int = 4

    @property
    def is_small(self) -> bool:
        return math.prod(self.shape) <= SMALL_ELEMENTS


@dataclass(slots=True)
class _Node:
    """A node, still open to folding.

    Attributes:
        op_type: "" where `others` say all.
        reads: values.
        writes: a value.
        attributes: their bytes.
        others: bytes of further nodes and of numbers.
        numbers: how many of its inputs are numbers.
        channels: of the output of a convolution or matrix product, or of a normalisation.
        normalises: whether a convolution or matrix product before it can absorb it.
    """

    op_type: str
    reads: tuple[int, ...]
    writes: int
    weights: tuple[_Weight, ...] = ()
    attributes: int = 0
    others: int = 0
    numbers: int = 0
    channels: int = 0
    normalises: bool = False

    @property
    def own_bytes(self) -> int:
        """Without the weights."""
        if not self.op_type:
            return self.others
        inputs = len(self.reads) + len(self.weights) + self.numbers
        return self.others + node_bytes(self.op_type, inputs, self.attributes)


class FileGraph:
    """The graph of a network whose input is `image`. Tensors are told apart by `id`: the caller keeps them alive."""

    def __init__(self, image: Tensor) -> None:
        self._values = {id(image): 0}
        self._count = 1
        self._nodes: list[_Node] = []
        self._flattened: dict[int, _Node] = {}
        self._products: set[int] = set()

    def add_view(self, name: str, source: Tensor, outputs: Sequence[Tensor]) -> None:
        """Note a view of `source`; `name` as in `exported_call`.

        A matrix product of more than two axes is one node of a file, but PyTorch flattens its arguments before and
        unflattens its result: such views leave no node.
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
        """Note a call that computes; `name` and `args` as in `exported_call`.

        Args:
            inputs: those of its tensors that depend on the network's input.
            constants: the other ones, with a number that is the same for views of one tensor.
            output: its first result.
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
        """Bytes of all nodes and constants; `outputs` are the network's. To be asked once."""
        ends = {self._value_of(tensor) for tensor in outputs}
        uses = Counter([value for node in self._nodes for value in node.reads] + list(ends))
        nodes = _folded(self._nodes, uses)
        return FileContent(fp32=_float_bytes(nodes), int8=_integer_bytes(nodes, uses, ends))

    def _add_call(self, call: Exported, reads: tuple[int, ...], weights: tuple[_Weight, ...], output: Tensor) -> None:
        if not call.op_type and not call.others:
            self._values[id(output)] = reads[0]
            return
        node = _Node(call.op_type, reads, self._new(output), weights, call.attributes, call.others, call.numbers)
        node.channels = output.shape[1] if call.op_type == "Conv" else 0
        self._nodes.append(node)

    def _add_product(self, name: str, reads: tuple[int, ...], weights: tuple[_Weight, ...], output: Tensor) -> None:
        views = [view for view in (self._flattened.pop(value, None) for value in reads) if view]
        sources = {view.writes: view.reads[0] for view in views}
        for view in views:  # a node no more
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
        """A new one for what was made unseen: a further output, a constant that was written into."""
        return self._values[id(tensor)] if id(tensor) in self._values else self._new(tensor)

    def _new(self, tensor: Tensor) -> int:
        self._values[id(tensor)] = self._count
        self._count += 1
        return self._count - 1


def _normalisation(reads: tuple[int, ...], shape: Sequence[int], writes: int) -> _Node:
    """Where nothing absorbs it: a scale, then a shift per channel."""
    constants = 2 * tensor_bytes((shape[1], *[1] * (len(shape) - 2)))
    others = node_bytes("Mul", 2) + node_bytes("Add", 2) + constants
    return _Node("", reads, writes, others=others, channels=shape[1], normalises=True)


def _folded(nodes: Sequence[_Node], uses: Mapping[int, int]) -> list[_Node]:
    """Normalisations go into a convolution or matrix product that only they read, as its bias."""
    producers: dict[int, _Node] = {}
    kept = []
    for node in nodes:
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


def _float_bytes(nodes: Iterable[_Node]) -> int:
    return sum(node.own_bytes for node in nodes) + _weight_bytes(nodes, _float_weight)


def _integer_bytes(nodes: Iterable[_Node], uses: Mapping[int, int], ends: AbstractSet[int]) -> int:
    """As `_float_bytes`. Who reads a value at the end of the network counts whether it is an 8-bit one."""
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
    """Of all nodes: small ones once per use, large ones once."""
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


def _integer_weight(node: _Node, weight: _Weight) -> int:
    """A matrix in bytes, a bias in 32 bits; a scale and a zero point, as wide as the weights, per output channel."""
    if node.op_type not in _QUANTISED:
        return _float_weight(node, weight)
    width = _BYTE if len(weight.shape) > 1 else _INT32
    channels = (node.channels,)
    return _DEQUANTISED + tensor_bytes(weight.shape, width) + tensor_bytes(channels) + tensor_bytes(channels, width)
