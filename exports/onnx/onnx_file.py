"""ONNX files: from a PyTorch module to one self-contained, reproducible file."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_profiles.engine import InputType
from device_profiles.workload.file_size import INPUT_NAME, OUTPUT_NAME, SMALL_ELEMENTS
from exports.onnx.cleaning.clean import clean_model
from exports.onnx.cleaning.constants import remove_unused
from exports.onnx.cleaning.names import rename
from exports.onnx.graphs import all_graphs
from factory_base.errors import EngineError
from factory_base.files import write_bytes

if TYPE_CHECKING:
    from torch import nn

OPSETS = (18, 23)
"""The lowest and the highest opset that can be requested: the lowest that PyTorch's exporter writes without a
conversion, and the highest that was tested (`OLDEST_VERSIONS` of the ONNX Runtime engine lists the same)."""


def export_onnx(
    module: nn.Module,
    input_shape: tuple[int, ...],
    path: Path,
    *,
    opset: int = 20,
    dynamic_batch: bool = False,
    input_type: InputType = "float32",
) -> None:
    """Write `module` to `path` as ONNX, atomically, with the maintained (`dynamo=True`) exporter of PyTorch.

    The file is guaranteed to have these properties. It is one file without external data. Its input is `image`,
    `(1, *input_shape)` of the type `input_type`, and its output `logits`, float32 `(1, classes)`; with `dynamic_batch`
    the axis of length 1 is `batch`. It contains only operators of the standard domain at `opset`, after `clean_model`:
    no BatchNormalization, no operator on constants alone, nothing unused. Its names are those of `rename`. It contains
    no time, path, stack trace, name of a class or parameter, or library version. The same weights and architecture give
    the same bytes. Its size is the sum over the layers, unless a bias is all zeros, which the exporter leaves out.

    Args:
        module: A network in evaluation mode with recalibrated batch normalisation,
            `(batch, *input_shape) -> (batch, classes)`.
        input_shape: The shape of one input, without the batch.
        path: The file to write.
        opset: The opset of the file, in `OPSETS`.
        dynamic_batch: Whether the file accepts a batch of any size.
        input_type: The type of the module's input: `uint8` for a `PixelInput`, `int64` for tokens.

    Raises:
        EngineError: The module is in training mode, cannot be exported, or needs more than standard ONNX.
        DiskError: `path` cannot be written.
    """
    write_bytes(path, serialised(exported(module, input_shape, opset, dynamic_batch, input_type=input_type), opset))


def serialised(model: Any, opset: int) -> bytes:
    """The bytes of a ModelProto with one input and one output, in the form that `export_onnx` guarantees.

    Raises:
        EngineError: The network needs more than standard ONNX.
    """
    canonical = _canonical(model, opset)
    _check(canonical)
    return bytes(canonical.SerializeToString(deterministic=True))


def read_onnx(path: Path) -> Any:
    """The ModelProto in the file at `path`. Raises `EngineError` if it is not an ONNX file."""
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises its own, undocumented types
        raise EngineError(f"{path.name}: is not an ONNX file ({first_line(error)})") from error
    if not standard_opset(model):
        raise EngineError(f"{path.name}: is not an ONNX file (it states no opset)")
    return model


def standard_opset(model: Any) -> int:
    """The opset of the standard domain that a ModelProto states; 0 if it states none."""
    return int(next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0))


def first_line(error: BaseException) -> str:
    """The first line of an error, cut to 200 characters, for messages of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def quiet() -> Iterator[None]:
    """In the block, libraries neither warn nor log, for example about their internals or a missing torchvision."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def exported(
    module: nn.Module,
    input_shape: tuple[int, ...],
    opset: int,
    dynamic_batch: bool = False,
    outputs: Sequence[str] = (OUTPUT_NAME,),
    input_type: InputType = "float32",
) -> Any:
    """The exporter's ModelProto of `module`, its outputs named `outputs`. Raises `EngineError`."""
    import torch

    if any(part.training for part in module.modules()):
        raise EngineError("a module in training mode cannot be exported; call .eval() after BN recalibration")
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise EngineError(f"ONNX opset {opset} is not supported; choose {OPSETS[0]} to {OPSETS[1]}")
    count = 2 if dynamic_batch else 1  # the exporter would take a batch of 1 for a constant
    example = torch.zeros(count, *input_shape, dtype=getattr(torch, input_type))
    dynamic: dict[str, Any] = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamic_batch else {}
    try:
        with quiet(), _cached_operators(), torch.no_grad():
            program = torch.onnx.export(
                module, (example,), dynamo=True, opset_version=opset, verbose=False,
                input_names=[INPUT_NAME], output_names=list(outputs), **dynamic,
            )  # fmt: skip
            if program is None:  # only the legacy exporter returns nothing
                raise RuntimeError("the exporter returned nothing")
            model = program.model_proto
    except Exception as error:  # the exporter raises many types of errors; users get one line
        raise EngineError(f"{type(module).__name__} cannot be exported to ONNX ({first_line(error)})") from error
    for node in (node for graph in all_graphs(model.graph) for node in graph.node):
        node.ClearField("name")  # it counts objects of the process
    clean_model(model)
    return model


