"""ONNX files of a network that is a chain of parts: one for the network and one for each part, from one export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_profiles.workload.file_size import INPUT_NAME, OUTPUT_NAME
from exports.onnx.onnx_file import exported, serialised
from factory_base.errors import EngineError
from factory_base.files import write_bytes

if TYPE_CHECKING:
    from torch import nn


def export_chain(
    parts: Sequence[nn.Module],
    input_shape: tuple[int, ...],
    whole: Path,
    paths: Sequence[Path | None],
    *,
    opset: int = 20,
) -> None:
    """Write the network that `parts` form to `whole`, and each part to its path, all as `export_onnx` would.

    The network is exported once, because an export takes seconds. The parts are cut out of its graph, so they contain
    exactly the operators of the network's file.

    Args:
        parts: Modules in evaluation mode. The input of each is the output of the one before: float32, batch 1.
        input_shape: The shape of one input of the first part, without the batch.
        whole: The path of the network's file.
        paths: The paths of the parts' files, as many as `parts`; None for a part that needs no file.
        opset: The opset of the files, in `OPSETS`.

    Raises:
        EngineError: A part is in training mode, cannot be exported, or cannot be cut out.
        DiskError: A file cannot be written.
    """
    borders = [f"border_{index}" for index in range(len(parts) - 1)] + [OUTPUT_NAME]
    model = exported(_all_outputs(parts), input_shape, opset, outputs=borders)
    for path, before, after in zip(paths, [INPUT_NAME, *borders[:-1]], borders, strict=True):
        if path is not None:
            write_bytes(path, serialised(_cut(model, before, after), opset))
    write_bytes(whole, serialised(_cut(model, INPUT_NAME, OUTPUT_NAME), opset))


def _cut(model: Any, before: str, after: str) -> Any:
    """The part of the graph that leads from the value `before` to the value `after`."""
    import onnx

    values = {v.name: v for v in (*model.graph.input, *model.graph.output, *model.graph.value_info)}
    nodes = _leading_to(model.graph, before, after)
    if not nodes:
        raise _unchanged(before)
    used = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in used]
    image = onnx.ValueInfoProto()
    image.CopyFrom(values[before])
    graph = onnx.helper.make_graph(nodes, "model", [image], [values[after]], weights)
    result = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    graph = result.graph
    graph.input[0].name = INPUT_NAME
    for node in graph.node:
        node.input[:] = [INPUT_NAME if name == before else name for name in node.input]
    return result


def _leading_to(graph: Any, before: str, after: str) -> list[Any]:
    """The nodes between the two values, in order. Raises `EngineError` if they depend on any value but `before`."""
    needed, found = {after}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output) and before not in node.output:
            found.append(node)
            needed.update(node.input)
    given = {before, "", *(tensor.name for tensor in graph.initializer)}
    made = {name for node in found for name in node.output}
    crossing = sorted(needed - given - made)
    if crossing and any(node.op_type == "Identity" and before in node.output for node in graph.node):
        raise _unchanged(before)
    if crossing:
        raise EngineError(
            f"the parts of this network are not a chain: {', '.join(crossing)} bypasses a part; join it with the next"
        )
    return found[::-1]


def _unchanged(value: str) -> EngineError:
    """The error if a part whose input or output is `value` returns its input: there is nothing to measure."""
    return EngineError(f"a part returns its input unchanged ({value}), so it cannot be measured; join it with the next")


def _all_outputs(parts: Sequence[nn.Module]) -> nn.Module:
    """A module that returns the output of every part."""
    from torch import Tensor, nn

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(parts)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            outputs = []
            for part in self.parts:
                x = part(x)
                outputs.append(x)
            return tuple(outputs)

    return Chain().train(any(module.training for part in parts for module in part.modules()))
