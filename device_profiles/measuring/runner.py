"""Timing files on a machine: the protocol `Runner`, and this machine. `runners` has those for other machines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import Engine, InputType, ModelInput, Session
from device_profiles.measuring.host_facts import processor, ram_bytes
from device_profiles.measuring.host_peak import measure_peak
from device_profiles.measuring.timing import run_for, visit
from device_profiles.profile import Platform
from device_profiles.profile_costs import MachinePeak
from device_profiles.workload.operators import KernelKind
from factory_base.errors import EngineError
from factory_base.processors import usable_cores

LOADS = 3
"""How often a file is loaded to measure its load time: three have a median that one disturbed load does not change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a machine reports about itself.

    Attributes:
        processor: Name of its processor.
        platform: Its platform, as selectors name it.
        cores: Number of cores that an engine may use.
        ram_bytes: RAM in bytes, as its kernel reports it.
        engine_version: Version of the engine that is installed there.
        os_version: Version of its operating system, as selectors write it; "" if selectors should not ask for one.
        soc_maker: Maker of its system on a chip, as the system reports it to apps; "" if it is not known.
        soc_model: Model of its system on a chip, likewise.
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
    """A converted file on this machine, and the shape and type of one input, without the batch."""

    path: Path
    input_shape: tuple[int, ...]
    input_type: InputType = "float32"

    def random_input(self, seed: int) -> ModelInput:
        """A batch of one: standard normal numbers, or tokens, of which every vocabulary has 0 and 1."""
        generator, shape = np.random.default_rng(seed), (1, *self.input_shape)
        if self.input_type == "int64":
            return generator.integers(0, 2, shape, dtype=np.int64)
        return generator.standard_normal(shape, dtype=np.float32)


def refuse_tokens(files: Sequence[TimedFile]) -> None:
    """Raise `EngineError` if a file takes tokens, which this machine's program cannot give it."""
    if any(file.input_type == "int64" for file in files):
        raise EngineError("networks for texts can be measured on this machine only; leave out the other machine")


class Runner(Protocol):
    """One engine on one machine. The machine may disappear at any moment, which `EngineError` reports.

    Files are identified by their index in the sequence that `open` was given. Each has one input of standard normal
    numbers, or of tokens.
    """

    def machine(self) -> Machine:
        """Facts about the machine. Raises `EngineError` if it cannot be reached or lacks the engine."""

    def open(self, files: Sequence[TimedFile], timed: int, threads: int, seed: int) -> NDArray[np.float64]:
        """Make the files ready to be run.

        Args:
            files: All files that will be run.
            timed: Number of files, from the first on, whose load time is measured.
            threads: Threads inside an operator.
            seed: Seed of the inputs.

        Returns:
            (timed,) microseconds from a file to a session that is ready: the median of `LOADS` loads of each.

        Raises:
            EngineError: The engine refuses a file, or the machine is gone.
        """

    def visit(self, order: Sequence[int]) -> Iterator[tuple[int, list[float]]]:
        """Run each file of `order` several times after a warm-up; yields the file and the microseconds of its runs.

        Yielded times stay valid if the machine disappears afterwards. Raises `EngineError` when it does.
        """

    def run_for(self, file: int, seconds: float) -> NDArray[np.float64]:
        """Run one file for `seconds` without a pause; (runs,) microseconds of each run. Raises `EngineError`."""

    def peak_memory_bytes(self, file: int) -> int | None:
        """Peak memory of one file, see `Session.peak_memory_bytes`. Raises `EngineError`."""

    def kernel_latency_us(self, file: int) -> Mapping[KernelKind, float] | None:
        """Latency of one file by kind of kernel, see `Session.kernel_latency_us`. Raises `EngineError`."""

    def peak(self, threads: int) -> MachinePeak | None:
        """Peak rates of the machine with `threads` threads; None if they cannot be measured. Raises `EngineError`."""


class LocalRunner:
    """This machine. Implements `Runner`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sessions: list[Session] = []
        self._inputs: list[ModelInput] = []

    def machine(self) -> Machine:
        """See the protocol."""
        return Machine(
            processor=processor(),
            platform="linux",
            cores=usable_cores(),
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
        self._inputs = [file.random_input(seed) for file in files]
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
