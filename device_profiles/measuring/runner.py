"""Where files are timed: the protocol `Runner`, and the machine at hand. Other machines are reached by `exports`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import Engine, Session
from device_profiles.measuring.host_facts import processor, ram_bytes
from device_profiles.measuring.host_peak import measure_peak
from device_profiles.measuring.timing import run_for, visit
from device_profiles.profile import MachinePeak, Platform
from device_profiles.workload.operators import KernelKind

LOADS = 3
"""How often a file is loaded whose load time is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a machine says of itself.

    Attributes:
        processor: its name.
        platform: as selectors name it.
        cores: that an engine may use.
        ram_bytes: as its kernel reports it.
        engine_version: of the engine that is installed there.
        os_version: of its operating system, as selectors write it; "" where no selector should ask for one.
        soc_maker: of its system on a chip, as apps are told it; "" where it is not known.
        soc_model: likewise.
    """

    processor: str
    platform: Platform
    cores: int
    ram_bytes: int
    engine_version: str
    os_version: str = ""
    soc_maker: str = ""
    soc_model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedFile:
    """A converted file, here, and the shape of one input, without the batch."""

    path: Path
    input_shape: tuple[int, ...]


class Runner(Protocol):
    """One engine on one machine, which may be gone at any moment: then `EngineError` says so.

    Files are known by their place in what `open` was given. Inputs are standard normal numbers, one a file.
    """

    def machine(self) -> Machine:
        """What the machine says of itself. Raises `EngineError` where it cannot be reached, or lacks the engine."""

    def open(self, files: Sequence[TimedFile], timed: int, threads: int, seed: int) -> NDArray[np.float64]:
        """Make the files ready to be run.

        Args:
            files: all of them.
            timed: of so many, from the first on, the load time is wanted.
            threads: inside an operator.
            seed: of the inputs.

        Returns:
            (timed,) microseconds from a file to a session that is ready, medians of some.

        Raises:
            EngineError: the engine refuses a file, or the machine is gone.
        """

    def visit(self, order: Sequence[int]) -> Iterator[tuple[int, list[float]]]:
        """Run each file of `order` some times in a row, after a warm-up; yields the file and microseconds of each run.

        What was yielded is measured, even if the machine is gone afterwards. Raises `EngineError` when it is.
        """

    def run_for(self, file: int, seconds: float) -> NDArray[np.float64]:
        """Run one file without a pause for so long; (runs,) microseconds of each. Raises `EngineError`."""

    def peak_memory_bytes(self, file: int) -> int | None:
        """As `Session.peak_memory_bytes`. Raises `EngineError`."""

    def kernel_latency_us(self, file: int) -> Mapping[KernelKind, float] | None:
        """As `Session.kernel_latency_us`. Raises `EngineError`."""

    def peak(self, threads: int) -> MachinePeak | None:
        """The most that the machine reaches with so many threads; None where nothing tells. Raises `EngineError`."""


class LocalRunner:
    """The machine at hand. Implements `Runner`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sessions: list[Session] = []
        self._inputs: list[NDArray[np.float32]] = []

    def machine(self) -> Machine:
        """See the protocol."""
        return Machine(
            processor=processor(),
            platform="linux",
            cores=os.cpu_count() or 1,
            ram_bytes=ram_bytes(),
            engine_version=self._engine.version(),
        )

    def open(self, files: Sequence[TimedFile], timed: int, threads: int, seed: int) -> NDArray[np.float64]:
        """See the protocol."""
        times = np.empty((LOADS, timed))
        self._sessions = []
        for index, file in enumerate(files):
            for attempt in range(LOADS if index < timed else 1):
                start = time.perf_counter()
                session = self._engine.load(file.path, threads)
                if index < timed:
                    times[attempt, index] = (time.perf_counter() - start) * 1e6
            self._sessions.append(session)
        self._inputs = [
            np.random.default_rng(seed).standard_normal((1, *file.input_shape), dtype=np.float32) for file in files
        ]
        return np.asarray(np.median(times, axis=0))

    def visit(self, order: Sequence[int]) -> Iterator[tuple[int, list[float]]]:
        """See the protocol."""
        for index in order:
            yield index, visit(self._sessions[index], self._inputs[index])

    def run_for(self, file: int, seconds: float) -> NDArray[np.float64]:
        """See the protocol."""
        return run_for(self._sessions[file], self._inputs[file], seconds)

    def peak_memory_bytes(self, file: int) -> int | None:
        """See the protocol."""
        return self._sessions[file].peak_memory_bytes()

    def kernel_latency_us(self, file: int) -> Mapping[KernelKind, float] | None:
        """See the protocol."""
        return self._sessions[file].kernel_latency_us(self._inputs[file])

    def peak(self, threads: int) -> MachinePeak | None:
        """See the protocol. Takes seconds."""
        return measure_peak(threads)
