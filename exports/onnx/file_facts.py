"""What an ONNX file says about itself: its opset, its operators, and the precision in which it stores its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles.engine import Precision
from exports.onnx.graphs import all_graphs, operator_name
from exports.onnx.onnx_file import read_onnx, standard_opset


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What an ONNX file says about itself.

    Attributes:
        opset: The opset of the standard domain.
        operators: The names of its operators, sorted, each once; those of another domain as `domain.Name`.
        precision: The precision, by its operators and by the types of its constants.
    """

    opset: int
    operators: tuple[str, ...]
    precision: Precision


def file_facts(path: Path) -> FileFacts:
    """The facts of the file at `path`. Raises `EngineError` if it is not an ONNX file."""
    model = read_onnx(path)
    operators = {operator_name(node) for graph in all_graphs(model.graph) for node in graph.node}
    return FileFacts(
        opset=standard_opset(model),
        operators=tuple(sorted(operators)),
        precision=_precision(operators, set(_weight_types(model.graph))),
    )


def _precision(operators: set[str], types: set[int]) -> Precision:
    """`int8` has operators that quantise activations; weights of few bits without them are decoded at load."""
    import onnx

    if "QuantizeLinear" in operators:
        return "int8"
    if onnx.TensorProto.INT8 in types:
        return "int8_weights"
    return "fp16" if onnx.TensorProto.FLOAT16 in types else "fp32"


def _weight_types(graph: Any) -> Iterator[int]:
    for part in all_graphs(graph):
        for tensor in part.initializer:
            yield tensor.data_type
