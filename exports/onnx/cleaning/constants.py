"""Removes operators that need not run: on constants or static shapes, without effect, or with unused outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exports.onnx.graphs import all_graphs, inner_graphs

_KEPT: Final = frozenset(
    {"DequantizeLinear", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli",
     "Multinomial"}
)  # fmt: skip
"""Operators on constants that stay: weights stored as integers, and random numbers."""
_SMALL_BYTES: Final = 4096
"""Constants up to this size are folded even if the operator that makes them takes less space in the file."""


def fold_constants(model: Any) -> bool:
    """Replace operators by constants if their inputs are constants, or if they ask for a static shape.

    An operator whose result is larger than its inputs stays, unless the result is small, so that the file does not
    grow. Returns whether an operator was replaced.
    """
    import onnx

    graph = model.graph
    shapes, constants = _static_shapes(graph), {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    kept = []
    for node in graph.node:
        values = _folded(node, constants, shapes, model)
        if values is None:
            kept.append(node)
            continue
        named = {name: value for name, value in zip(node.output, values, strict=False) if name}
        constants |= named
        graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in named.items())
    changed = len(kept) < len(graph.node)
    del graph.node[:]
    graph.node.extend(kept)
    return changed


def remove_no_ops(graph: Any) -> bool:
    """Remove operators that return their input, unless it would have to be an input and an output of the graph.

    Returns whether one was removed.
    """
    shapes, ends = _static_shapes(graph), {value.name for value in graph.output}
    made = {name for node in graph.node for name in node.output}
    kept = []
    for node in graph.node:
        source, target = node.input[:1], node.output[0]
        if not _is_no_op(node, shapes) or (target in ends and (source[0] in ends or source[0] not in made)):
            kept.append(node)
        elif target in ends:
            _replace(graph, source[0], target)
        else:
            _replace(graph, target, source[0])
    changed = len(kept) < len(graph.node)
    del graph.node[:]
    graph.node.extend(kept)
    return changed


def remove_unused(graph: Any) -> None:
    """Remove operators that lead to no output, and constants that no operator reads."""
    used = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            kept.append(node)
            used.update(node.input)
            used |= {name for inner in inner_graphs(node) for part in all_graphs(inner) for name in _read(part)}
    del graph.node[:]
    graph.node.extend(kept[::-1])
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def _folded(
    node: Any, constants: dict[str, NDArray[Any]], shapes: dict[str, tuple[int, ...]], model: Any
) -> list[NDArray[Any]] | None:
    """The outputs of a node that need not run; None if it must."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "Shape" and node.input[0] in shapes:
        given = {attribute.name: attribute.i for attribute in node.attribute}
        return [np.array(shapes[node.input[0]][given.get("start", 0) : given.get("end")], np.int64)]
    inputs = [name for name in node.input if name]
    if node.op_type in _KEPT or any(name not in constants for name in inputs) or any(inner_graphs(node)):
        return None
    values = [onnx.helper.make_tensor_value_info(name, 0, None) for name in dict.fromkeys(inputs)]
    outputs = [onnx.helper.make_tensor_value_info(name, 0, None) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "constant", values, outputs)
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    try:
        results: list[Any] = list(ReferenceEvaluator(single).run(None, {name: constants[name] for name in inputs}))
    except Exception:  # an operator that the evaluator lacks stays in the file
        return None
    size, given_size = sum(value.nbytes for value in results), sum(constants[name].nbytes for name in inputs)
    return results if size <= max(given_size, _SMALL_BYTES) else None


def _is_no_op(node: Any, shapes: dict[str, tuple[int, ...]]) -> bool:
    source, target = (shapes.get(name, ()) for name in (*node.input[:1], *node.output[:1])) if node.input else ((), ())
    match node.op_type:
        case "Identity":
            return True
        case "Dropout":  # in inference; training is an input, which the exporter never gives
            return len(node.output) == 1 and len(node.input) < 3
        case "Reshape" | "Expand":
            return bool(source) and source == target
        case "Transpose":
            moved = [axis for attribute in node.attribute for axis in attribute.ints]
            return bool(moved) and moved == sorted(moved)
    return False


def _static_shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of all values whose sizes are known; an axis of any size is left out with its value."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return shapes


def _replace(graph: Any, old: str, new: str) -> None:
    for part in all_graphs(graph):
        for node in part.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
        for value in part.output if part is not graph else ():
            value.name = new if value.name == old else value.name


def _read(graph: Any) -> Iterator[str]:
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
