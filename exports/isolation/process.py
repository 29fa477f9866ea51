"""Running engines in a process of their own, with limits on time and memory.

A model file is a program: one of unknown origin may loop for ever or ask for any amount of memory, and a converter may
crash on a network of one's own. Whatever happens there becomes an `EngineError` here. What can be asked for are the
`jobs`; one process answers them one after the other, and is replaced if one of them ended it. Its answers are checked
like any other input from outside.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ModelInput
from factory_base.errors import DataError, DiskError, EngineError, FactoryError, ForeignError, ParityError
from factory_base.foreign import parse_json, printable
from factory_base.progress import Progress, silent

_START_SECONDS = 120.0
"""Time to start Python and import the engines, which takes about half a second on an idle machine."""
ANSWER_BYTES = 1 << 20
"""The longest line of an answer; arrays follow as bytes. The record of a conversion lists names of layers: some KiB."""
_ANSWER_DEPTH = 8
_GRACE_SECONDS = 5.0
MEMORY_BYTES = 4 << 30
_PROGRAM = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from exports.isolation.server import serve
serve(int(sys.argv[2]))
"""
"""Not `-m`: that would import modules from the current folder, which may be the family's."""
_ERRORS: Final = {error.__name__: error for error in (DataError, DiskError, EngineError, ParityError)}
"""The errors that pass from that process to this one as they are; all others become an `EngineError`."""
_SIGNALS: Final = {
    int(signal.SIGABRT): "the engine gave up (abort)",
    int(signal.SIGSEGV): "the engine crashed (segmentation fault)",
    int(signal.SIGILL): "the engine was built for another processor (illegal instruction)",
    int(getattr(signal, "SIGBUS", -1)): "the engine crashed (bus error)",
    int(getattr(signal, "SIGKILL", -1)): "the system ended it, most likely because memory ran out",
    int(getattr(signal, "SIGXCPU", -1)): "it used up its processor time",
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Answer:
    """The answer of a job.

    Attributes:
        values: A JSON object.
        array: The outputs of a model, float32; None if the job returns none.
    """

    values: Mapping[str, Any]
    array: NDArray[np.float32] | None


class JobTimeoutError(EngineError):
    """A job did not finish within its time."""


class IsolatedProcess:
    """A process that does `jobs`; it is started by the first one. A context manager.

    Args:
        memory_bytes: How much memory that process may take beyond the engine itself. Only Linux enforces it.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> IsolatedProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def generation(self) -> int:
        """A number that changes when the process is replaced, which forgets what it had loaded."""
        return self._process.pid if self._process else 0

    def close(self) -> None:
        """End the process, if there is one; the next job starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was still to be sent has no reader any more
                    pipe.close()
        process.wait()

    def call(
        self,
        job: str,
        arguments: Mapping[str, Any],
        arrays: Sequence[NDArray[Any]] = (),
        *,
        subject: str,
        seconds: float,
        shape: tuple[int, ...] | None = None,
        progress: Progress = silent,
    ) -> Answer:
        """Do a job and wait for its answer.

        Args:
            job: A key of `jobs.JOBS`.
            arguments: Its arguments, as a JSON object.
            arrays: Its arrays.
            subject: What the messages of errors begin with, such as the name of a file.
            seconds: How long it may take.
            shape: The shape of the array that it must return; None if it returns none.
            progress: Called whenever the job reports progress.

        Raises:
            JobTimeoutError: It took longer.
            EngineError: The engine is not installed, or refuses what it was given; or the job ended the process, or
                returned something else.
            DataError, DiskError, ParityError: The job failed with that error.
        """
        process = self._process or self._start()
        header = {
            "job": job, "arguments": dict(arguments), "seconds": seconds,
            "arrays": [[array.dtype.str, array.shape] for array in arrays],
        }  # fmt: skip
        content: list[bytes | memoryview] = [json.dumps(header).encode() + b"\n"]
        content += [np.ascontiguousarray(array).data for array in arrays]
        with self._deadline(process, seconds, f"{subject}: did not finish within {seconds:.3g} s"):
            self._send(process, subject, content)
            answer = self._answer(process, subject, progress)
            if "error" in answer:
                raise _error(answer)
            if shape is None:
                return Answer(values=answer, array=None)
            return Answer(values=answer, array=self._array(process, subject, answer, shape))

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
        """Kill the process after that time, which makes whatever waits for it fail with `JobTimeoutError`."""
        passed = threading.Event()

        def end() -> None:
            passed.set()
            process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            yield
        except FactoryError:
            if not passed.is_set():
                raise
        finally:
            timer.cancel()
        if passed.is_set():
            self.close()
            raise JobTimeoutError(message)

    def _send(self, process: subprocess.Popen[bytes], subject: str, content: Sequence[bytes | memoryview]) -> None:
        try:
            for part in content:
                _pipe(process.stdin).write(part)
            _pipe(process.stdin).flush()
        except OSError as error:
            raise EngineError(self._end(subject)) from error

    def _answer(self, process: subprocess.Popen[bytes], subject: str, progress: Progress) -> dict[str, Any]:
        """The next line that is not a report of progress."""
        while True:
            try:
                line = _pipe(process.stdout).readline(ANSWER_BYTES)
                answer = parse_json(line, subject, max_bytes=ANSWER_BYTES, max_depth=_ANSWER_DEPTH) if line else None
            except (OSError, ForeignError):
                answer = None
            if not isinstance(answer, dict):
                raise EngineError(self._end(subject))
            if not _is_progress(answer.get("progress")):
                return answer
            done, total, detail = answer["progress"]
            progress(done, total, printable(detail, 80))

    def _array(
        self, process: subprocess.Popen[bytes], subject: str, answer: Mapping[str, Any], shape: tuple[int, ...]
    ) -> NDArray[np.float32]:
        if answer.get("shape") != list(shape):
            self.close()  # the outputs that follow are not read
            found = printable(str(answer.get("shape")), 60)
            raise EngineError(f"{subject}: returns logits of shape {found}, expected {list(shape)}")
        size = 4 * int(np.prod(shape, dtype=np.int64))
        data = _pipe(process.stdout).read(size)
        if len(data) != size:
            raise EngineError(self._end(subject))
        return np.frombuffer(data, np.float32).reshape(shape)

    def _end(self, subject: str) -> str:
        """End the process after it broke off; return why."""
        process = self._process
        if process is None:
            return f"{subject}: was interrupted"
        try:
            code: int | None = process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        if code is None or code >= 0:
            how, why = f"with exit code {code}", "it may need more memory than is allowed"
        else:
            how, why = f"by signal {-code}", _SIGNALS.get(-code, "it may need more memory than is allowed")
        return (
            f"{subject}: ended the process that ran it, {how}: {why}; free some memory and try again, or use another "
            "version of the engine or another precision"
        )


class IsolatedSession:
    """A model that is loaded in an isolated process. It is loaded when it first runs, and again if it was forgotten.

    Args:
        process: The process.
        engine: The name of the engine.
        path: The model file.
        threads: The number of threads of the engine.
        classes: The number of logits that the model must return.
        seconds: How long loading and all runs may take together.
    """

    def __init__(
        self, process: IsolatedProcess, engine: str, path: Path, threads: int, *, classes: int, seconds: float
    ) -> None:
        self._process, self._path, self._classes = process, path, classes
        self._arguments = {"engine": engine, "path": str(path.absolute()), "threads": threads}
        self._allowed, self._left = seconds, seconds
        self._loaded = 0

    def run(self, batch: ModelInput) -> NDArray[np.float32]:
        """`(n, *input_shape) -> (n, classes)` for any n >= 1. Raises `JobTimeoutError`, `EngineError`."""
        if not self._loaded or self._loaded != self._process.generation:
            self._call("load", ())
            self._loaded = self._process.generation
        array = self._call("run", (batch,), (len(batch), self._classes)).array
        if array is None:
            raise EngineError(f"{self._path.name}: returns no logits")
        return array

    def _call(self, job: str, arrays: Sequence[ModelInput], shape: tuple[int, ...] | None = None) -> Answer:
        name, start = self._path.name, time.monotonic()
        try:
            return self._process.call(
                job, self._arguments, arrays, subject=name, seconds=max(self._left, 1e-3), shape=shape
            )
        except JobTimeoutError as error:
            raise JobTimeoutError(f"{name}: did not finish within {self._allowed:.3g} s") from error
        finally:
            self._left -= time.monotonic() - start


def _error(answer: Mapping[str, Any]) -> FactoryError:
    kind = answer.get("kind")
    return _ERRORS.get(kind if isinstance(kind, str) else "", EngineError)(printable(str(answer["error"]), 500))


def _is_progress(value: Any) -> bool:
    return isinstance(value, list) and [type(part) for part in value] == [int, int, str]


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise EngineError("the process that runs models has no pipes")
    return pipe
