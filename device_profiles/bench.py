"""Timing networks and their parts in a real engine: converted once, visited in rounds, kept as far as they got."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import Engine, Precision, Session
from device_profiles.operators import KernelKind
from device_profiles.parts import ABSENT
from device_profiles.samples import Sample
from device_profiles.timing import Timing, medians, run_for, summarise, time_round
from device_profiles.workloads import Workloads
from model_factory.base.files import read_json, write_json
from model_factory.base.progress import Progress
from supernet.space import SubnetConfig

_CALIBRATION_INPUTS = 4
"""Random inputs that int8 scales are chosen by: the values matter to accuracy, not to speed."""

_LOADS = 3
SUSTAINED_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How to measure.

    Attributes:
        engine: in which networks run.
        threads: of the engine.
        precision: of the files.
        rounds: visits to each network and part.
        seed: of weights, inputs and the order of visits.
    """

    engine: Engine
    threads: int
    precision: Precision
    rounds: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurements:
    """What was measured of some networks, and of their parts where the space is a chain.

    Attributes:
        subnets: the networks, those that models are fitted to first.
        fitted: how many these are.
        parts: numbers of the parts that were timed, in `ChainParts.parts`.
        timing: of the networks, then of the parts.
        runs_us: of each network, single runs.
        load_us: (networks,), from file to session.
        file_bytes: (networks,).
        peaks: of each network, as `Session.peak_memory_bytes` gives it.
        kernels_us: of each fitted network, time per kind of kernel; None where the engine does not tell.
        sustained_us: single runs of one network without a pause.
        sustained_network: its place in `subnets`.
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
        """Of the networks."""
        return self.timing.repeatability_p95(slice(len(self.subnets)))


class Bench:
    """One measurement at work in a folder; a killed one goes on there.

    Args:
        workloads: of the model space.
        sample: the networks.
        setting: how.
        folder: for files and finished rounds.
        machine: a name for the machine and its threads: rounds belong to these, files do not.
    """

    def __init__(self, workloads: Workloads, sample: Sample, setting: Setting, folder: Path, machine: str) -> None:
        self._workloads, self._sample, self._setting, self._folder = workloads, sample, setting, folder
        self.rounds_file = folder / f"rounds-{machine}.json"
        subnets = (*sample.fitted, *sample.held_out)
        self._subnets = subnets
        self._parts = self._parts_to_time()

    def run(self, progress: Progress) -> Measurements:
        """Convert, load and time everything. Raises `EngineError`, `DiskError`."""
        total = len(self._subnets) + self._setting.rounds + 1
        for index, subnet in enumerate(self._subnets):
            progress(index, total, f"converting network {index + 1} of {len(self._subnets)}")
            self._convert(index, subnet)
        paths = [self._network_file(subnet) for subnet in self._subnets]
        progress(len(self._subnets), total, "loading")
        load_us, networks = self._load_timed(paths)
        sessions = [*networks, *(self._open(self._part_file(number)) for number in self._parts)]
        rounds = self._rounds(sessions, len(self._subnets), total, progress)
        progress(total - 1, total, "sustained run")
        times = np.array([[*medians(entry["networks"]), *entry["parts"]] for entry in rounds])
        middle = int(np.argsort(np.median(times, axis=0)[: len(paths)])[len(paths) // 2])
        inputs = self._inputs()
        return Measurements(
            subnets=self._subnets,
            fitted=len(self._sample.fitted),
            parts=tuple(self._parts),
            timing=summarise(times.tolist()),
            runs_us=tuple(np.concatenate([r["networks"][i] for r in rounds]) for i in range(len(paths))),
            load_us=load_us,
            file_bytes=np.array([path.stat().st_size for path in paths], dtype=np.float64),
            peaks=tuple(session.peak_memory_bytes() for session in networks),
            kernels_us=_kernels(networks[: len(self._sample.fitted)], inputs),
            sustained_us=run_for(networks[middle], inputs[middle], SUSTAINED_SECONDS),
            sustained_network=middle,
        )

    def _parts_to_time(self) -> list[int]:
        """Every part of the fitted networks, and none that only held-out networks have."""
        rows = self._workloads.rows(self._sample.fitted)
        return [int(number) for number in np.unique(rows) if number != ABSENT]

    def _convert(self, index: int, subnet: SubnetConfig) -> None:
        """The network's file is written last: where it is, everything is."""
        import torch

        path, setting = self._network_file(subnet), self._setting
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        space, chain = self._workloads.model_space, self._workloads.chain
        shape = space.input_shape(subnet)
        inputs = np.random.default_rng([setting.seed, index]).standard_normal(
            (_CALIBRATION_INPUTS, *shape), dtype=np.float32
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed + index)
            modules = chain.modules(subnet) if chain else {"": space.build(subnet).eval()}
        numbers = [number for number in self._workloads.rows([subnet])[0] if number != ABSENT]
        files = [self._part_file(n) if n in self._parts and not self._part_file(n).exists() else None for n in numbers]
        setting.engine.convert_chain(
            list(modules.values()),
            shape,
            path,
            files if chain else [None],
            precision=setting.precision,
            calibration=None if setting.precision == "fp32" else inputs,
        )

    def _load_timed(self, paths: Sequence[Path]) -> tuple[NDArray[np.float64], list[Session]]:
        times, sessions = np.empty((_LOADS, len(paths))), []
        for index, path in enumerate(paths):
            for attempt in range(_LOADS):
                start = time.perf_counter()
                session = self._open(path)
                times[attempt, index] = (time.perf_counter() - start) * 1e6
            sessions.append(session)
        return np.median(times, axis=0), sessions

    def _open(self, path: Path) -> Session:
        return self._setting.engine.load(path, self._setting.threads)

    def _rounds(
        self, sessions: Sequence[Session], networks: int, total: int, progress: Progress
    ) -> list[dict[str, Any]]:
        """Every finished round is in the rounds file: single runs of networks, medians of parts."""
        rounds: list[dict[str, Any]] = read_json(self.rounds_file)["rounds_us"] if self.rounds_file.exists() else []
        inputs = [*self._inputs(), *self._part_inputs()]
        while len(rounds) < self._setting.rounds:
            progress(networks + len(rounds), total, f"timing {len(sessions)} networks and parts")
            order = np.random.default_rng([self._setting.seed, len(rounds)]).permutation(len(sessions)).tolist()
            runs = time_round(sessions, inputs, order)
            rounds.append({"networks": runs[:networks], "parts": medians(runs[networks:])})
            write_json(self.rounds_file, {"rounds_us": rounds})
        return rounds

    def _inputs(self) -> list[NDArray[np.float32]]:
        return [self._input(self._workloads.model_space.input_shape(subnet)) for subnet in self._subnets]

    def _part_inputs(self) -> list[NDArray[np.float32]]:
        parts = self._workloads.chain.parts if self._workloads.chain else []
        return [self._input(parts[number].input_shape) for number in self._parts]

    def _input(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return np.random.default_rng(self._setting.seed).standard_normal((1, *shape), dtype=np.float32)

    def _network_file(self, subnet: SubnetConfig) -> Path:
        return self._folder / f"{subnet.id}.{self._setting.engine.name}"

    def _part_file(self, number: int) -> Path:
        chain = self._workloads.chain
        return self._folder / "parts" / f"{chain.parts[number].id if chain else number}.{self._setting.engine.name}"


def _kernels(
    sessions: Sequence[Session], inputs: Sequence[NDArray[np.float32]]
) -> tuple[Mapping[KernelKind, float], ...] | None:
    found = [session.kernel_latency_us(batch) for session, batch in zip(sessions, inputs, strict=False)]
    known = tuple(times for times in found if times is not None)
    return known if len(known) == len(found) else None
