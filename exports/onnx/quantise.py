"""Static quantisation of ONNX files to 8-bit integers: one float32 file and calibration inputs in, one QDQ file out."""

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
"""What becomes integer. `Clip` and `Relu` vanish into the range of what they follow. Residual sums stay float32: 8 bits
there cost a transformer accuracy and gain a convolutional network no time."""


def quantise_onnx(source: Path, calibration: NDArray[np.float32], path: Path) -> None:
    """Write the network at `source` with integer convolutions and matrix products to `path`, atomically.

    Activations are unsigned 8-bit with one range per tensor, the least and greatest value over `calibration`. Weights
    are signed with a scale per output channel and 7 bits wide: processors without 8-bit dot products add two products
    in 16 bits, which full 8-bit weights overflow silently. The output of a last matrix product stays float32, as it
    would saturate at the largest calibrated logit; that of a last convolution does not, as it would run in float32.

    What the file promises: all that `export_onnx` promises; the same source and calibration give the same bytes on one
    processor, while another may round a range differently.

    Args:
        source: as `export_onnx` writes it.
        calibration: float32 `(n, *input_shape)`, n >= 1, inputs like those that the network will meet.

    Raises:
        EngineError: `source` is damaged, `calibration` has another shape or is not finite, ONNX Runtime is missing or
            cannot quantise the network.
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
    """Gives the calibration inputs one by one; the interface is ONNX Runtime's `CalibrationDataReader`."""

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
        raise EngineError(f"{source.name}: calibration inputs are not finite; look for NaN in the data")
