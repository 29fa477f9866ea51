"""Running models of unknown origin: in a process of its own, with limits on time and memory.

An ONNX file is a program: it may loop for ever, or ask for any amount of memory. One process runs all models of a
family, one after the other; it is replaced only if one of them ended it. What it answers is checked like any other
input from outside.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import EngineError, ForeignError
from factory_base.foreign import parse_json, printable

_START_SECONDS = 120.0
"""Time to start Python and import the engines, which takes about a second on an idle machine."""
ANSWER_BYTES = 4096
"""The longest line of an answer; logits follow as bytes."""
_GRACE_SECONDS = 5.0
_PROGRAM = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from exports.family.model_process import serve
serve(int(sys.argv[2]))
"""
"""Not `-m`: that would import modules from the current folder, which may be the family's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRun:
    """One run of a model on the samples.

    Attributes:
        engine: The name of the engine.
        path: The model file.
        size: The height and width of the model's input, in pixels.
        mean_ppm: The mean of the normalisation per channel, in millionths of full scale.
        std_ppm: The standard deviation per channel, in millionths of full scale.
        classes: The number of logits that the model must return.
    """

    engine: str
    path: Path
    size: int
    mean_ppm: tuple[int, ...]
    std_ppm: tuple[int, ...]
    classes: int


class ModelTimeoutError(EngineError):
    """A model did not finish within its time."""


class IsolatedRuns:
    """Runs models in another process, which is started when the first model runs. A context manager.

    Args:
        memory_bytes: How much memory that process may take beyond the engine itself. Only Linux enforces it.
    """

    def __init__(self, memory_bytes: int = 4 << 30) -> None:
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> IsolatedRuns:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was still to be sent has no reader any more
                    pipe.close()
        process.wait()

    def run(self, request: SampleRun, images: Sequence[NDArray[np.uint8]], seconds: float) -> NDArray[np.float32]:
        """The logits of a model for `images`, each uint8 `(height, width, 3)`: float32 `(n, classes)`.

        Args:
            request: The model and its preprocessing.
            images: Base images of one size.
            seconds: How long the model may take for loading and for all images.

        Raises:
            ModelTimeoutError: The model took longer.
            EngineError: The engine is not installed or refuses the file, the model ended the process or returns
                something else.
        """
        process = self._process or self._start()
        stacked = np.stack(images)
        header = {
            "engine": request.engine, "path": str(request.path.absolute()), "size": request.size,
            "mean_ppm": request.mean_ppm, "std_ppm": request.std_ppm, "shape": stacked.shape, "seconds": seconds,
        }  # fmt: skip
        name = request.path.name
        with self._deadline(process, seconds, f"{name}: did not finish within {seconds:.3g} s"):
            answer = self._exchange(process, name, json.dumps(header).encode() + b"\n" + stacked.tobytes())
            if "error" in answer:
                raise EngineError(printable(str(answer["error"])))
            expected = [len(images), request.classes]
            if answer.get("shape") != expected:
                self.close()  # the logits that follow are not read
                found = printable(str(answer.get("shape")), 60)
                raise EngineError(f"{name}: returns logits of shape {found}, expected {expected}")
            data = _pipe(process.stdout).read(4 * len(images) * request.classes)
            if len(data) != 4 * len(images) * request.classes:
                raise EngineError(self._end(name))
        return np.frombuffer(data, np.float32).reshape(expected)

    def _start(self) -> subprocess.Popen[bytes]:
        places = json.dumps([str(Path(__file__).parents[2]), *filter(None, sys.path)])  # "" is the current folder
        process = self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, places, str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with self._deadline(process, _START_SECONDS, "the process that runs models does not start"):
            if _pipe(process.stdout).readline(ANSWER_BYTES) != b"ready\n":
                self.close()
                raise EngineError("the process that runs models does not start; is the installation complete?")
        return process

    @contextmanager
    def _deadline(self, process: subprocess.Popen[bytes], seconds: float, message: str) -> Iterator[None]:
        """Kill the process after that time, which makes whatever waits for it fail with `ModelTimeoutError`."""
        passed = threading.Event()

        def end() -> None:
            passed.set()
            process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            yield
        except EngineError:
            if not passed.is_set():
                raise
        finally:
            timer.cancel()
        if passed.is_set():
            self.close()
            raise ModelTimeoutError(message)

    def _exchange(self, process: subprocess.Popen[bytes], name: str, request: bytes) -> dict[str, Any]:
        try:
            _pipe(process.stdin).write(request)
            _pipe(process.stdin).flush()
            line = _pipe(process.stdout).readline(ANSWER_BYTES)
            answer = parse_json(line, name, max_bytes=ANSWER_BYTES, max_depth=3) if line else None
        except (OSError, ForeignError):
            answer = None
        if not isinstance(answer, dict):
            raise EngineError(self._end(name))
        return answer

    def _end(self, name: str) -> str:
        """End the process after it broke off; return why."""
        process = self._process
        if process is None:
            return f"{name}: was interrupted"
        try:
            code: int | None = process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return f"{name}: ended the process that ran it, {how}; it may need more memory than is allowed"


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise EngineError("the process that runs models has no pipes")
    return pipe
