"""A runner for quick forms, which times files on this machine in CPU time. Not a benchmark itself.

The full forms time in wall-clock time on a quiet machine. Beside other work that is too noisy: with eight busy
processes on two cores, latencies in odd and even rounds differed by 30 to 65 % (p95); `measure_host` accepts 10 %. In
CPU time, with the smallest of four or five runs in 12 to 20 rounds, they differed by 2 to 8 %.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import Engine, Session
from device_profiles.measuring.runner import LocalRunner, Machine, TimedFile
from device_profiles.profile_costs import MachinePeak
from device_profiles.workload.operators import KernelKind

RUNS = 4
"""Runs of each visit, of which the smallest counts; see above."""

SUSTAINED_SECONDS = 0.5
"""Length of the sustained run, whatever was asked for: no number that the benchmarks report depends on it."""


class CpuTimeRunner:
    """This machine, timed in CPU seconds of this process. Implements `Runner`.

    Args:
        engine: The engine that loads and runs the files.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._local = engine, LocalRunner(engine)
        self._sessions: list[Session] = []
        self._inputs: list[NDArray[np.float32]] = []

    def machine(self) -> Machine:
        """See the protocol."""
        return self._local.machine()

    def open(self, files: Sequence[TimedFile], timed: int, threads: int, seed: int) -> NDArray[np.float64]:
        """See the protocol. Each file is loaded once."""
        loads_us = []
        self._sessions, self._inputs = [], []
        for file in files:
            start = time.process_time_ns()
            self._sessions.append(self._engine.load(file.path, threads))
            loads_us.append((time.process_time_ns() - start) / 1e3)
            rng = np.random.default_rng(seed)
            self._inputs.append(rng.standard_normal((1, *file.input_shape), dtype=np.float32))
        return np.array(loads_us[:timed])

    def visit(self, order: Sequence[int]) -> Iterator[tuple[int, list[float]]]:
        """See the protocol. Yields one time per file: the smallest of `RUNS` runs."""
        for index in order:
            self._run_us(index)  # warm-up
            yield index, [min(self._run_us(index) for _ in range(RUNS))]

    def run_for(self, file: int, seconds: float) -> NDArray[np.float64]:
        """See the protocol. Runs for at most `SUSTAINED_SECONDS`."""
        end = time.perf_counter() + min(seconds, SUSTAINED_SECONDS)
        times = [self._run_us(file)]
        while time.perf_counter() < end:
            times.append(self._run_us(file))
        return np.array(times)

    def peak_memory_bytes(self, file: int) -> int | None:
        """See the protocol."""
        return self._sessions[file].peak_memory_bytes()

    def kernel_latency_us(self, file: int) -> Mapping[KernelKind, float] | None:  # noqa: ARG002 - as all runners
        """None, to save seconds: cost models are then fitted to the latencies of networks alone."""
        return None

    def peak(self, threads: int) -> MachinePeak | None:  # noqa: ARG002 - as all runners
        """None, to save seconds: no number that the benchmarks report depends on it."""
        return None

    def _run_us(self, file: int) -> float:
        start = time.process_time_ns()
        self._sessions[file].run(self._inputs[file])
        return max(time.process_time_ns() - start, 1) / 1e3
