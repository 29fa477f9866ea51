"""MNN, an inference engine for phones, on the CPU. An optional extra: the library is imported on first use."""

from __future__ import annotations

import importlib
import re
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, get_args

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import InputType, ModelInput, Precision
from device_profiles.workload.operators import KernelKind
from exports.engines.arguments import check_batch, check_precision, check_threads
from exports.engines.chains import convert_chain
from exports.onnx.onnx_file import export_onnx
from factory_base.errors import EngineError
from factory_base.files import write_bytes
from factory_base.native_output import captured_native_output

if TYPE_CHECKING:
    from torch import nn

_MEMORY_MIB = 0
"""The code by which `getSessionInfo` returns memory in MiB: `MEMORY` of MNN's enum `SessionInfoCode`."""

_INPUT_TYPES: Final[tuple[InputType, ...]] = get_args(InputType)


class MnnEngine:
    """Implements `device_profiles.engine.Engine` with MNN's CPU backend, through ONNX.

    Args:
        opset: The opset of the ONNX file that it converts from.
        dynamic_batch: Must be false; files of any batch size are not supported.

    Raises:
        EngineError: `dynamic_batch` is true.
    """

    name: ClassVar[str] = "mnn"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32",)

    def __init__(self, opset: int = 20, dynamic_batch: bool = False) -> None:
        if dynamic_batch:
            raise EngineError("engine 'mnn' writes files of batch 1 only; set dynamic_batch to false")
        self._opset = opset

    def version(self) -> str:
        """The version of the installed library. Raises `EngineError` if it is not installed."""
        return str(_module("MNN").version())

    def convert(
        self,
        module: nn.Module,
        input_shape: tuple[int, ...],
        path: Path,
        *,
        precision: Precision = "fp32",
        calibration: ModelInput | None = None,
        input_type: InputType = "float32",
    ) -> None:
        """Write `module` to `path` for batch 1, after MNN has loaded the converted file and run it once.

        During the conversion the process has another working directory, and its standard output is captured.

        Raises:
            EngineError: See the protocol.
            DiskError: `path` cannot be written.
        """
        check_precision(self.name, self.precisions, precision, calibration)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "model.onnx"
            export_onnx(module, input_shape, source, opset=self._opset, input_type=input_type)
            _convert_file(source, path, None)

    def convert_chain(
        self,
        parts: Sequence[nn.Module],
        input_shape: tuple[int, ...],
        path: Path,
        part_paths: Sequence[Path | None],
        *,
        precision: Precision = "fp32",
        calibration: NDArray[np.float32] | None = None,
    ) -> None:
        """See the protocol, and `convert`. Raises `EngineError`, `DiskError`."""
        check_precision(self.name, self.precisions, precision, calibration)
        convert_chain(_convert_file, parts, input_shape, path, part_paths, None, self._opset)

    def load(self, path: Path, threads: int) -> MnnSession:
        """Open the file at `path` with `threads` threads.

        Raises:
            EngineError: The library is not installed, or it refuses the file.
        """
        return MnnSession(path, threads)

    def limits(self) -> tuple[str, ...]:
        """What readers of its measurements must know."""
        return (
            "CPU only; float32 only: its quantiser for static int8 aborts the process",
            "files contain a random identifier, so the same network gives different bytes each time",
            "peak memory is what the session's pools hold, less the size of the file: activations, scratch, and what "
            "repacked weights need beyond those of the file",
            "no time per kind of kernel: its callbacks pass through Python, whose time would be measured too",
        )


