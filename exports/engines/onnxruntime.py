"""ONNX Runtime on the CPU. The library itself is imported on first use."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import InputType, ModelInput, Precision
from device_profiles.measuring.kernel_times import PROFILED_RUNS, WARM_UP_RUNS, kernel_latency_us
from device_profiles.workload.file_size import INPUT_NAME
from device_profiles.workload.operators import KernelKind
from exports.engines.arguments import check_batch, check_precision, check_threads
from exports.engines.chains import convert_chain
from exports.onnx.onnx_file import export_onnx
from exports.onnx.onnxruntime_library import onnxruntime_library, session_options
from exports.onnx.quantising.precision import convert_precision
from factory_base.errors import EngineError
from factory_base.foreign import printable

if TYPE_CHECKING:
    from torch import nn

OLDEST_VERSIONS: Final = {18: "1.14.0", 19: "1.15.0", 20: "1.17.0", 21: "1.18.0", 22: "1.20.0", 23: "1.23.0"}
"""Opset -> the first ONNX Runtime that runs it, from its compatibility table. For 23 the table says 1.22, which refuses
the IR version of such files: 1.23 was the first that opened them (`.ci/lowest`)."""

_INPUT_TYPES: Final[dict[str, InputType]] = {
    "tensor(float)": "float32",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
}
"""The types of inputs, as ONNX Runtime names them."""


class OnnxRuntimeEngine:
    """Implements `device_profiles.engine.Engine` with ONNX Runtime's CPU provider.

    Args:
        opset: The opset of the files that `convert` writes.
        dynamic_batch: Whether the files accept a batch of any size; otherwise they accept one input, as on a phone.
    """

    name: ClassVar[str] = "onnxruntime"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8", "int8_weights")

    def __init__(self, opset: int = 20, dynamic_batch: bool = False) -> None:
        self._opset = opset
        self._dynamic_batch = dynamic_batch

    def version(self) -> str:
        """The version of the installed library. Raises `EngineError` if it is not installed."""
        return str(onnxruntime_library().__version__)

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
        """Write `module` to `path`. The guarantees about the file are those of `export_onnx` and `convert_precision`.

        Raises:
            EngineError: See the protocol.
            DiskError: `path` cannot be written.
        """
        check_precision(self.name, self.precisions, precision, calibration)
        if precision == "fp32":
            self._export(module, input_shape, path, input_type)
            return
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "float.onnx"
            self._export(module, input_shape, source, input_type)
            convert_precision(source, path, precision, calibration, None)

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
        """See the protocol. The files accept one input at a time. Raises `EngineError`, `DiskError`."""
        check_precision(self.name, self.precisions, precision, calibration)

        def convert(source: Path, target: Path, inputs: NDArray[np.float32] | None) -> None:
            convert_precision(source, target, precision, inputs, None)

        given = calibration if precision == "int8" else None
        convert_chain(convert, parts, input_shape, path, part_paths, given, self._opset)

    def load(self, path: Path, threads: int) -> OnnxRuntimeSession:
        """Open the file at `path` with `threads` threads within an operator and deterministic kernels.

        Raises:
            EngineError: The library is not installed, or it refuses the file.
        """
        return OnnxRuntimeSession(path, threads)

    def limits(self) -> tuple[str, ...]:
        """What readers of its measurements must know."""
        return (
            "CPU only; kernels compute in float32, or in int8 by static quantisation, with weights scaled so that "
            "processors without 8-bit dot products do not saturate; gates and normalisations stay float32",
            "fp16 and int8_weights files hold weights in fewer bytes, which are decoded at load: in latency and memory "
            "they equal fp32, but tables of tokens stay narrow in memory",
            "peak memory is the most that the engine's arena had in use in one run: activations, scratch, copies in "
            "another layout and repacked weights, but neither the weights of the file nor the library itself",
            "time per kind of kernel comes from the profiler; its overhead is subtracted from all kernels alike, which "
            "is an estimate if kernels take only a few microseconds",
        )

    def _export(self, module: nn.Module, shape: tuple[int, ...], path: Path, input_type: InputType) -> None:
        export_onnx(module, shape, path, opset=self._opset, dynamic_batch=self._dynamic_batch, input_type=input_type)

    @staticmethod
    def oldest_version(format_version: int) -> str:
        """The oldest ONNX Runtime that is documented to run opset `format_version`.

        Raises:
            EngineError: The opset is not in `OLDEST_VERSIONS`.
        """
        if format_version not in OLDEST_VERSIONS:
            raise EngineError(f"opset {format_version} is unknown to ONNX Runtime; known: {sorted(OLDEST_VERSIONS)}")
        return OLDEST_VERSIONS[format_version]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Profile:
    """What the profiler recorded in some runs.

    Attributes:
        events: The events of its JSON file.
        graph: The graph as the engine optimised it.
    """

    events: list[Any]
    graph: Any


class OnnxRuntimeSession:
    """One loaded file. Implements `device_profiles.engine.Session`."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._name = path.name
        self._threads = threads
        self._session = _open(path, _options(threads))
        given = self._session.get_inputs()[0]
        self._static_batch = given.shape[0] if isinstance(given.shape[0], int) else None
        self._input_shape = tuple(given.shape[1:])
        self._input_type = _INPUT_TYPES[given.type]

    def run(self, batch: ModelInput) -> NDArray[np.float32]:
        """`(n, *input_shape)` of the file's type -> float32 `(n, *output_shape)`, n >= 1; in steps if that is fixed.

        Raises:
            EngineError: The batch has another shape or type, or the engine fails.
        """
        check_batch(self._name, batch, self._input_shape, self._input_type)
        step = self._static_batch or len(batch)
        if len(batch) % step:
            raise EngineError(f"{self._name}: accepts {step} inputs at a time, got {len(batch)}; pass a multiple")
        parts = [self._run(batch[start : start + step]) for start in range(0, len(batch), step)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def peak_memory_bytes(self) -> int | None:
        """The most bytes that the arena had in use in a run of one input; None if the engine does not report it.

        Opens the file a second time with the profiler on, so that timed runs are not slowed by it. See `limits`.
        """
        one: ModelInput = np.zeros((self._static_batch or 1, *self._input_shape), self._input_type)
        events = self._profiled(one, 1).events
        peaks = [int(e["args"]["mem_in_use_peak"]) for e in events if "mem_in_use_peak" in e.get("args", {})]
        return max(peaks, default=None)

    def kernel_latency_us(self, batch: ModelInput) -> dict[KernelKind, float] | None:
        """Medians of `PROFILED_RUNS` runs with the profiler on, in a separate session; see the protocol and `limits`.

        Raises:
            EngineError: The batch has another shape or type.
        """
        check_batch(self._name, batch, self._input_shape, self._input_type)
        one, runs = batch[: self._static_batch or 1], WARM_UP_RUNS + PROFILED_RUNS
        run_us = statistics.median([self._run_us(one) for _ in range(runs)][WARM_UP_RUNS:])
        profile = self._profiled(one, runs)
        shapes = {tensor.name: tuple(tensor.dims) for tensor in profile.graph.initializer}
        return kernel_latency_us(profile.events, profile.graph.node, shapes, warm_up=WARM_UP_RUNS, run_us=run_us)

    def _run(self, batch: ModelInput) -> NDArray[np.float32]:
        try:
            output = self._session.run(None, {INPUT_NAME: np.ascontiguousarray(batch)})[0]
        except Exception as error:  # its error types are private to its extension module
            raise EngineError(f"{self._name}: ONNX Runtime failed ({_first_line(error)})") from error
        return np.asarray(output, dtype=np.float32)

    def _run_us(self, batch: ModelInput) -> float:
        start = time.perf_counter_ns()
        self._run(batch)
        return (time.perf_counter_ns() - start) / 1e3

    def _profiled(self, batch: ModelInput, runs: int) -> _Profile:
        with tempfile.TemporaryDirectory() as folder:
            options = _options(self._threads)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
            session = _open(self._path, options)
            for _ in range(runs):
                session.run(None, {INPUT_NAME: batch})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            return _Profile(events=events, graph=_graph(options.optimized_model_filepath))


def _graph(path: str) -> Any:
    """The graph of an optimised file. Weights that are shared with other files are not beside it, and not needed."""
    import onnx

    return onnx.load(path, load_external_data=False).graph


def _options(threads: int) -> Any:
    check_threads(threads)
    return session_options(threads)


def _open(path: Path, options: Any) -> Any:
    library = onnxruntime_library()
    try:
        session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its error types are private to its extension module
        raise EngineError(f"{path.name}: ONNX Runtime refuses the file ({_first_line(error)})") from error
    inputs = [entry.name for entry in session.get_inputs()]
    if inputs != [INPUT_NAME]:
        raise EngineError(f"{path.name}: has the inputs {inputs}, expected [{INPUT_NAME!r}]; export it again")
    given = session.get_inputs()[0].type
    if given not in _INPUT_TYPES:
        raise EngineError(f"{path.name}: its input is {given}, expected {' or '.join(_INPUT_TYPES)}; export it again")
    return session


def _first_line(error: Exception) -> str:
    """The first line of a message, which quotes names from the file; it may be empty."""
    return printable(str(error).partition("\n")[0] or type(error).__name__)
