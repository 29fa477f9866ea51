"""Timing networks and their parts in a real engine: converted once, visited in rounds, resumable after any visit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ComputePrecision, Engine
from device_profiles.measuring.random_inputs import network_input_type, random_inputs
from device_profiles.measuring.reported import REMEDY, RUNS, checked
from device_profiles.measuring.rounds import Round, read_rounds
from device_profiles.measuring.runner import Runner, TimedFile
from device_profiles.measuring.timing import Timing, medians, summarise
from device_profiles.workload.link_parts import ABSENT
from device_profiles.workload.operators import KernelKind
from device_profiles.workload.samples import Sample
from device_profiles.workload.workloads import Workloads
from factory_base.errors import EngineError, FactoryError
from factory_base.files import digest_of
from factory_base.progress import Progress
from supernet.space import SubnetConfig

_CALIBRATION_INPUTS = 4
"""Random inputs that int8 scales are calibrated on. Few are enough: the values affect accuracy, not speed."""

_ROUNDS_VERSION = 2
"""Version of the file of finished rounds, part of its name: files of another version are ignored."""

SUSTAINED_SECONDS = 10.0
"""Duration of the run without a pause. A processor's boost ends within seconds; the whole measurement takes minutes."""

_PROGRESS_FILES = 25
"""Progress inside a round is reported once per so many files, so that reporting does not disturb what is timed: at 2 to
20 ms for a visit this is about twice a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How to measure.

    Attributes:
        engine: The engine that converts the networks.
        threads: Threads of the engine.
        precision: Precision of the converted files.
        rounds: Visits to each network and part.
        seed: Seed of the weights, the inputs and the order of visits.
    """

    engine: Engine
    threads: int
    precision: ComputePrecision
    rounds: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurements:
    """Measured values of some networks, and of their parts if the space is a chain.

    Attributes:
        subnets: The networks; those that models are fitted to come first.
        fitted: Number of networks that models are fitted to.
        parts: Indices into `ChainParts.parts` of the parts that were timed.
        timing: Latencies of the networks, then of the parts.
        runs_us: Single runs of each network, (runs,) microseconds.
        load_us: (networks,) microseconds from a file to a session that is ready.
        file_bytes: (networks,) sizes of the files.
        peaks: Peak memory of each network in bytes, see `Session.peak_memory_bytes`.
        kernels_us: Microseconds per kind of kernel, for each fitted network; None if the engine does not report them.
        sustained_us: Single runs of one network without a pause, (runs,) microseconds.
        sustained_network: Index of that network in `subnets`.
    """

    subnets: tuple[SubnetConfig, ...]
    fitted: int
    parts: tuple[int, ...]
    timing: Timing
    runs_us: tuple[NDArray[np.float64], ...]
    load_us: NDArray[np.float64]
    file_bytes: NDArray[np.float64]
    peaks: tuple[int | None, ...]
    kernels_us: tuple[Mapping[KernelKind, float], ...] | None
    sustained_us: NDArray[np.float64]
    sustained_network: int

    @property
    def network_us(self) -> NDArray[np.float64]:
        """(networks,) latencies."""
        return self.timing.latency_us[: len(self.subnets)]

    @property
    def part_us(self) -> NDArray[np.float64]:
        """(parts,) latencies."""
        return self.timing.latency_us[len(self.subnets) :]

    @property
    def repeatability_p95(self) -> float:
        """95th percentile over the networks, see `Timing.repeatability_p95`."""
        return self.timing.repeatability_p95(slice(len(self.subnets)))


