"""The process that runs models of unknown origin; `isolated` starts it."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from exports.engines import get_engine
from exports.family.isolated import ANSWER_BYTES
from exports.family.samples import run_samples
from exports.onnx.onnxruntime_library import onnxruntime_library
from factory_base.errors import EngineError


def serve(memory_bytes: int) -> None:
    """Run what standard input asks for until it ends.

    A request is a line of JSON, then the images as bytes; an answer is a line of JSON, then the logits as bytes.

    Args:
        memory_bytes: How much memory this process may take from here on.
    """
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # engines print; only answers belong in the pipe
    _limit_memory(memory_bytes)
    answers.write(b"ready\n")
    answers.flush()
    while line := requests.readline():
        request = json.loads(line)
        answer, data = _answer(request, requests.read(int(np.prod(request["shape"]))))
        answers.write(json.dumps(answer).encode() + b"\n" + data)
        answers.flush()


def _answer(request: dict[str, Any], pixels: bytes) -> tuple[dict[str, Any], bytes]:
    _limit_time(request["seconds"])
    path = Path(request["path"])
    try:
        images = np.frombuffer(pixels, np.uint8).reshape(request["shape"])
        session = get_engine(request["engine"]).load(path, 1)
        logits = run_samples(session, images, request["size"], request["mean_ppm"], request["std_ppm"])
        return {"shape": list(logits.shape)}, np.ascontiguousarray(logits, np.float32).tobytes()
    except MemoryError:
        return {"error": f"{path.name}: needs more memory than is allowed"}, b""
    except (EngineError, ValueError) as error:  # a ValueError: outputs of different shapes cannot be joined
        return {"error": str(error)[: ANSWER_BYTES // 8]}, b""


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
        limit = int(used.ru_utime + used.ru_stime + seconds) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
