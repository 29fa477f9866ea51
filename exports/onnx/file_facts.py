"""What an ONNX file says about itself: its opset, its operators, and the precision in which it stores its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles.engine import Precision
from device_profiles.workload.file_size import NARROWED_ELEMENTS
from exports.onnx.graphs import all_graphs, operator_name
from exports.onnx.onnx_file import read_onnx, standard_opset


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What an ONNX file says about itself.

    Attributes:
        opset: The opset of the standard domain.
        operators: The names of its operators, sorted, each once; those of another domain as `domain.Name`.
        precisions: The precisions that the file can be in, by its operators and by the types of its constants. There
            are several if all weights are so small that each of these precisions stores them in float32.
    """

    opset: int
    operators: tuple[str, ...]
    precisions: tuple[Precision, ...]


def file_facts(path: Path) -> FileFacts:
    """The facts of the file at `path`. Raises `EngineError` if it is not an ONNX file."""
    model = read_onnx(path)
    operators = {operator_name(node) for graph in all_graphs(model.graph) for node in graph.node}
    return FileFacts(
        opset=standard_opset(model),
        operators=tuple(sorted(operators)),
        precisions=_precisions(operators, model.graph),
    )


def _precisions(operators: set[str], graph: Any) -> tuple[Precision, ...]:
    """`int8` has operators that quantise activations; weights of few bits without them are decoded at load."""
    import onnx

    weights = [tensor for part in all_graphs(graph) for tensor in part.initializer]
    types = {tensor.data_type for tensor in weights}
    if "QuantizeLinear" in operators:
        return ("int8",)
    if onnx.TensorProto.INT8 in types:
        return ("int8_weights",)
    if onnx.TensorProto.FLOAT16 in types:
        return ("fp16",)
    if any(len(tensor.dims) > 1 and math.prod(tensor.dims) >= NARROWED_ELEMENTS for tensor in weights):
        return ("fp32",)
    return ("fp32", "fp16", "int8_weights")