@contextmanager
def _cached_operators() -> Iterator[None]:
    """In the block, the exporter's table of operators is cached; building it takes half the time of an export.

    The table is private to PyTorch; with a version that has it elsewhere, exports work too, only slower.
    """
    name = "from_torchlib"
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        original = vars(ONNXRegistry)[name]
    except (ImportError, KeyError):
        yield
        return
    cached = staticmethod(partial(_operators, ONNXRegistry.from_torchlib))
    setattr(ONNXRegistry, name, cached)
    try:
        yield
    finally:
        setattr(ONNXRegistry, name, original)


@cache
def _operators(build: Callable[..., Any], *args: Any, **named: Any) -> Any:
    return build(*args, **named)


def _canonical(model: Any, opset: int) -> Any:
    import onnx

    remove_unused(model.graph)
    _unshare(model.graph)
    rename(model.graph)
    _strip(model.graph)
    _pack(model.graph)
    del model.graph.value_info[:]
    plain = onnx.helper.make_model(
        model.graph, producer_name="model-factory", opset_imports=[onnx.helper.make_opsetid("", opset)]
    )
    plain.ir_version = onnx.helper.find_min_ir_version_for(list(plain.opset_import))
    return plain


def _check(model: Any) -> None:
    import onnx

    foreign = sorted({node.domain for graph in all_graphs(model.graph) for node in graph.node} - {"", "ai.onnx"})
    if foreign:
        raise EngineError(
            f"the exported file needs operators of {', '.join(foreign)}, which engines lack; use standard ones"
        )
    if any(node.op_type == "BatchNormalization" for graph in all_graphs(model.graph) for node in graph.node):
        raise EngineError("a batch normalisation inside a branch cannot be folded; move it out of the branch")
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker's error type is private to its extension module
        raise EngineError(f"the exported file is not valid ONNX ({first_line(error)})") from error


def _unshare(graph: Any) -> None:
    """Give every use of a small constant its own copy.

    The exporter merges equal constants of up to `SMALL_ELEMENTS` elements, even across layers, so the size of a file
    would depend on their values and would not be the sum over its layers.
    """
    small = {tensor.name: tensor for tensor in graph.initializer if math.prod(tensor.dims) <= SMALL_ELEMENTS}
    used: set[str] = set()
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in small and name in used:
                copy = graph.initializer.add()
                copy.CopyFrom(small[name])
                copy.name = node.input[index] = f"{name}_copy_{len(graph.initializer)}"
            used.add(name)


def _strip(graph: Any) -> None:
    """Remove all documentation strings and metadata: they contain paths, class names and stack traces."""
    for part in all_graphs(graph):
        for item in (part, *part.node, *part.initializer, *part.input, *part.output):
            item.ClearField("doc_string")
            item.ClearField("metadata_props")
        for node in part.node:
            for attribute in node.attribute:
                attribute.ClearField("doc_string")


def _pack(graph: Any) -> None:
    """Store constants as raw bytes. As numbers, a zero point would take one or two bytes, depending on its value."""
    import onnx

    for part in all_graphs(graph):
        for tensor in part.initializer:
            if not tensor.HasField("raw_data"):
                tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