class Benchmark:
    """One measurement and its folder. After an interruption, another one with the same folder resumes it.

    Args:
        workloads: Workloads of the model space.
        sample: The networks.
        setting: How to measure them.
        folder: Folder for converted files and finished rounds.
        machine: The machine and its settings in words: rounds belong to them, converted files do not.
    """

    def __init__(self, workloads: Workloads, sample: Sample, setting: Setting, folder: Path, machine: str) -> None:
        self._workloads, self._sample, self._setting, self._folder = workloads, sample, setting, folder
        self._machine = machine
        self.rounds_file = folder / f"rounds-{_ROUNDS_VERSION}-{digest_of(machine)[:8]}.json"
        subnets = (*sample.fitted, *sample.held_out)
        self._subnets = subnets
        self._parts = self._parts_to_time()

    def run(self, runner: Runner, progress: Progress) -> Measurements:
        """Convert everything, and time it in `runner`.

        Raises:
            EngineError: The engine refuses a network, or the machine is gone.
            DiskError: A file cannot be written.
        """
        networks = len(self._subnets)
        total = networks + self._setting.rounds + 1
        for index, subnet in enumerate(self._subnets):
            progress(index, total, f"converting network {index + 1} of {networks}")
            self._convert(index, subnet)
        progress(networks, total, "loading")
        files = self._files()
        load_us = runner.open(files, networks, self._setting.threads, self._setting.seed)
        rounds = self._rounds(runner, len(files), total, progress)
        progress(total - 1, total, "sustained run")
        times = np.array([[*medians(entry.networks), *entry.parts] for entry in rounds])
        middle = int(np.argsort(np.median(times, axis=0)[:networks])[networks // 2])
        return Measurements(
            subnets=self._subnets,
            fitted=len(self._sample.fitted),
            parts=tuple(self._parts),
            timing=summarise(times.tolist(), [entry.order for entry in rounds]),
            runs_us=tuple(np.concatenate([r.networks[i] for r in rounds]) for i in range(networks)),
            load_us=load_us,
            file_bytes=np.array([file.path.stat().st_size for file in files[:networks]], dtype=np.float64),
            peaks=tuple(runner.peak_memory_bytes(index) for index in range(networks)),
            kernels_us=_kernels(runner, len(self._sample.fitted)),
            sustained_us=runner.run_for(middle, SUSTAINED_SECONDS),
            sustained_network=middle,
        )

    def _parts_to_time(self) -> list[int]:
        """Every part of the fitted networks; parts that only held-out networks have are left out."""
        rows = self._workloads.rows(self._sample.fitted)
        return [int(number) for number in np.unique(rows) if number != ABSENT]

    def _convert(self, index: int, subnet: SubnetConfig) -> None:
        """Convert a network and its parts. The network's file is written last: if it exists, all of them do."""
        import torch

        from device_profiles.measuring.random_weights import keep_units_alive

        path, setting = self._network_file(subnet), self._setting
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        space, chain = self._workloads.model_space, self._workloads.chain
        shape = space.input_shape(subnet)
        inputs = random_inputs(space, subnet, _CALIBRATION_INPUTS, np.random.default_rng([setting.seed, index]))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed + index)
            modules = chain.modules(subnet) if chain else {"": space.build(subnet).eval()}
        keep_units_alive(modules.values())
        calibration = None if setting.precision == "fp32" else inputs
        if not chain:
            input_type = network_input_type(space)
            setting.engine.convert(
                modules[""], shape, path, precision=setting.precision, calibration=calibration, input_type=input_type
            )
            return
        numbers = [number for number in self._workloads.rows([subnet])[0] if number != ABSENT]
        files = [self._part_file(n) if n in self._parts and not self._part_file(n).exists() else None for n in numbers]
        setting.engine.convert_chain(
            list(modules.values()),
            shape,
            path,
            files,
            precision=setting.precision,
            calibration=None if calibration is None else calibration.astype(np.float32, copy=False),
        )

    def _rounds(self, runner: Runner, files: int, total: int, progress: Progress) -> list[Round]:
        """All rounds, and the missing ones timed: single runs of networks, medians of parts, the order of visits.

        Every finished round is written to the rounds file. If the machine disappears during a round, the visits that it
        had finished are written too.
        """
        networks = len(self._subnets)
        kept = read_rounds(self.rounds_file, networks, files)
        while len(kept.finished) < self._setting.rounds:
            number = len(kept.finished)
            progress(networks + number, total, f"timing {files} networks and parts")
            order = np.random.default_rng([self._setting.seed, number]).permutation(files).tolist()
            try:
                for _ in self._visits(runner, [index for index in order if index not in kept.begun], kept.begun):
                    if len(kept.begun) % _PROGRESS_FILES == 0:  # a round takes minutes on some machines
                        detail = f"timing: {len(kept.begun)} of {files} networks and parts in round {number + 1}"
                        progress(networks + number, total, detail)
            except FactoryError:
                kept.write(self.rounds_file)
                raise
            by_file = [kept.begun[index] for index in range(files)]
            parts = tuple(medians(by_file[networks:]))
            kept.finished.append(Round(networks=tuple(by_file[:networks]), parts=parts, order=tuple(kept.begun)))
            kept.begun = {}
            kept.write(self.rounds_file)
        return kept.finished[: self._setting.rounds]

    def _visits(self, runner: Runner, order: list[int], visited: dict[int, tuple[float, ...]]) -> Iterator[int]:
        """Visit each file of `order` and add its times to `visited`; yields each file.

        Raises:
            EngineError: The machine is gone, sent times that cannot be true, or not one visit to each file.
        """
        left = set(order)
        for index, times in runner.visit(order):
            if index not in left:
                raise EngineError(f"{self._machine}: sent times of file {index}, which was not its turn; {REMEDY}")
            visited[index] = checked(times, RUNS, f"{self._machine}: its times of file {index}")
            left.remove(index)
            yield index
        if left:
            raise EngineError(f"{self._machine}: ended a round with {len(left)} files left; {REMEDY}")

    def _files(self) -> list[TimedFile]:
        """The networks, then the parts."""
        space, chain = self._workloads.model_space, self._workloads.chain
        parts = chain.parts if chain else []
        return [
            *(
                TimedFile(
                    path=self._network_file(s), input_shape=space.input_shape(s), input_type=network_input_type(space)
                )
                for s in self._subnets
            ),
            *(TimedFile(path=self._part_file(n), input_shape=parts[n].input_shape) for n in self._parts),
        ]

    def _network_file(self, subnet: SubnetConfig) -> Path:
        return self._folder / f"{subnet.id}.{self._setting.engine.name}"

    def _part_file(self, number: int) -> Path:
        chain = self._workloads.chain
        return self._folder / "parts" / f"{chain.parts[number].id if chain else number}.{self._setting.engine.name}"


def _kernels(runner: Runner, networks: int) -> tuple[Mapping[KernelKind, float], ...] | None:
    found = [runner.kernel_latency_us(index) for index in range(networks)]
    known = tuple(times for times in found if times is not None)
    return known if len(known) == len(found) else None
