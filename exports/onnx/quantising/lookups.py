"""Tables in which tokens are looked up, stored in fewer bytes. They hold most of the weights of small text classifiers.

Rows are looked up as they are stored and decoded afterwards, so that the table takes fewer bytes in memory too.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.file_size import NARROWED_ELEMENTS
from exports.onnx.graphs import constant_values
from exports.onnx.quantising.layers import names_read
from exports.onnx.quantising.weights import as_integers, full_scales

_COLUMNS: Final = 1


def with_float16_tables(model: Any) -> Any:
    """A copy of a ModelProto whose tables are stored as float16, except one with a value beyond the largest float16."""
    return _with_tables(model, _float16)


def with_int8_tables(model: Any) -> Any:
    """A copy of a ModelProto whose tables are stored as 8-bit integers with one scale per column."""
    return _with_tables(model, _int8)


def _with_tables(model: Any, encode: Any) -> Any:
    import onnx

    constants, result = constant_values(model.graph), onnx.ModelProto()
    result.CopyFrom(model)
    uses = Counter(names_read(model.graph.node))
    del result.graph.node[:]
    for node in model.graph.node:
        table = constants.get(node.input[0]) if _is_lookup(node) and uses[node.input[0]] == 1 else None
        parts = encode(node, table) if _is_table(table) else []
        result.graph.initializer.extend(part for part in parts if isinstance(part, onnx.TensorProto))
        result.graph.node.extend([part for part in parts if isinstance(part, onnx.NodeProto)] or [node])
        if parts:
            kept = [tensor for tensor in result.graph.initializer if tensor.name != node.input[0]]
            del result.graph.initializer[:]
            result.graph.initializer.extend(kept)
    return result


def _is_lookup(node: Any) -> bool:
    return node.op_type == "Gather" and all(a.i == 0 for a in node.attribute if a.name == "axis")


def _is_table(table: NDArray[Any] | None) -> bool:
    return table is not None and table.dtype == np.float32 and table.ndim == 2 and table.size >= NARROWED_ELEMENTS


def _float16(node: Any, table: NDArray[np.float32]) -> list[Any]:
    import onnx

    if np.abs(table).max() > np.finfo(np.float16).max:
        return []
    stored = onnx.numpy_helper.from_array(table.astype(np.float16), f"{node.input[0]}_stored")
    return [stored, *_looked_up(node, stored.name, node.output[0])]


def _int8(node: Any, table: NDArray[np.float32]) -> list[Any]:
    import onnx

    scales, name = full_scales(table, _COLUMNS), node.input[0]
    stored = onnx.numpy_helper.from_array(as_integers(table, _COLUMNS, scales), f"{name}_stored")
    scale = onnx.numpy_helper.from_array(scales, f"{name}_scale")
    integers = f"{name}_integers"
    product = onnx.helper.make_node("Mul", [integers, scale.name], [node.output[0]])
    return [stored, scale, *_looked_up(node, stored.name, integers), product]


def _looked_up(node: Any, table: str, output: str) -> list[Any]:
    """The rows of a narrow table, as float32."""
    import onnx

    rows = f"{table}_rows"
    return [
        onnx.helper.make_node("Gather", [table, node.input[1]], [rows], axis=0),
        onnx.helper.make_node("Cast", [rows], [output], to=onnx.TensorProto.FLOAT),
    ]
