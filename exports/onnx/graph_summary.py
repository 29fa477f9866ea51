"""What an ONNX file holds: its layers with shapes, MACs and stored bytes, and what part of the file is weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exports.onnx.graph_memory import Timeline, memory_timeline, with_shapes
from exports.onnx.graphs import operator_name
from exports.onnx.onnx_file import read_onnx, standard_opset
from factory_base.errors import EngineError
from factory_base.foreign import printable

_FLOATS: Final = {1: "fp32", 10: "fp16", 11: "fp64", 16: "bf16"}
_INTEGERS: Final = {2: "uint8", 3: "int8"}
"""Element types of weights by their numbers in `onnx.proto`. Other types hold shapes and indices."""
_QUANTISERS: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})
_CONVOLUTIONS: Final = frozenset({"Conv", "ConvTranspose"})
_PRODUCTS: Final = frozenset({"Gemm", "MatMul"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """An input or output of a file: its name, element type as ONNX writes it, and shape with names of dynamic axes."""

    name: str
    element_type: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An operator that runs on activations. One that quantises or dequantises is none if its neighbours do it.

    Attributes:
        name: The node's name, or its first output if it has none.
        operator: The operator, with its domain if that is not the standard one.
        output: The first value that it computes.
        shape: The shape of that value at batch 1; empty if it depends on data.
        macs: Multiply-accumulate operations; 0 for an operator without any.
        weight_bytes: The bytes of the constants that it reads, as they are stored. Constants that several layers read
            count for the first.
        precision: `fp32`, or `int8` if it computes in integers; `fp16 weights` and `int8 weights` if it computes in
            float32 from weights that are stored so.
    """

    name: str
    operator: str
    output: str
    shape: tuple[int, ...]
    macs: int
    weight_bytes: int
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSummary:
    """An ONNX file.

    Attributes:
        file: Its name.
        file_bytes: Its size.
        external_bytes: The sizes of the files beside it that hold weights, by name.
        weight_bytes: The bytes of all constants, each counted once, wherever they are stored.
        opset: The opset of the standard domain.
        inputs: The inputs of the graph.
        outputs: The outputs of the graph.
        layers: The operators on activations, in the order of the file.
        operators: How often the file holds each operator, those on constants included.
        timeline: The memory of a run; None if shapes depend on data.
    """

    file: str
    file_bytes: int
    external_bytes: dict[str, int]
    weight_bytes: int
    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    layers: tuple[Layer, ...]
    operators: dict[str, int]
    timeline: Timeline | None

    @property
    def total_bytes(self) -> int:
        """The bytes of the file and of those beside it."""
        return self.file_bytes + sum(self.external_bytes.values())

    @property
    def weight_share(self) -> float:
        """What part of all these bytes is constants; the rest is the graph."""
        return self.weight_bytes / self.total_bytes

    @property
    def macs(self) -> int:
        """The MACs of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def precision(self) -> str:
        """The precision of the layers with MACs: that of the most MACs first, `int8, fp32` if there are several."""
        macs: Counter[str] = Counter()
        for layer in self.layers:
            if layer.macs:
                macs[layer.precision] += layer.macs
        return ", ".join(name for name, _ in macs.most_common()) or "fp32"


def summarise(path: Path) -> GraphSummary:
    """Read the ONNX file at `path`. It is not run, and weights stored beside it are not read.

    Raises:
        EngineError: It is not an ONNX file, its shapes contradict each other, or weights beside it are missing.
    """
    if not path.is_file():
        raise EngineError(f"{printable(str(path))}: the file does not exist; name an ONNX file or a family's folder")
    model = read_onnx(path)
    external = _external_bytes(model, path)
    timeline = _timeline(path)
    graph = _Summary(model, path.name, timeline)
    return GraphSummary(
        file=path.name,
        file_bytes=path.stat().st_size,
        external_bytes=external,
        weight_bytes=sum(_tensor_bytes(tensor) for tensor in model.graph.initializer),
        opset=standard_opset(model),
        inputs=tuple(_info(value) for value in model.graph.input if value.name not in graph.constants),
        outputs=tuple(_info(value) for value in model.graph.output),
        layers=graph.layers(),
        operators=dict(Counter(operator_name(node) for node in model.graph.node).most_common()),
        timeline=timeline,
    )


class _Summary:
    """The nodes of a ModelProto, which of its values are constants, and what is known of the others."""

    def __init__(self, model: Any, file: str, timeline: Timeline | None) -> None:
        self._graph = model.graph
        self._steps = frozenset(timeline.steps if timeline is not None else ())
        self._int8 = frozenset(timeline.int8 if timeline is not None else ())
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._producers = {name: node for node in model.graph.node for name in node.output if name}
        self._readers = {name: node for node in model.graph.node for name in node.input}
        self.constants = {*self._tensors, ""}
        for node in model.graph.node:
            if self.constants.issuperset(node.input):
                self.constants.update(node.output)
        self._types = _types(model, file)
        self._counted: set[str] = set()

    def layers(self) -> tuple[Layer, ...]:
        """One for each node on activations, if it does more than quantise or runs on its own."""
        return tuple(
            self._layer(node)
            for node in self._graph.node
            if not self.constants.issuperset(node.output)
            and (node.op_type not in _QUANTISERS or node.output[0] in self._steps)
        )

    def _layer(self, node: Any) -> Layer:
        stored = [tensor for name in node.input if name in self.constants for tensor in self._stored(name)]
        quantised = [t for name in (*node.input, *node.output) for t in self._quantisation(name, node)]
        return Layer(
            name=node.name or node.output[0],
            operator=operator_name(node),
            output=node.output[0],
            shape=self._shape(node.output[0]),
            macs=self._macs(node),
            weight_bytes=sum(self._once(tensor) for tensor in (*stored, *quantised)),
            precision=self._precision(node, stored),
        )

    def _stored(self, name: str) -> list[Any]:
        """The constants in the file that the constant `name` is made from."""
        if name in self._tensors:
            return [self._tensors[name]]
        node = self._producers.get(name)
        return [] if node is None else [tensor for source in node.input for tensor in self._stored(source)]

    def _quantisation(self, name: str, node: Any) -> list[Any]:
        """The scale and zero point of an activation: of the pair that dequantises an input or quantises an output."""
        made = self._producers.get(name) if name in node.input else self._readers.get(name)
        if name in self.constants or made is None or made.op_type not in _QUANTISERS:
            return []
        pair = [made, self._producers.get(made.input[0])] if name in node.input else [made]
        found = [other for other in pair if other is not None and other.op_type in _QUANTISERS]
        return [self._tensors[source] for other in found for source in other.input[1:] if source in self._tensors]

    def _once(self, tensor: Any) -> int:
        if tensor.name in self._counted:
            return 0
        self._counted.add(tensor.name)
        return _tensor_bytes(tensor)

    def _precision(self, node: Any, stored: Sequence[Any]) -> str:
        activations = [name for name in node.input if name not in self.constants]
        made = [self._producers.get(name) for name in activations]
        dequantised = all(source is not None and source.op_type == "DequantizeLinear" for source in made)
        if node.output[0] in self._int8 or (dequantised and node.op_type in _CONVOLUTIONS | _PRODUCTS):
            return "int8"
        if node.op_type in _QUANTISERS:
            return "fp32"
        largest = max(stored, key=_tensor_bytes, default=None)
        kind = largest.data_type if largest is not None else 1
        name = _INTEGERS.get(kind) or _FLOATS.get(kind, "fp32")
        return name if name == "fp32" else f"{name} weights"

    def _macs(self, node: Any) -> int:
        if node.op_type not in _CONVOLUTIONS | _PRODUCTS or len(node.input) < 2:
            return 0
        first, second = self._shape(node.input[0]), self._shape(node.input[1])
        output = math.prod(self._shape(node.output[0]))
        if node.op_type == "Conv":
            return output * math.prod(second[1:])
        if node.op_type == "ConvTranspose":
            return math.prod(first) * math.prod(second[1:])
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return output * (first[-2 if transposed else -1] if first else 0)

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._types.get(name, ())


def _types(model: Any, file: str) -> dict[str, tuple[int, ...]]:
    """The static shapes of all values at batch 1."""

    known = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    graph = with_shapes(model, file)
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            known[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return known


def _timeline(path: Path) -> Timeline | None:
    try:
        return memory_timeline(path)
    except EngineError:
        return None


def _external_bytes(model: Any, path: Path) -> dict[str, int]:
    """The sizes of the files of weights beside `path`. Raises `EngineError` if one is missing or elsewhere."""
    names = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if tensor.data_location == 1 and entry.key == "location"
    }
    sizes = {}
    for name in sorted(names):
        target = path.parent / name
        if Path(name).is_absolute() or ".." in Path(name).parts or not target.is_file():
            raise EngineError(
                f"{path.name}: its weights are in {printable(name)}, which is not beside it; copy it there"
            )
        sizes[name] = target.stat().st_size
        if sizes[name] < _needed_bytes(model, name):
            raise EngineError(f"{path.name}: {printable(name)} is truncated: weights are missing; copy it again")
    return sizes


def _needed_bytes(model: Any, name: str) -> int:
    """How long the file `name` must be to hold all tensors that the model has there."""
    places = [{e.key: e.value for e in t.external_data} for t in model.graph.initializer if t.data_location == 1]
    ends = [int(p.get("offset", 0)) + int(p.get("length", 0)) for p in places if p.get("location") == name]
    return max(ends, default=0)


def _tensor_bytes(tensor: Any) -> int:
    import onnx

    return int(math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _info(value: Any) -> TensorInfo:
    import onnx

    kind = value.type.tensor_type
    return TensorInfo(
        name=value.name,
        element_type=onnx.TensorProto.DataType.Name(kind.elem_type).lower(),
        shape=tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim),
    )
