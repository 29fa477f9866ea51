"""The benchmark programs that engines provide for phones: how to call them in a shell, and how to read their output."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Protocol

from device_profiles.workload.file_size import INPUT_NAME, OUTPUT_NAME

WARM_UP: Final = 3
"""Runs at the start that are dropped if single runs are reported. The programs warm up with one run, in which the first
allocations happen; the clock of a phone rises during the next ones."""

_NUMBER = r"([0-9]{1,30}(?:\.[0-9]{0,30})?(?:e[+-]?[0-9]{1,5})?)"
_FILE_ROW = re.compile(r"^[^,\n]*,([^,\n]*),[0-9]+,-?[0-9]+,[0-9]+\s*$", re.MULTILINE)
_ORT_LOAD = re.compile(rf"^Session creation time cost: ?{_NUMBER} s", re.MULTILINE)
_ORT_MEDIAN = re.compile(rf"^P50 Latency(?: is|:) ?{_NUMBER} ?s", re.MULTILINE)
_ORT_MEAN = re.compile(rf"^Average (?:inference )?time cost(?: total)?: ?{_NUMBER} ms", re.MULTILINE)
_ORT_VERSION = re.compile(rb"VERS_([0-9]{1,5}\.[0-9]{1,5}\.[0-9]{1,5})\x00")
_MNN_LOAD = re.compile(rf"cost time: {_NUMBER} ms")
_MNN_MEAN = re.compile(rf"^Avg= {_NUMBER} ms, min= {_NUMBER} ms, max= {_NUMBER} ms", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The times that a program printed for one file, plausible or not; NaN for one that is not a number.

    Attributes:
        runs_us: Microseconds of each run; one average if it reports no single runs; empty if it reports neither.
        load_us: Microseconds from the file to a session that is ready; None if it does not report them.
    """

    runs_us: tuple[float, ...]
    load_us: float | None


class PerfTool(Protocol):
    """A benchmark program of an engine."""

    @property
    def name(self) -> str:
        """Name of the program, as the engine builds it."""

    @property
    def suffix(self) -> str:
        """Suffix that it requires of model files."""

    def script(self, program: str, threads: int, seed: int) -> str:
        """The body of a shell function that runs the quoted `program` and returns its exit status.

        `$1` is the model's file, `$2` the number of runs, `$3` the shape of its input with the batch, as in `1,3,8,8`.
        """

    def parse(self, text: str) -> Reading:
        """Read the output of that function; never fails."""

    def version_in(self, content: bytes) -> str | None:
        """The engine's version if the bytes of a program or library contain it, otherwise None."""


class OnnxRuntimePerfTest:
    """`onnxruntime_perf_test`, part of ONNX Runtime's build for Android. Implements `PerfTool`.

    The result file has a row for each run, `name,seconds,peak bytes of the process,CPU usage,number`
    (onnxruntime/test/perftest, `PerformanceResult::DumpToFile`). If it is missing, the printed median counts as one
    run; if that is missing too, the printed average. Inputs are uniform numbers from 0 to 5 (`-I -S`).
    """

    name = "onnxruntime_perf_test"
    suffix = "onnx"

    def script(self, program: str, threads: int, seed: int) -> str:
        """See the protocol."""
        options = f'-e cpu -m times -r "$2" -x {threads} -y 1 -I -S {seed % 2**31}'
        result = "result.$$.csv"
        return (
            f'rm -f {result}; {program} {options} "$1" {result}; code=$?; '
            f"if [ -f {result} ]; then cat {result}; rm {result}; fi; return $code"
        )

    def parse(self, text: str) -> Reading:
        """See the protocol."""
        runs = [_seconds(row) * 1e6 for row in _FILE_ROW.findall(text)]
        load, median, mean = _ORT_LOAD.search(text), _ORT_MEDIAN.search(text), _ORT_MEAN.search(text)
        if not runs and median:
            runs = [float(median[1]) * 1e6]
        elif not runs and mean:
            runs = [float(mean[1]) * 1e3]
        return _reading(runs[WARM_UP:] if len(runs) > WARM_UP else runs, float(load[1]) * 1e6 if load else None)

    def version_in(self, content: bytes) -> str | None:
        """The version of the library's symbols, which programs that link it contain too."""
        found = _ORT_VERSION.search(content)
        return found[1].decode() if found else None


class MnnModuleBasic:
    """`ModuleBasic.out` of MNN's tools. Implements `PerfTool`.

    It prints an average, which counts as one run, and the time to load. MNN's `benchmark.out` does not print the time
    to load, and `MNNV2Basic.out` times with a callback at each operator.
    """

    name = "ModuleBasic.out"
    suffix = "mnn"

    def script(self, program: str, threads: int, seed: int) -> str:  # noqa: ARG002 - inputs are constant
        """See the protocol. Arguments: model, folder of `input.json`, mask, CPU, runs, threads, normal precision."""
        before, after = (
            f'{{"inputs":[{{"name":"{INPUT_NAME}","value":0.5,"shape":[',
            f']}}],"outputs":["{OUTPUT_NAME}"]}}',
        )
        folder = "input.$$"
        return (
            f"mkdir -p {folder}; echo '{before}'\"$3\"'{after}' > {folder}/input.json; "
            f'{program} "$1" {folder} 0 0 "$2" {threads} 0; code=$?; rm -r {folder}; return $code'
        )

    def parse(self, text: str) -> Reading:
        """See the protocol."""
        load, mean = _MNN_LOAD.search(text), _MNN_MEAN.search(text)
        return _reading([float(mean[1]) * 1e3] if mean else [], float(load[1]) * 1e3 if load else None)

    def version_in(self, content: bytes) -> str | None:  # noqa: ARG002
        """None: its files contain the version in no recognisable place."""
        return None


PERF_TOOLS: Final[dict[str, PerfTool]] = {"onnxruntime": OnnxRuntimePerfTest(), "mnn": MnnModuleBasic()}
"""The benchmark programs by the name of the engine."""


def _reading(runs_us: list[float], load_us: float | None) -> Reading:
    return Reading(runs_us=tuple(runs_us), load_us=load_us)


def _seconds(text: str) -> float:
    return float(text) if re.fullmatch(_NUMBER, text) else math.nan
