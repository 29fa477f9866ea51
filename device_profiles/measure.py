"""Measuring the machine at hand: time some subnets in a real engine, fit the cost parameters, write a profile."""

from __future__ import annotations

import os
import platform
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.costs import (
    BYTES_PER_ELEMENT,
    FEATURES_PER_KIND,
    latency_coefficients,
    latency_features,
    packed_elements,
    workload_of,
)
from device_profiles.engine import Engine, Session
from device_profiles.fitting import fit_latency, mean_relative_error
from device_profiles.operators import KERNEL_KINDS, Workload
from device_profiles.profile import (
    RAM_CLASSES,
    SHIPPED_FOLDER,
    CostParameters,
    DeviceProfile,
    Figure,
    KernelCost,
    Provenance,
    Selectors,
    TimeFigure,
    ram_class,
)
from device_profiles.profile_writer import write_profile as write_profile
from device_profiles.timing import Timing, summarise, time_round
from model_factory.base.documents import load_document
from model_factory.base.errors import ConfigError, EngineError
from model_factory.base.files import digest_of, read_json, write_json
from model_factory.base.progress import Progress
from supernet.model_space import ModelSpace
from supernet.space import SearchSpace, SubnetConfig

ROUNDS = 20
NOISE_LIMIT = 0.15
"""Largest repeatability (p95) that is accepted."""

FEWEST_SUBNETS = 6
_HELD_OUT_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """A converted subnet."""

    workload: Workload
    input_shape: tuple[int, ...]
    path: Path


def measure_host(
    model_space: ModelSpace,
    engine: Engine,
    *,
    threads: int,
    subnets: int = 40,
    seed: int,
    folder: Path,
    progress: Progress,
) -> DeviceProfile:
    """A profile of this machine, from `subnets` networks with random weights that are timed in `engine`.

    Converted files and finished rounds are kept in `folder`, under a name made of everything they depend on: a killed
    call goes on where it was, and a call that has finished measures nothing when repeated. The latency model is fitted
    on three quarters of the networks; its error on the others is the profile's `prediction_error`.

    Args:
        threads: of the engine, 1 to the number of cores.
        subnets: how many networks, at least 6; fewer are used where the space has fewer.
        seed: decides the subnets, their weights, the order of visits and the held-out quarter.
        folder: for partial results; made if missing.

    Raises:
        ConfigError: `threads` or `subnets` out of range, or too small a space.
        EngineError: the engine refuses a network, or the machine is too noisy.
    """
    _check_arguments(threads, subnets)
    prior = load_document(SHIPPED_FOLDER / "host.yaml", DeviceProfile)
    chosen = _sample(model_space.space, subnets, random.Random(seed))
    workloads = [workload_of(model_space, subnet) for subnet in chosen]
    work = folder / _key(engine, threads, seed, chosen, workloads)
    steps = len(chosen) + ROUNDS
    networks = []
    for index, (subnet, workload) in enumerate(zip(chosen, workloads, strict=True)):
        progress(index, steps, f"converting subnet {subnet.id}")
        path = work / f"{subnet.id}.{engine.name}"
        if not path.exists():
            _convert(model_space, subnet, engine, seed + index, path)
        networks.append(_Network(workload=workload, input_shape=model_space.input_shape(subnet), path=path))
    sessions = [engine.load(network.path, threads) for network in networks]
    rounds = _rounds(sessions, networks, work / "rounds.json", seed, len(chosen), progress)
    timing = _accepted(summarise(rounds), work / "rounds.json")
    progress(steps, steps, "fitting")
    costs = _cost_parameters(networks, sessions, timing, prior, machine_name(engine, threads), seed)
    return _profile(engine, threads, costs, prior)


def machine_name(engine: Engine, threads: int) -> str:
    """What measured numbers depend on, in words: processor, engine and its version, threads."""
    return f"{_processor()}, {engine.name} {engine.version()}, {threads} thread{'s' if threads > 1 else ''}"


def _check_arguments(threads: int, subnets: int) -> None:
    cores = os.cpu_count() or 1
    if not 1 <= threads <= cores:
        raise ConfigError(f"{threads} threads cannot be measured on this machine; choose 1 to {cores}")
    if subnets < FEWEST_SUBNETS:
        raise ConfigError(f"{subnets} subnets are too few to fit a cost model; choose {FEWEST_SUBNETS} or more")


def _sample(space: SearchSpace, count: int, rng: random.Random) -> list[SubnetConfig]:
    """Up to `count` distinct subnets, the smallest and the largest first."""
    found = dict.fromkeys([space.smallest, space.largest])
    for _ in range(50 * count):
        if len(found) >= count:
            break
        found[space.sample(rng)] = None
    if len(found) < FEWEST_SUBNETS:
        raise ConfigError(
            f"the space has {len(found)} subnets, too few to fit a cost model; {FEWEST_SUBNETS} are needed"
        )
    return list(found)


def _key(
    engine: Engine, threads: int, seed: int, subnets: Sequence[SubnetConfig], workloads: Sequence[Workload]
) -> str:
    content = [machine_name(engine, threads), seed, [subnet.id for subnet in subnets]]
    return digest_of([*content, [digest_of(asdict(workload)) for workload in workloads]])[:16]


