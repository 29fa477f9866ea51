"""The interface to an inference engine, and ONNX Runtime behind it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
"""Compute units, by the names that ONNX Runtime gives to what runs on them."""
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory", "out of memory")
"""What ONNX Runtime says in errors of no type of their own."""


class EngineRefusedError(Exception):
    """The engine reports an error, or has no such compute unit."""


class EngineCrashedError(Exception):
    """An engine that runs in a process of its own has died."""


class Session(Protocol):
    """A loaded model."""

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """The logits of one input, float32 `(classes,)`.

        Args:
            batch: The input, with a batch of one.

        Raises:
            EngineRefusedError: The engine reports an error.
            EngineCrashedError: It has died.
            MemoryError: There is too little memory.
        """
        ...


class Engine(Protocol):
    """An inference engine. Whatever `load` does to the process, the launch has recorded durably that it was called."""

    @property
    def name(self) -> str:
        """Its name in manifests."""
        ...

    @property
    def version(self) -> str:
        """Its version, dotted numbers."""
        ...

    def load(self, files: Sequence[Path], compute_unit: str) -> Session:
        """Load a model whose files have been checked; the first one is opened. Raises as `Session.run`."""
        ...


class OnnxRuntimeEngine:
    """ONNX Runtime, which is imported when this is made.

    Raises:
        EngineRefusedError: It is not installed.
    """

    name = "onnxruntime"

    def __init__(self) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # otherwise its builds upload usage data
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineRefusedError(f"ONNX Runtime cannot be imported ({error}); pip install onnxruntime") from error
        self._runtime: Any = onnxruntime
        self.version: str = onnxruntime.__version__

    def load(self, files: Sequence[Path], compute_unit: str) -> Session:
        """See `Engine.load`. A unit that this build lacks is refused; ONNX Runtime would take the processor."""
        provider = PROVIDERS.get(compute_unit)
        if provider is None or provider not in self._runtime.get_available_providers():
            raise EngineRefusedError(f"ONNX Runtime has no compute unit {compute_unit} here")
        session = _call(self._runtime.InferenceSession, str(files[0]), providers=[provider])
        if provider not in session.get_providers():
            raise EngineRefusedError(f"ONNX Runtime could not start the compute unit {compute_unit}")
        return _OnnxRuntimeSession(session)


class _OnnxRuntimeSession:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """See `Session.run`."""
        outputs = _call(self._session.run, None, {self._input: batch})
        return np.asarray(outputs[0], np.float32).reshape(-1)


def _call(function: Any, *arguments: Any, **options: Any) -> Any:
    """The result of a call of ONNX Runtime, whose error types are private to its extension module."""
    try:
        return function(*arguments, **options)
    except MemoryError:
        raise
    except Exception as error:
        if any(text in str(error) for text in _NO_MEMORY):
            raise MemoryError(str(error)) from error
        raise EngineRefusedError(f"ONNX Runtime refuses the model: {str(error)[:200]}") from error
