"""What is in an ONNX graph: the graphs inside it, its constants, and the full names of its operators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray


def all_graphs(graph: Any) -> Iterator[Any]:
    """`graph` and the graphs inside its nodes (branches, loops)."""
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from all_graphs(inner)


def inner_graphs(node: Any) -> Iterator[Any]:
    """The graphs that are attributes of a node."""
    for attribute in node.attribute:
        yield from [attribute.g] if attribute.HasField("g") else attribute.graphs


def constant_values(graph: Any) -> dict[str, NDArray[Any]]:
    """The constants of a graph by name, without those of the graphs inside it."""
    import onnx

    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def operator_name(node: Any) -> str:
    """The operator of a node; one of another domain than the standard one as `domain.Name`."""
    return str(node.op_type) if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
