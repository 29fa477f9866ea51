"""The memory that an exported ONNX file needs while it runs, predicted from the file alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from exports.onnx.arena import Buffer, plan_arena
from exports.onnx.onnx_file import first_line, read_onnx
from factory_base.errors import EngineError
from factory_base.quantities import format_bytes

Executor = Literal["fused", "portable"]
"""How the engine runs a graph. In both cases operators run in the order of the file, none of them in place, and views
take no memory.

`fused`, like ONNX Runtime, XNNPACK and LiteRT: an activation that is the only consumer of a convolution or matrix
product is part of it. An operator between DequantizeLinear and QuantizeLinear reads and writes int8 if ONNX Runtime has
an int8 kernel for it; otherwise the float values exist too.

`portable`, like ExecuTorch's portable kernels: nothing is fused, and a hard-swish is decomposed into the operators of
core ATen, which hold three tensors of its size at once: `x`, `x + 3`, and `x + 3` clamped.
"""

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh"})
_VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
_INT8 = _WEIGHTED | _VIEWS | frozenset(
    {"Add", "Mul", "AveragePool", "GlobalAveragePool", "MaxPool", "LeakyRelu", "Sigmoid", "Softmax", "Concat",
     "Resize", "Transpose"}
)  # fmt: skip
_HARD_SWISH_LIVES = ((0, 4), (1, 2), (2, 3), (3, 4), (4, 5))
"""First and last step of each tensor between input and output: a copy of `x`, `x + 3`, clamped from below, clamped from
above, and the product with the copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphMemory:
    """The memory that one run of a file needs at batch 1.

    Attributes:
        executor: The kind of engine that the arena is for.
        holds_input: Whether the arena includes the network's input, until its last use. LiteRT's does; in ONNX Runtime
            and ExecuTorch the caller keeps the input.
        arena_bytes: The size of the arena of the activations, by the best plan found.
        bound_bytes: The lower bound of any plan: the most bytes that are live at one step.
        input_bytes: The size of the network's input.
        weight_bytes: The size of the constants stored in the file, each counted once.
    """

    executor: Executor
    holds_input: bool
    arena_bytes: int
    bound_bytes: int
    input_bytes: int
    weight_bytes: int

    @property
    def is_optimal(self) -> bool:
        """Whether no plan for this executor can need less."""
        return self.arena_bytes == self.bound_bytes

    @property
    def over_bound(self) -> float:
        """The arena divided by its lower bound, at least 1."""
        return self.arena_bytes / self.bound_bytes if self.bound_bytes else 1.0

    def describe(self) -> str:
        """One phrase for users: `arena 2.34 MiB, optimal` or `arena 2.6 MiB, 1.11 times the lower bound`."""
        if self.is_optimal:
            return f"arena {format_bytes(self.arena_bytes)}, optimal"
        # below 1.005, two decimals would show 1.00, as if the plan were optimal
        ratio = f"{self.over_bound:.2f}" if self.over_bound >= 1.005 else "less than 1.01"
        return f"arena {format_bytes(self.arena_bytes)}, {ratio} times the lower bound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """An activation in the arena.

    Attributes:
        name: The value that is written there first; views and fused operators share the memory.
        buffer: Its size, and the steps that write it and read it last. Step 0 is the network's input, and step n the
            n-th of `Timeline.steps`, after which one more step hands over the outputs.
        offset: Bytes from the start of the arena.
    """

    name: str
    buffer: Buffer
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The arena of one run, step by step, of an engine that fuses and does not hold the input (ONNX Runtime).

    Attributes:
        steps: The operators that run, by the first value that each writes; views and fused ones are left out.
        names: The names of their nodes, or these values again if nodes have no names.
        int8: The values that are computed in integers.
        activations: What lies in the arena.
        arena_bytes: The size of the arena.
        bound_bytes: The lower bound of any plan.
    """

    steps: tuple[str, ...]
    names: tuple[str, ...]
    int8: tuple[str, ...]
    activations: tuple[Activation, ...]
    arena_bytes: int
    bound_bytes: int

    def live_bytes(self) -> tuple[int, ...]:
        """The bytes that are live at each of `steps`."""
        return tuple(
            sum(a.buffer.size_bytes for a in self.activations if a.buffer.first <= step <= a.buffer.last)
            for step in range(1, len(self.steps) + 1)
        )


def memory_timeline(path: Path, *, holds_input: bool = False) -> Timeline:
    """What lies in the arena while the ONNX file at `path` runs once at batch 1. Raises `EngineError` as `plan_graph`.

    Args:
        path: The ONNX file.
        holds_input: Whether the arena includes the network's input.
    """
    graph = _Graph(read_onnx(path), path.name)
    lives = _Lives(graph, "fused")
    buffers = lives.buffers(holds_input)
    plan = plan_arena(buffers)
    return Timeline(
        steps=tuple(node.outputs[0] for node in lives.steps),
        names=tuple(node.name or node.outputs[0] for node in lives.steps),
        int8=tuple(sorted(lives.int8)),
        activations=tuple(
            Activation(name=name, buffer=buffer, offset=offset)
            for name, buffer, offset in zip(lives.names, buffers, plan.offsets, strict=True)
        ),
        arena_bytes=plan.arena_bytes,
        bound_bytes=plan.bound_bytes,
    )


