"""Static quantisation of ONNX files to 8-bit integers: from a float32 file and calibration inputs to a QDQ file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.file_size import INPUT_NAME
from exports.onnx.onnx_file import first_line, quiet, read_onnx, serialised, standard_opset
from exports.onnx.onnxruntime_library import onnxruntime_library
from factory_base.errors import EngineError
from factory_base.files import write_bytes

_OPERATORS: Final = ("Clip", "Conv", "Gemm", "MatMul", "Relu")
"""The operators that compute in integers. `Clip` and `Relu` are absorbed by the range of the operator before them.
Residual sums stay float32: 8 bits there cost a transformer accuracy and save a convolutional network no time."""


def quantise_onnx(source: Path, calibration: NDArray[np.float32], path: Path) -> None:
    """Write the network in `source`, with integer convolutions and matrix products, to `path`, atomically.

    Activations are unsigned 8-bit integers with one range per tensor: from the smallest to the largest value over
    `calibration`. Weights are signed 7-bit integers with one scale per output channel: processors without 8-bit dot
    products add two products in 16 bits, which full 8-bit weights overflow silently. If the last operator is a matrix
    product, its output stays float32, because it would saturate at the largest calibrated logit; the output of a last
    convolution is quantised, because the convolution would otherwise run in float32.

    The file has all properties that `export_onnx` guarantees. The same source and calibration inputs give the same
    bytes on the same processor; another processor may round a range differently.

    Args:
        source: A file that `export_onnx` wrote.
        calibration: Inputs like those that the network will receive, float32 `(n, *input_shape)`, n >= 1.
        path: The file to write.

    Raises:
        EngineError: `source` is damaged, `calibration` has another shape or is not finite, or ONNX Runtime is not
            installed or cannot quantise the network.
        DiskError: `path` cannot be written.
    """
    model = read_onnx(source)
    _check_calibration(calibration, _input_shape(model), source)
    onnxruntime_library()
    try:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            quantised = _quantised(source, calibration, Path(folder))
    except Exception as error:  # the quantiser raises many types; users get one line
        raise EngineError(f"{source.name}: cannot be quantised ({first_line(error)})") from error
    _leave_product_float(quantised.graph)
    write_bytes(path, serialised(quantised, standard_opset(quantised)))


def _quantised(source: Path, calibration: NDArray[np.float32], folder: Path) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    copy, result = folder / "source.onnx", folder / "result.onnx"
    shutil.copyfile(source, copy)  # the quantiser writes beside its input
    quantize_static(
        copy, result, _Reader(calibration), quant_format=QuantFormat.QDQ, op_types_to_quantize=list(_OPERATORS),
        per_channel=True, reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )  # fmt: skip
    return onnx.load(result)


class _Reader:
    """Returns the calibration inputs one by one; implements ONNX Runtime's `CalibrationDataReader`."""

    def __init__(self, calibration: NDArray[np.float32]) -> None:
        self._inputs: Iterator[NDArray[np.float32]] = iter(np.ascontiguousarray(calibration))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input as a batch of one; None after the last."""
        value = next(self._inputs, None)
        return None if value is None else {INPUT_NAME: value[None]}


def _leave_product_float(graph: Any) -> None:
    producers = {output: node for node in graph.node for output in node.output}
    dequantise = producers[graph.output[0].name]
    if dequantise.op_type != "DequantizeLinear":
        return
    quantise = producers[dequantise.input[0]]
    product = producers[quantise.input[0]]
    if product.op_type in ("Gemm", "MatMul"):
        product.output[0] = graph.output[0].name
        graph.node.remove(quantise)
        graph.node.remove(dequantise)


def _input_shape(model: Any) -> tuple[int, ...]:
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    return tuple(dimension.dim_value for dimension in dimensions[1:])


def _check_calibration(calibration: NDArray[np.float32], input_shape: tuple[int, ...], source: Path) -> None:
    if calibration.dtype != np.float32 or calibration.shape[1:] != input_shape or not len(calibration):
        raise EngineError(
            f"{source.name}: got calibration inputs {calibration.dtype} {calibration.shape}, "
            f"expected float32 {('n', *input_shape)}"
        )
    if not np.isfinite(calibration).all():
        raise EngineError(f"{source.name}: the calibration inputs contain NaN or infinity; check the data")
