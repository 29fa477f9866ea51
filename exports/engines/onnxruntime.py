"""ONNX Runtime on the CPU. The library itself is imported when a file is loaded."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from exports.onnx_file import INPUT_NAME, export_onnx
from model_factory.base.errors import EngineError

if TYPE_CHECKING:
    from torch import nn

OLDEST_VERSIONS: Final = {18: "1.14.0", 19: "1.15.0", 20: "1.17.0", 21: "1.18.0", 22: "1.20.0", 23: "1.22.0"}
"""The first ONNX Runtime that runs an opset, by its own compatibility table (documented, not measured here)."""


class OnnxRuntimeEngine:
    """Implements `device_profiles.engine.Engine` with ONNX Runtime's CPU provider.

    Args:
        opset: of the files that `convert` writes.
        dynamic_batch: whether they take any batch; else they take one input, as a phone has it.
    """

    name: ClassVar[str] = "onnxruntime"

    def __init__(self, opset: int = 20, dynamic_batch: bool = False) -> None:
        self._opset = opset
        self._dynamic_batch = dynamic_batch

    def version(self) -> str:
        """The version of the installed library. Raises `EngineError` where it is not installed."""
        return str(_library().__version__)

    def convert(self, module: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
        """Write `module` to `path`; see `export_onnx` for what the file promises. Raises `EngineError`, `DiskError`."""
        export_onnx(module, input_shape, path, opset=self._opset, dynamic_batch=self._dynamic_batch)

    def load(self, path: Path, threads: int) -> OnnxRuntimeSession:
        """Open the file at `path` with `threads` threads inside an operator and deterministic kernels.

        Raises:
            EngineError: the library is missing, or it refuses the file.
        """
        return OnnxRuntimeSession(path, threads)

    def limits(self) -> tuple[str, ...]:
        """What a reader of its numbers must know."""
        return (
            "CPU only; float32 only",
            "peak memory is what the engine's arena had in use in one run: activations, scratch, copies of layout and "
            "repacked weights, but neither the weights of the file nor the library itself",
        )

    @staticmethod
    def oldest_version(format_version: int) -> str:
        """The oldest ONNX Runtime that is documented to run opset `format_version`. Raises `EngineError`."""
        if format_version not in OLDEST_VERSIONS:
            raise EngineError(f"opset {format_version} is unknown to ONNX Runtime; known: {sorted(OLDEST_VERSIONS)}")
        return OLDEST_VERSIONS[format_version]


class OnnxRuntimeSession:
    """One loaded file. Implements `device_profiles.engine.Session`."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._threads = threads
        self._session = _open(path, _options(threads))
        shape = self._session.get_inputs()[0].shape
        self._static_batch = shape[0] if isinstance(shape[0], int) else None
        self._input_shape = tuple(shape[1:])

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(n, *input_shape)` float32 -> `(n, classes)` float32, for any n >= 1; a file of fixed batch is looped.

        Raises:
            EngineError: the batch has another shape or type, or the engine fails.
        """
        if batch.dtype != np.float32 or batch.shape[1:] != self._input_shape or not len(batch):
            expected = ("n", *self._input_shape)
            raise EngineError(f"{self._path.name}: got {batch.dtype} {batch.shape}, expected float32 {expected}")
        step = self._static_batch or len(batch)
        if len(batch) % step:
            raise EngineError(f"{self._path.name}: takes {step} inputs at a time, got {len(batch)}")
        parts = [self._run(batch[start : start + step]) for start in range(0, len(batch), step)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def peak_memory_bytes(self) -> int | None:
        """Most bytes that the arena had in use in a run of one input; None where the engine does not tell.

        Opens the file a second time with profiling on, so that timed runs pay nothing for it. See `limits`.
        """
        with tempfile.TemporaryDirectory() as folder:
            options = _options(self._threads)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = _open(self._path, options)
            session.run(None, {INPUT_NAME: np.zeros((self._static_batch or 1, *self._input_shape), np.float32)})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        peaks = [int(e["args"]["mem_in_use_peak"]) for e in events if "mem_in_use_peak" in e.get("args", {})]
        return max(peaks, default=None)

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            output = self._session.run(None, {INPUT_NAME: np.ascontiguousarray(batch)})[0]
        except Exception as error:  # its error types are private to its extension module
            raise EngineError(f"{self._path.name}: ONNX Runtime failed ({str(error).splitlines()[0]})") from error
        return np.asarray(output, dtype=np.float32)


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError("the engine 'onnxruntime' is not installed; run: pip install onnxruntime") from error
    return onnxruntime


def _options(threads: int) -> Any:
    if threads < 1:
        raise EngineError(f"{threads} threads cannot run a model; give 1 or more")
    library = _library()
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    return options


def _open(path: Path, options: Any) -> Any:
    try:
        session = _library().InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except EngineError:
        raise
    except Exception as error:  # its error types are private to its extension module
        raise EngineError(f"{path.name}: ONNX Runtime refuses the file ({str(error).splitlines()[0]})") from error
    inputs = [entry.name for entry in session.get_inputs()]
    if inputs != [INPUT_NAME]:
        raise EngineError(f"{path.name}: has the inputs {inputs}, expected [{INPUT_NAME!r}]")
    return session