def plan_graph(path: Path, *, executor: Executor = "fused", holds_input: bool = True) -> GraphMemory:
    """Plan the activations of the ONNX file at `path`, float or QDQ int8; a dynamic batch counts as 1.

    With the defaults, the result corresponds to `Workload.arena_elements`, which is computed before the export.

    Args:
        path: The ONNX file.
        executor: The kind of engine.
        holds_input: Whether the arena includes the network's input.

    Raises:
        EngineError: It is not an ONNX file, or it has branches, loops, or shapes that depend on data.
    """
    graph = _Graph(read_onnx(path), path.name)
    lives = _Lives(graph, executor)
    plan = plan_arena(lives.buffers(holds_input))
    return GraphMemory(
        executor=executor,
        holds_input=holds_input,
        arena_bytes=plan.arena_bytes,
        bound_bytes=plan.bound_bytes,
        input_bytes=sum(graph.size_of(name) for name in graph.inputs),
        weight_bytes=graph.weight_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Node:
    """An operator on activations; its constant inputs are left out."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    permutation: tuple[int, ...]


class _Graph:
    """The operators on activations of a ModelProto, and the shape, the producer and the readers of every value."""

    def __init__(self, model: Any, file: str) -> None:
        self._file = file
        constants = {tensor.name for tensor in model.graph.initializer}
        self.inputs = [value.name for value in model.graph.input if value.name not in constants]
        self.outputs = [value.name for value in model.graph.output]
        self.weight_bytes = sum(_bytes(tensor.dims, tensor.data_type) for tensor in model.graph.initializer)
        self._types = self._inferred(model)
        self.nodes = list(self._activation_nodes(model.graph.node, constants | {""}))
        self.producers = {name: node for node in self.nodes for name in node.outputs}
        self.reads = Counter([*self.outputs, *(name for node in self.nodes for name in node.inputs)])
        self.readers: dict[str, list[_Node]] = {name: [] for name in self.reads}
        for node in self.nodes:
            for name in node.inputs:
                self.readers[name].append(node)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of an activation. Raises `EngineError` if it depends on data."""
        found = self._types.get(name)
        if (
            found is None
            or not found.HasField("shape")
            or any(not dim.HasField("dim_value") for dim in found.shape.dim)
        ):
            raise EngineError(
                f"{self._file}: the shape of {name!r} depends on data; memory can be planned for fixed shapes only"
            )
        return tuple(dim.dim_value for dim in found.shape.dim)

    def size_of(self, name: str) -> int:
        """The bytes of an activation. Raises `EngineError` if its shape depends on data."""
        return _bytes(self.shape_of(name), self._types[name].elem_type)

    def only_reader(self, name: str) -> _Node | None:
        """The only operator that reads an activation; None if there are several, or if it is an output of the graph."""
        readers = self.readers.get(name, [])
        return readers[0] if self.reads[name] == len(readers) == 1 else None

    def is_view(self, node: _Node) -> bool:
        """Whether the output has the same bytes as the input. A transposition does if it moves only axes of size 1."""
        if node.kind == "Transpose" and node.inputs:
            shape = self.shape_of(node.inputs[0])
            moved = [axis for axis in node.permutation if shape[axis] != 1]
            return bool(node.permutation) and moved == sorted(moved)
        return node.kind in _VIEWS

    def is_activation_of_weights(self, node: _Node) -> bool:
        """Whether it is an activation that is the only consumer of a convolution or matrix product."""
        if node.kind not in _ACTIVATIONS or len(node.inputs) != 1 or node.inputs[0] not in self.producers:
            return False
        return self.producers[node.inputs[0]].kind in _WEIGHTED and self.only_reader(node.inputs[0]) is node

    def _inferred(self, model: Any) -> dict[str, Any]:
        graph = with_shapes(model, self._file)
        return {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info, *graph.output)}

    def _activation_nodes(self, nodes: Any, constants: set[str]) -> Iterator[_Node]:
        """The operators that depend on activations; engines compute the others once, when they load a file."""
        for node in nodes:
            attributes = {attribute.name: attribute for attribute in node.attribute}
            if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
                raise EngineError(
                    f"{self._file}: has the operator {node.op_type}; memory can be planned without branches only"
                )
            inputs = tuple(name for name in node.input if name not in constants)
            if not inputs:
                constants |= set(node.output)
                continue
            permutation = tuple(attributes["perm"].ints) if "perm" in attributes else ()
            yield _Node(node.name, node.op_type, inputs, tuple(name for name in node.output if name), permutation)


def _bytes(shape: Any, element_type: int) -> int:
    import onnx

    return int(math.prod(shape) * onnx.helper.tensor_dtype_to_np_dtype(element_type).itemsize)


