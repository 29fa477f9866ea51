"""The process that does `jobs`; `process` starts it."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from exports.isolation.jobs import JOBS, Loaded
from exports.isolation.process import ANSWER_BYTES
from exports.onnx.onnxruntime_library import onnxruntime_library
from factory_base.errors import EngineError, FactoryError


def serve(memory_bytes: int) -> None:
    """Do what standard input asks for until it ends.

    A request is a line of JSON, then its arrays as bytes; an answer is a line of JSON, then its array as bytes. Lines
    that report progress may come before it.

    Args:
        memory_bytes: How much memory this process may take from here on.
    """
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # engines print; only answers belong in the pipe
    _limit_memory(memory_bytes)
    _write(answers, b"ready\n")
    loaded = Loaded()
    while line := requests.readline():
        request = json.loads(line)
        arrays = [_read(requests, dtype, shape) for dtype, shape in request["arrays"]]
        answer, data = _answer(request, arrays, loaded, answers)
        _write(answers, json.dumps(answer).encode() + b"\n" + data)


def _answer(
    request: dict[str, Any], arrays: Sequence[NDArray[Any]], loaded: Loaded, answers: IO[bytes]
) -> tuple[dict[str, Any], bytes]:
    def progress(done: int, total: int, detail: str = "") -> None:
        _write(answers, json.dumps({"progress": [done, total, detail]}).encode() + b"\n")

    _limit_time(request["seconds"])
    try:
        values, array = JOBS[request["job"]](loaded, request["arguments"], arrays, progress)
    except MemoryError:
        name = Path(str(request["arguments"].get("path", ""))).name
        return {"error": f"{name}: needs more memory than is allowed", "kind": "EngineError"}, b""
    except (FactoryError, ValueError) as error:  # a ValueError: outputs of different shapes cannot be joined
        return {"error": str(error)[: ANSWER_BYTES // 8], "kind": type(error).__name__}, b""
    if array is None:
        return values, b""
    return {**values, "shape": list(array.shape)}, np.ascontiguousarray(array, np.float32).tobytes()


def _read(requests: IO[bytes], dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    kind = np.dtype(dtype)
    return np.frombuffer(requests.read(kind.itemsize * math.prod(shape)), kind).reshape(shape)


def _write(answers: IO[bytes], data: bytes) -> None:
    answers.write(data)
    answers.flush()


def _limit_memory(more: int) -> None:
    """Let this process take `more` bytes than it has now, and be the first that the kernel ends if memory runs out."""
    with suppress(EngineError):  # the first model that needs it reports it
        onnxruntime_library()
    with suppress(ImportError, OSError, ValueError):  # a system without such limits
        import resource

        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + more, resource.getrlimit(resource.RLIMIT_AS)[1]))
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit_time(seconds: float) -> None:
    """End this process after so much more processor time, so that it ends even if the other process was killed."""
    with suppress(ImportError, OSError, ValueError):  # a system without such limits
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime + seconds * (os.cpu_count() or 1)) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
