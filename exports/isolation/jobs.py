"""What an isolated process can be asked for. Each job takes JSON and arrays, and returns JSON and an array or None."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from exports.engines import get_engine
from exports.onnx.conversion import CheckImages, Conversion
from exports.onnx.file_facts import file_facts
from exports.onnx.quantising.precision import convert_precision
from factory_base.errors import EngineError
from factory_base.progress import Progress
from supernet.tasks import task_of

if TYPE_CHECKING:
    from device_profiles.engine import Session

_Result = tuple[dict[str, Any], NDArray[np.float32] | None]

_MAX_OPERATORS, _MAX_NAME = 256, 128
"""What a manifest holds of operators: more than the standard has, with longer names."""
_LOADS = 3
"""The load time is the median of so many loads, which one interrupted load does not change."""
_WARM_UP_RUNS = 3
_RUNS = (50, 1000)
"""Fewest and most timed runs: of 50 runs, two lie above the 95th percentile."""
_RUN_SECONDS = 0.5
"""Timed runs stop after this time if there are enough of them."""


@dataclass(slots=True)
class Loaded:
    """The model that the process has loaded."""

    session: Session | None = None


def _load(loaded: Loaded, arguments: Mapping[str, Any], _: Sequence[NDArray[Any]], __: Progress) -> _Result:
    """Load the file `path` with `threads` threads of `engine`, in place of the one that was loaded before."""
    loaded.session = None
    loaded.session = _opened(arguments)
    return {}, None


def _run(loaded: Loaded, _: Mapping[str, Any], arrays: Sequence[NDArray[Any]], __: Progress) -> _Result:
    """Run the loaded model on a batch."""
    if loaded.session is None:
        raise EngineError("no model is loaded")
    return {}, loaded.session.run(arrays[0])


def _measure(_: Loaded, arguments: Mapping[str, Any], arrays: Sequence[NDArray[Any]], progress: Progress) -> _Result:
    """Load the file `path` and run it on one input again and again.

    Returns the microseconds of each run, the median microseconds of a load, and by how many bytes the resident memory
    of this process grew at most; None where the system does not report it.
    """
    resident = _reset_peak()
    session, loads = _timed_load(arguments)
    times = _timed_runs(session, arrays[0], progress)
    peak = _status_bytes("VmHWM")
    for _again in range(_LOADS - 1):
        loads.extend(_timed_load(arguments)[1])
    grown = None if resident is None or peak is None else max(0, peak - resident)
    return {"load_us": statistics.median(loads), "peak_memory_bytes": grown, "run_us": times}, None


def _describe(_: Loaded, arguments: Mapping[str, Any], __: Sequence[NDArray[Any]], ___: Progress) -> _Result:
    """The opset, the operators and the possible precisions of the ONNX file `path`, and the version of the engine."""
    facts = file_facts(Path(arguments["path"]))
    if len(facts.operators) > _MAX_OPERATORS or max(map(len, facts.operators), default=0) > _MAX_NAME:
        raise EngineError(f"{Path(arguments['path']).name}: has more kinds of operators than any network")
    version = get_engine(arguments["engine"]).version()
    described = {"opset": facts.opset, "operators": list(facts.operators), "precisions": list(facts.precisions)}
    return described | {"engine_version": version}, None


def _convert(_: Loaded, arguments: Mapping[str, Any], arrays: Sequence[NDArray[Any]], progress: Progress) -> _Result:
    """Convert the float32 ONNX file `source` to the file `path` in `precision`.

    The arrays are those of `given`: `calibration`, then the `inputs` and the `labels` of the check, whose `task` and
    `metric` are arguments.
    """
    given = dict(zip(arguments["given"], arrays, strict=True))
    check = _check(given, arguments)
    conversion = convert_precision(
        Path(arguments["source"]), Path(arguments["path"]), arguments["precision"], given.get("calibration"), check,
        drop_limit=arguments["drop_limit"], progress=progress,
    )  # fmt: skip
    return {"conversion": TypeAdapter(Conversion).dump_python(conversion, mode="json")}, None


def _check(given: Mapping[str, Any], arguments: Mapping[str, Any]) -> CheckImages | None:
    if "inputs" not in given:
        return None
    task, metric = task_of(arguments["task"]), arguments["metric"]
    return CheckImages(inputs=given["inputs"], labels=given["labels"], task=task, metric=metric)


JOBS: Final[dict[str, Callable[[Loaded, Mapping[str, Any], Sequence[NDArray[Any]], Progress], _Result]]] = {
    "convert": _convert,
    "describe": _describe,
    "load": _load,
    "measure": _measure,
    "run": _run,
}


def _opened(arguments: Mapping[str, Any]) -> Session:
    return get_engine(arguments["engine"]).load(Path(arguments["path"]), arguments["threads"])


def _timed_load(arguments: Mapping[str, Any]) -> tuple[Session, list[float]]:
    start = time.perf_counter_ns()
    session = _opened(arguments)
    return session, [(time.perf_counter_ns() - start) / 1e3]


def _timed_runs(session: Session, batch: NDArray[Any], progress: Progress) -> list[float]:
    """Microseconds of single runs."""
    for _ in range(_WARM_UP_RUNS):
        session.run(batch)
    times: list[float] = []
    end = time.perf_counter() + _RUN_SECONDS
    while len(times) < _RUNS[0] or (len(times) < _RUNS[1] and time.perf_counter() < end):
        start = time.perf_counter_ns()
        session.run(batch)
        times.append((time.perf_counter_ns() - start) / 1e3)
    progress(len(times), len(times), "timed runs")
    return times


def _reset_peak() -> int | None:
    """The resident memory of this process, at which its peak starts again; None if the system does not report it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # see proc(5)
        return _status_bytes("VmRSS")
    return None


def _status_bytes(key: str) -> int | None:
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), None)
    return None