class MnnSession:
    """One loaded file. Implements `device_profiles.engine.Session`."""

    def __init__(self, path: Path, threads: int) -> None:
        check_threads(threads)
        library = _module("MNN")
        self._path = path
        self._name = path.name
        with captured_native_output() as printed:
            try:
                self._interpreter = library.Interpreter(str(path))
                settings = {"numThread": threads, "backend": "CPU", "precision": "normal"}
                self._session = self._interpreter.createSession(settings)
                self._input = self._interpreter.getSessionInput(self._session)
                self._output = self._interpreter.getSessionOutput(self._session)
                self._host = _host_tensor(library, self._output.getShape())
                self._memory = self._input.getNumpyData()  # inputs are written in place, which saves a copy per run
            except Exception as error:  # it raises plain exceptions and prints their reasons
                raise EngineError(f"{path.name}: MNN refuses the file ({_reason(printed()) or error})") from error
        found = [kind for kind in _INPUT_TYPES if self._memory.dtype == np.dtype(kind)]
        if self._memory.shape != tuple(self._input.getShape()) or not found:
            raise EngineError(
                f"{path.name}: the input is {self._memory.dtype} in its own layout, expected plain "
                f"{' or '.join(_INPUT_TYPES)}"
            )
        self._input_shape, self._input_type = tuple(self._memory.shape[1:]), found[0]

    def run(self, batch: ModelInput) -> NDArray[np.float32]:
        """`(n, *input_shape)` of the file's type -> `(n, *output_shape)` float32, n >= 1, one input after the other.

        Raises:
            EngineError: The batch has another shape or type, or the engine fails.
        """
        check_batch(self._name, batch, self._input_shape, self._input_type)
        parts = [self._run(batch[index]) for index in range(len(batch))]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def run_zeros(self) -> None:
        """Run an input of zeros. Raises `EngineError` if the engine fails."""
        zeros: ModelInput = np.zeros((1, *self._input_shape), self._input_type)
        self.run(zeros)

    def peak_memory_bytes(self) -> int | None:
        """What the session's pools hold beyond the file's size, see `limits`; None if they hold no more than that."""
        held = round(self._interpreter.getSessionInfo(self._session, _MEMORY_MIB) * 2**20)
        above = held - self._path.stat().st_size
        return above if above > 0 else None

    def kernel_latency_us(self, batch: ModelInput) -> dict[KernelKind, float] | None:
        """None, see `limits`. Raises `EngineError` if the batch has another shape or type."""
        check_batch(self._name, batch, self._input_shape, self._input_type)
        return None

    def _run(self, image: ModelInput) -> NDArray[np.float32]:
        self._memory[0] = image
        code = self._interpreter.runSession(self._session)
        if code != 0:
            raise EngineError(f"{self._name}: MNN failed with error code {code}")
        self._output.copyToHostTensor(self._host)
        return np.array(self._host.getNumpyData(), dtype=np.float32)


def _host_tensor(library: Any, shape: tuple[int, ...]) -> Any:
    """A tensor in plain layout, into which outputs are copied."""
    zeros = np.zeros(shape, np.float32)
    return library.Tensor(shape, library.Halide_Type_Float, zeros, library.Tensor_DimensionType_Caffe)


def _convert_file(source: Path, path: Path, _calibration: NDArray[np.float32] | None) -> None:
    """Convert an ONNX file; the result is written to `path` after MNN has loaded it and run it once."""
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "model.mnn"
        _convert(source, converted)
        MnnSession(converted, 1).run_zeros()
        write_bytes(path, converted.read_bytes())


def _convert(source: Path, path: Path) -> None:
    """Convert with the native function: the package's console script installs software and uploads usage data."""
    tools = _module("_tools")
    with captured_native_output() as printed, chdir(path.parent):  # it writes a scratch file to the working directory
        tools.mnnconvert(
            ["", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(path), "--bizCode", "factory"]
        )
        reason = _reason(printed())
    if not path.exists():  # it returns success either way
        raise EngineError(f"MNN cannot express the network ({reason})")


def _module(name: str) -> Any:
    """A module of the package. Its import prints the processor's features, which is captured here."""
    try:
        with captured_native_output():
            return importlib.import_module(name)
    except ImportError as error:
        raise EngineError("the engine 'mnn' is not installed; run: pip install -e '.[mnn]'") from error


def _reason(printed: str) -> str:
    """The last line that is not empty, without its time stamp, cut to 200 characters: messages are one line."""
    lines = [re.sub(r"^\[[\d:]+\] :\d+: ", "", line).strip() for line in printed.splitlines()]
    return next((line for line in reversed(lines) if line and line != "Converted Failed!"), "")[:200]