class _Lives:
    """The steps at which an executor writes the activations of a graph and reads them last."""

    def __init__(self, graph: _Graph, executor: Executor) -> None:
        self._graph = graph
        self._executor = executor
        self.int8 = {name for node in graph.nodes if self._runs_in_int8(node) for name in node.outputs}
        self._clock = 0
        self._holders: dict[str, int] = {}
        self._buffers: list[Buffer] = []
        self.names: list[str] = []
        """The values that are written to the buffers, in their order."""
        self.steps: list[_Node] = []
        """The operators that run."""

    def buffers(self, holds_input: bool) -> list[Buffer]:
        """One buffer per activation that has its own memory."""
        if holds_input:
            for name in self._graph.inputs:
                self._write(name, self._graph.size_of(name))
        for node in self._graph.nodes:
            self._run(node)
        self._clock += 1
        for name in self._graph.outputs:
            self._read(name)
        return self._buffers

    def _run(self, node: _Node) -> None:
        sources = [self._source(node, name) for name in node.inputs]
        if self._is_free(node):
            self._holders |= {name: self._holders[sources[0]] for name in node.outputs if sources[0] in self._holders}
            return
        self._clock += 1
        self.steps.append(node)
        for name in sources:
            self._read(name)
        if node.kind == "HardSwish" and self._executor == "portable":
            self._hard_swish(self._graph.size_of(node.outputs[0]))
        for name in node.outputs:
            self._write(name, self._graph.size_of(self._stored(name)))

    def _is_free(self, node: _Node) -> bool:
        """Whether the output shares the memory of the input."""
        if self._graph.is_view(node):
            return True
        if self._executor == "portable":
            return False
        if node.kind == "QuantizeLinear":
            return self._before_activation(node.inputs[0]) in self.int8
        if node.kind == "DequantizeLinear":
            readers = self._graph.readers.get(node.outputs[0], [])
            return len(readers) == self._graph.reads[node.outputs[0]] and all(map(self._is_int8, readers))
        return self._graph.is_activation_of_weights(node)

    def _is_int8(self, node: _Node) -> bool:
        return self.int8.issuperset(node.outputs)

    def _runs_in_int8(self, node: _Node) -> bool:
        """Whether all its inputs are dequantised, and each output is read by a quantisation alone."""
        made = [self._graph.producers.get(name) for name in node.inputs]
        return (
            self._executor == "fused"
            and node.kind in _INT8
            and all(producer is not None and producer.kind == "DequantizeLinear" for producer in made)
            and all(self._quantised(name) for name in node.outputs)
        )

    def _quantised(self, name: str) -> str:
        """The int8 form of a value that is read in no other form; "" if there is no such form."""
        reader = self._graph.only_reader(name)
        if reader is not None and self._graph.is_activation_of_weights(reader):
            reader = self._graph.only_reader(reader.outputs[0])
        return reader.outputs[0] if reader is not None and reader.kind == "QuantizeLinear" else ""

    def _before_activation(self, name: str) -> str:
        node = self._graph.producers.get(name)
        return node.inputs[0] if node is not None and self._graph.is_activation_of_weights(node) else name

    def _source(self, node: _Node, name: str) -> str:
        """The value that is read: the int8 form of `name` if the operator runs in int8."""
        return self._graph.producers[name].inputs[0] if self._is_int8(node) else name

    def _stored(self, name: str) -> str:
        """The value that is written: the int8 form of `name` if the operator runs in int8."""
        return self._quantised(name) if name in self.int8 else name

    def _read(self, name: str) -> None:
        if name in self._holders:
            buffer = self._buffers[self._holders[name]]
            held = Buffer(size_bytes=buffer.size_bytes, first=buffer.first, last=self._clock)
            self._buffers[self._holders[name]] = held

    def _write(self, name: str, size: int) -> None:
        self._holders[name] = len(self._buffers)
        self.names.append(name)
        self._buffers.append(Buffer(size_bytes=size, first=self._clock, last=self._clock))

    def _hard_swish(self, size: int) -> None:
        start = self._clock
        for first, last in _HARD_SWISH_LIVES:
            self.names.append("")
            self._buffers.append(Buffer(size_bytes=size, first=start + first, last=start + last))
        self._clock = start + len(_HARD_SWISH_LIVES)


def with_shapes(model: Any, file: str) -> Any:
    """A copy of the graph of a ModelProto with the types of all values, at batch 1. `model` is not changed.

    Args:
        model: The ModelProto.
        file: Its name for messages.

    Raises:
        EngineError: The shapes cannot be inferred.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        for dim in value.type.tensor_type.shape.dim[:1]:
            dim.dim_value = dim.dim_value or 1
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    del copy.graph.value_info[:]
    try:
        return onnx.shape_inference.infer_shapes(copy, strict_mode=True, data_prop=True).graph
    except Exception as error:  # its error types are private to its extension module
        raise EngineError(f"{file}: the shapes cannot be inferred ({first_line(error)})") from error
