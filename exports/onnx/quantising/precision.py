"""From the float32 file of a network to a file of any precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from device_profiles.engine import ModelInput, Precision
from exports.onnx.conversion import DROP_LIMIT, CheckImages, Conversion
from exports.onnx.graphs import constant_values
from exports.onnx.onnx_file import first_line, quiet, read_onnx, serialised, standard_opset
from exports.onnx.onnxruntime_library import onnxruntime_library
from exports.onnx.quantising.int8 import Quantised, quantise
from exports.onnx.quantising.layers import check_weights, find_layers
from exports.onnx.quantising.lookups import with_int8_tables
from exports.onnx.quantising.storage import with_float16_weights, with_int8_weights
from factory_base.errors import EngineError
from factory_base.files import write_bytes
from factory_base.progress import Progress, silent


def convert_precision(
    source: Path,
    path: Path,
    precision: Precision,
    calibration: ModelInput | None,
    check: CheckImages | None,
    *,
    drop_limit: float = DROP_LIMIT,
    progress: Progress = silent,
) -> Conversion:
    """Write the network in `source` to `path` in another precision, atomically.

    The file has all properties that `export_onnx` guarantees. The same arguments give the same bytes on the same
    processor; another processor may round a range differently.

    `fp16` and `int8_weights` store weights in two bytes or one, which ONNX Runtime decodes when it loads the file: it
    runs the graph of the float32 file, except that tables of tokens stay narrow in memory (`lookups`), as they do in
    `int8`. `int8` computes in integers. Activations are unsigned 8-bit integers with one
    range per tensor, found from `calibration`. Weights are signed 8-bit integers with one scale per output channel,
    with which processors that lack 8-bit dot products compute exactly too (`weights.safe_scales`). With `check`,
    remedies are tried in the order of `exports.onnx.quantising.int8` while the accuracy drops by more than
    `drop_limit`, and the attempt with the smallest drop is written.

    Args:
        source: A file that `export_onnx` wrote.
        path: The file to write.
        precision: The precision of the file.
        calibration: Inputs like those that the network will receive, of the type of its input, `(n, *input_shape)`,
            n >= 1. Needed for `int8` only.
        check: Images and labels that decide between the remedies. Without them `int8` takes the first way.
        drop_limit: The accepted drop of accuracy against `source`, in percentage points.
        progress: Receives the progress of `int8`.

    Raises:
        EngineError: `source` is damaged, or its weights are not finite; or, for `int8`, `calibration` is missing, has
            another shape, is not finite or all zeros, the network has no layer that can be quantised or one whose
            output is always 0, or ONNX Runtime is not installed or refuses the network.
        DiskError: `path` cannot be written.
    """
    if precision == "fp32":
        read_onnx(source)
        write_bytes(path, source.read_bytes())
        return Conversion(precision=precision)
    model = read_onnx(source)
    try:
        with quiet():
            check_weights(find_layers(model), constant_values(model.graph))
            if precision == "int8":
                made = _quantised(model, calibration, check, drop_limit, progress)
            else:
                made = Quantised(model=_STORED[precision](model))
            content = serialised(made.model, standard_opset(model))
    except EngineError as error:
        raise EngineError(f"{source.name}: {error}") from error
    except Exception as error:  # the engine and the reader of constants raise many types; users get one line
        raise EngineError(f"{source.name}: cannot be converted to {precision} ({first_line(error)})") from error
    write_bytes(path, content)
    return Conversion(precision=precision, attempts=made.attempts, chosen=made.chosen)


_STORED: Final[dict[Precision, Callable[[Any], Any]]] = {
    "fp16": with_float16_weights,
    "int8_weights": with_int8_weights,
}
"""The precisions that differ from the float32 file in how it stores weights."""


def _quantised(
    model: Any, calibration: ModelInput | None, check: CheckImages | None, drop_limit: float, progress: Progress
) -> Quantised:
    layers = find_layers(model)
    if not layers:
        raise EngineError(
            "cannot be quantised: none of its layers is a convolution or matrix product that multiplies by constants "
            f"({_named(model)}); use fp32"
        )
    if calibration is None:
        raise EngineError("int8 needs calibration inputs, (n, *input_shape); pass some images of the data set")
    _check_inputs(calibration, model, "calibration")
    if check is not None:
        _check_inputs(check.inputs, model, "check")
        if len(check.labels) != len(check.inputs):
            raise EngineError(
                f"got check labels {check.labels.shape} for {len(check.inputs)} inputs; pass one for each"
            )
    onnxruntime_library()
    return quantise(with_int8_tables(model), model, layers, calibration, check, drop_limit, progress)


def _check_inputs(inputs: ModelInput, model: Any, what: str) -> None:
    """Raises `EngineError` unless `inputs` are like the input of the network, finite and not all zeros."""
    import onnx

    tensor = model.graph.input[0].type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = tuple(dimension.dim_value for dimension in tensor.shape.dim[1:])
    if inputs.dtype != dtype or inputs.shape[1:] != shape or not len(inputs):
        raise EngineError(f"got {what} inputs {inputs.dtype} {inputs.shape}, expected {dtype} {('n', *shape)}")
    if not np.isfinite(inputs).all():
        raise EngineError(f"the {what} inputs contain NaN or infinity; check the data")
    if not inputs.any():
        raise EngineError(f"the {what} inputs are all zeros, from which no range follows; pass images of the data set")


def _named(model: Any) -> str:
    """The first nodes of a network by name, for a message."""
    names = [node.name for node in model.graph.node]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