def _convert(model_space: ModelSpace, subnet: SubnetConfig, engine: Engine, seed: int, path: Path) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = model_space.build(subnet).eval()
    engine.convert(module, model_space.input_shape(subnet), path)


def _rounds(
    sessions: Sequence[Session], networks: Sequence[_Network], path: Path, seed: int, done: int, progress: Progress
) -> list[list[float]]:
    """Microseconds per round and network; every finished round is in `path`."""
    rounds: list[list[float]] = read_json(path)["rounds_us"] if path.exists() else []
    generator = np.random.default_rng(seed)
    inputs = [generator.standard_normal((1, *n.input_shape), dtype=np.float32) for n in networks]
    while len(rounds) < ROUNDS:
        progress(done + len(rounds), done + ROUNDS, "timing")
        order = np.random.default_rng([seed, len(rounds)]).permutation(len(networks)).tolist()
        rounds.append(time_round(sessions, inputs, order))
        write_json(path, {"rounds_us": rounds})
    return rounds


def _accepted(timing: Timing, rounds_path: Path) -> Timing:
    if timing.repeatability_p95 > NOISE_LIMIT:
        rounds_path.unlink(missing_ok=True)
        raise EngineError(
            f"this machine is too noisy to be measured: latencies of odd and even rounds differ by up to "
            f"{timing.repeatability_p95:.0%} (p95), allowed {NOISE_LIMIT:.0%}; stop other programs and run it again"
        )
    return timing


def _cost_parameters(
    networks: Sequence[_Network],
    sessions: Sequence[Session],
    timing: Timing,
    prior: DeviceProfile,
    machine: str,
    seed: int,
) -> CostParameters:
    workloads = [network.workload for network in networks]
    features, latency_us = latency_features(workloads), timing.latency_us
    held_out = _held_out(len(networks), seed)
    fitted = fit_latency(features[~held_out], latency_us[~held_out], latency_coefficients(prior))
    source = (
        f"fit to {int((~held_out).sum())} networks in {ROUNDS} rounds, repeatability p95 {timing.repeatability_p95:.1%}"
    )
    return CostParameters(
        kernels=_kernels(fitted, features.sum(axis=0) > 0, source),
        run_overhead_us=TimeFigure(value=_rounded(fitted[-1]), provenance="measured", source=source),
        arena_ratio=_arena_ratio(workloads, sessions, prior.costs.arena_ratio),
        engine_memory=prior.costs.engine_memory,
        machine=machine,
        prediction_error=_rounded(mean_relative_error(features[held_out] @ fitted, latency_us[held_out])),
        measured_on=date.today(),
    )


def _held_out(count: int, seed: int) -> NDArray[np.bool_]:
    """A random quarter, at least two; never the smallest or the largest network, which come first."""
    chosen = np.random.default_rng(seed).permutation(np.arange(2, count))[: max(2, round(_HELD_OUT_SHARE * count))]
    return np.isin(np.arange(count), chosen)


def _kernels(fitted: NDArray[np.float64], seen: NDArray[np.bool_], source: str) -> dict[Any, KernelCost]:
    kernels = {}
    for index, kind in enumerate(KERNEL_KINDS):
        columns = slice(FEATURES_PER_KIND * index, FEATURES_PER_KIND * (index + 1))
        per_mac, per_byte, overhead = (float(value) for value in fitted[columns])
        computes = per_mac > 0
        provenance: Provenance = "measured" if seen[columns].any() else "modelled"
        origin = source if provenance == "measured" else "assumed x86 core, scaled by the measured kernels"
        kernels[kind] = KernelCost(
            gmacs_per_s=Figure(value=_rounded(1e-3 / per_mac), provenance=provenance, source=origin)
            if computes
            else None,
            gbytes_per_s=Figure(value=_rounded(1e-3 / per_byte), provenance=provenance, source=origin),
            overhead_us=TimeFigure(value=_rounded(overhead), provenance=provenance, source=origin),
        )
    return kernels


def _arena_ratio(workloads: Sequence[Workload], sessions: Sequence[Session], otherwise: Figure) -> Figure:
    peaks = [session.peak_memory_bytes() for session in sessions]
    ratios = [
        (peak / BYTES_PER_ELEMENT - packed_elements(workload)) / workload.arena_elements
        for workload, peak in zip(workloads, peaks, strict=True)
        if peak is not None
    ]
    if not ratios:
        return otherwise
    return Figure(
        value=max(1.0, _rounded(max(ratios))),
        provenance="measured",
        source=f"largest of {len(ratios)} networks, smallest {min(ratios):.2f}",
    )


def _profile(engine: Engine, threads: int, costs: CostParameters, prior: DeviceProfile) -> DeviceProfile:
    size = ram_class(_ram_bytes())
    larger = [known for known in RAM_CLASSES if known > size]
    selectors = {"platform": "linux", "cores_min": os.cpu_count() or 1}
    limits = {"ram_class_min": f"{size} B"} | ({"ram_class_max": f"{larger[0]} B"} if larger else {})
    return DeviceProfile(
        name="host",
        description=f"The machine that was measured: {costs.machine}.",
        selectors=Selectors.model_validate(selectors | limits),
        engine=engine.name,
        threads=threads,
        budgets=prior.budgets,
        costs=costs,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _ram_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
