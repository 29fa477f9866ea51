"""Adding constant expressions to an ONNX graph in few bytes: parts of external tensors, factors, short names."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exports.onnx.cleaning.constants import remove_unused

Runs = tuple[tuple[int, int], ...]
"""Runs of indices on one axis, each from its start to before its end."""

_FOLDED = frozenset(["Cast", "Concat", "DequantizeLinear", "Div", "Mul", "QuantizeLinear", "Round", "Slice", "Split"])
"""Operators that engines run only if they stand between other operators, where they get a name from the engine."""

_DIGITS = string.ascii_letters + string.digits


class ConstantNodes:
    """Collects nodes that compute constants, to be put before the nodes of a graph; engines fold them when loading.

    Args:
        graph: The GraphProto to extend.
        file: The name of the file with external tensors, in the folder of the graph's file.
    """

    def __init__(self, graph: Any, file: str) -> None:
        self._graph, self._file = graph, file
        self._nodes: list[Any] = []
        self._numbers = count()
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._external: dict[tuple[int, tuple[int, ...]], str] = {}

    def external(self, shape: Sequence[int], dtype: np.dtype[Any], offset: int) -> str:
        """A tensor that begins at byte `offset` of the file; its name."""
        import onnx

        key = offset, tuple(shape)
        if key not in self._external:
            tensor = self._graph.initializer.add()
            tensor.name, tensor.data_type = self._name(), onnx.helper.np_dtype_to_tensor_dtype(dtype)
            tensor.dims.extend(shape)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            length = dtype.itemsize * int(np.prod(shape))
            for name, value in (("location", self._file), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=name, value=str(value))
            self._external[key] = tensor.name
        return self._external[key]

    def constant(self, values: NDArray[Any]) -> str:
        """A tensor in the graph itself; equal ones are stored once; its name."""
        import onnx

        key = values.dtype.str, values.shape, values.tobytes()
        if key not in self._known:
            self._known[key] = self._name()
            self._graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), self._known[key]))
        return self._known[key]

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The name of the output of a new node."""
        return self.nodes(operator, inputs, 1, **attributes)[0]

    def nodes(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """The names of the outputs of a new node with several of them."""
        import onnx

        names = [self._name() for _ in range(outputs)]
        self._nodes.append(onnx.helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def taken(self, tensor: str, shape: Sequence[int], runs: Sequence[Runs]) -> str:
        """The part of a tensor of the given shape that has the given runs on each axis."""
        for axis, several in enumerate(runs):
            if len(several) > 1:
                parts = [self._sliced(tensor, {axis: run}) for run in several]
                tensor = self.node("Concat", *parts, axis=axis)
        single = {axis: run[0] for axis, run in enumerate(runs) if len(run) == 1 and run[0] != (0, shape[axis])}
        return self._sliced(tensor, single) if single else tensor

    def _sliced(self, tensor: str, runs: dict[int, tuple[int, int]]) -> str:
        starts, ends = zip(*runs.values(), strict=True)
        lists = (np.array(values, np.int32) for values in (starts, ends, list(runs)))
        return self.node("Slice", tensor, *(self.constant(values) for values in lists))

    def finish(self) -> None:
        """Put the collected nodes at the start of the graph."""
        nodes = [*self._nodes, *self._graph.node]
        del self._graph.node[:]
        self._graph.node.extend(nodes)

    def _name(self) -> str:
        return f"shared {next(self._numbers)}"  # no name of an exported file has a space


def runs_of(indices: NDArray[np.intp]) -> Runs:
    """Rising indices as runs."""
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    return tuple((int(part[0]), int(part[-1]) + 1) for part in np.split(indices, breaks))


def shorten(graph: Any) -> None:
    """Give all values names of one or two characters where possible, and drop attributes that state the default.

    The names of the graph's inputs and outputs stay. Nodes that engines run are named like their first output, so that
    measurements can be assigned to them; nodes that engines fold or fuse have no name.
    """
    _merge_constants(graph)
    fixed = {value.name for value in (*graph.input, *graph.output)} | {""}
    used = Counter(name for node in graph.node for name in (*node.input, *node.output))
    fresh = (name for name in _short_names() if name not in fixed)
    names = {name: name if name in fixed else next(fresh) for name, _ in used.most_common()}
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    for node in graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.name = "" if node.op_type in _FOLDED else node.output[0]
        kept = [attribute for attribute in node.attribute if not _is_default(node.op_type, attribute)]
        del node.attribute[:]
        node.attribute.extend(kept)


def _merge_constants(graph: Any) -> None:
    """Store equal constants of the graph once."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    names = {}
    for tensor in graph.initializer:
        if tensor.HasField("raw_data"):
            names[tensor.name] = first.setdefault((tensor.data_type, tuple(tensor.dims), tensor.raw_data), tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    remove_unused(graph)


def _short_names() -> Iterator[str]:
    for length in count(1):
        yield from map("".join, product(_DIGITS[:52], *[_DIGITS] * (length - 1)))


def _is_default(operator: str, attribute: Any) -> bool:
    """Whether an attribute has the value that the specification assumes if it is absent."""
    import onnx

    if operator == "Conv":  # the specification states these defaults in words
        unit = {"strides": 1, "dilations": 1, "pads": 0}
        if attribute.name in unit:
            return all(value == unit[attribute.name] for value in attribute.ints)
    default = onnx.defs.get_schema(operator).attributes[attribute.name].default_value
    value_of = onnx.helper.get_attribute_value
    return bool(default.type == attribute.type and value_of(default) == value_of(attribute))
