"""Measuring a machine: time networks in a real engine, fit cost models, make a profile and its latency table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiles.cost_models.models import (
    BYTES_PER_ELEMENT,
    FEATURES_PER_KIND,
    latency_coefficients,
    latency_features,
    packed_elements,
)
from device_profiles.engine import ComputePrecision, Engine
from device_profiles.latency_table import LatencyTable
from device_profiles.measuring.benchmark import SUSTAINED_SECONDS, Benchmark, Measurements, Setting
from device_profiles.measuring.fitting import fit_latency
from device_profiles.measuring.host_facts import selectors_of
from device_profiles.measuring.runner import LocalRunner, Machine, Runner
from device_profiles.measuring.table_fit import fit_table, prediction_errors
from device_profiles.profile import SHIPPED_FOLDER, DeviceProfile, Selectors, SocPattern
from device_profiles.profile_costs import (
    CostParameters,
    Figure,
    KernelCost,
    LoadCost,
    MachinePeak,
    Provenance,
    RunSpread,
    TimeFigure,
)
from device_profiles.workload.operators import KERNEL_KINDS, KernelKind, Workload
from device_profiles.workload.samples import Sample, sample_networks
from device_profiles.workload.workloads import Workloads
from factory_base.documents import load_document
from factory_base.errors import ConfigError, EngineError
from factory_base.files import digest_of
from factory_base.progress import Progress
from factory_base.wording import counted
from supernet.model_space import ModelSpace

NOISE_LIMIT = 0.10
"""Largest repeatability (p95) that is accepted: twice the goal of 5 %, and three times the 3.2 % that a machine with
nothing else to do reached in 40 rounds (`benchmarks/README.md`, measured latency tables)."""

SLOWDOWN_LIMIT = 1.25
"""Largest slowdown over the rounds that is accepted. Drift is divided out, but a processor that lost a fifth of its
speed has changed its state (it throttles, or is shared), and it is not known which state the profile should describe.
Quiet machines had 1.00 (`benchmarks/README.md`)."""

_LATENCY_STD_FLOOR = 1e-4
"""Smallest stated deviation of a latency, relative: a profile's numbers are positive, and are rounded to 4 digits."""

_RUN_OVERHEAD_FLOOR_US = 0.1
"""Smallest overhead of a run: costs must be positive, and a function call from Python alone takes about this long."""

_MOST_GMACS, _MOST_GBYTES = 1e6, 2000.0
"""10^9 MACs and bytes per second that no device reaches on which networks are timed, if its peak is not known."""

_SUSTAINED_TAIL = 4
"""The last quarter of the sustained run counts, as `RunSpread` defines it: the processor's boost has ended by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        threads: Threads of the engine, 1 to the number of cores.
        precision: Precision of the converted files.
        networks: Number of networks that models are fitted to, at least 6; smaller if the space has fewer subnets.
        held_out: Number of networks that the fit is judged on, at least 2.
        rounds: Visits to each network and part, at least 4. The remaining noise falls with their square root: 40 rounds
            had a repeatability of 6.2 % where 20 of them had 11.7 % (`benchmarks/README.md`).
        seed: Seed of everything random.
    """

    threads: int = 1
    precision: ComputePrecision = "fp32"
    networks: int = 40
    held_out: int = 16
    rounds: int = 40
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredHost:
    """A measured machine.

    Attributes:
        profile: The profile, without its reference to the table, which `write_profile` adds.
        table: The latency table; None if the model space is not a chain of parts.
        measurements: What the profile and the table were fitted to.
    """

    profile: DeviceProfile
    table: LatencyTable | None
    measurements: Measurements


def measure_host(
    model_space: ModelSpace,
    engine: Engine,
    plan: Plan,
    *,
    folder: Path,
    progress: Progress,
    today: date,
    runner: Runner | None = None,
) -> MeasuredHost:
    """Measure a machine, by default this one: networks with random weights are timed in `engine`.

    If the space is a chain of parts, every part of the fitted networks is also timed on its own, all other parts are
    interpolated, and the difference between a network and the sum of its parts is fitted to the networks. The stated
    errors are those on the held-out networks, which nothing is fitted to.

    Converted files and finished rounds are kept in `folder`, under a name made of everything they depend on: after an
    interruption the next call resumes from them, and a call that has finished does not time its networks again.

    Args:
        model_space: The space whose networks are timed.
        engine: The engine that they are converted for.
        plan: What to measure.
        folder: Folder for partial results; created if missing.
        progress: Called at every step.
        today: The date that the profile and the table state.
        runner: The machine that times the networks; None is this machine.

    Raises:
        ConfigError: The machine or the engine cannot carry out the plan, or the space is too small.
        EngineError: The engine refuses a network, or the machine is too noisy or gets slower.
    """
    runner = runner or LocalRunner(engine)
    machine = runner.machine()
    check_plan(plan, engine, machine)
    workloads = Workloads(model_space)
    sample = sample_networks(model_space.space, workloads, plan.networks, plan.held_out, plan.seed, progress)
    setting = Setting(engine=engine, threads=plan.threads, precision=plan.precision, rounds=plan.rounds, seed=plan.seed)
    name = machine_name(machine, engine, plan.threads, plan.precision)
    benchmark = Benchmark(workloads, sample, setting, folder / _key(setting, sample, workloads), name)
    found = benchmark.run(runner, progress)
    _check_noise(found, benchmark.rounds_file)
    return _measured(workloads, found, setting, machine, runner.peak(plan.threads), progress, today)


def machine_name(machine: Machine, engine: Engine, threads: int, precision: ComputePrecision) -> str:
    """Everything that measured numbers depend on, in words: processor, engine and its version, threads, precision."""
    used = [machine.processor, f"{engine.name} {machine.engine_version}", counted(threads, "thread")]
    return ", ".join([*used, *([] if precision == "fp32" else [precision])])


def check_plan(plan: Plan, engine: Engine, machine: Machine) -> None:
    """Raises `ConfigError` if the machine or the engine cannot carry out the plan."""
    if not 1 <= plan.threads <= machine.cores:
        raise ConfigError(f"{plan.threads} threads cannot be measured on this machine; choose 1 to {machine.cores}")
    if plan.precision not in engine.precisions:
        raise ConfigError(
            f"engine {engine.name!r} does not support precision {plan.precision}; choose {', '.join(engine.precisions)}"
        )


def _key(setting: Setting, sample: Sample, workloads: Workloads) -> str:
    """A digest of everything that converted files depend on; measurements with other thread counts share the files."""
    subnets = [[subnet.id for subnet in group] for group in (sample.fitted, sample.held_out)]
    content = [setting.engine.name, setting.engine.version(), setting.precision, setting.seed, subnets]
    traced = [digest_of(asdict(workloads.of(subnet))) for subnet in (*sample.fitted, *sample.held_out)]
    return digest_of([*content, traced])[:16]


def _check_noise(found: Measurements, rounds_file: Path) -> None:
    """Refuse measurements that are too noisy, and delete their rounds, so that the next call starts over."""
    trouble = ""
    if found.repeatability_p95 > NOISE_LIMIT:
        trouble = (
            f"the machine is too noisy to be measured: latencies of odd and even rounds differ by "
            f"{found.repeatability_p95:.0%} (p95), at most {NOISE_LIMIT:.0%} is allowed; stop other programs"
        )
    elif found.timing.slowdown > SLOWDOWN_LIMIT:
        trouble = (
            f"the machine became {found.timing.slowdown:.2f} times slower while it was measured, at most "
            f"{SLOWDOWN_LIMIT:g} times is allowed; let it cool down, or stop other programs,"
        )
    if trouble:
        rounds_file.unlink(missing_ok=True)
        raise EngineError(f"{trouble} and run it again")


def _measured(
    workloads: Workloads,
    found: Measurements,
    setting: Setting,
    machine: Machine,
    peak: MachinePeak | None,
    progress: Progress,
    today: date,
) -> MeasuredHost:
    prior = load_document(SHIPPED_FOLDER / "host.yaml", DeviceProfile).computing_in(setting.precision)
    known = [workloads.of(subnet) for subnet in found.subnets]
    kernels = _fit_kernels(known[: found.fitted], found, prior, setting.precision)
    features = latency_features(known, setting.precision)
    peak = _with_reached(peak, workloads, found, known)
    table = None
    predicted = features[found.fitted :] @ kernels
    if workloads.chain is not None:
        table = fit_table(workloads, found, setting, kernels, machine, progress, today=today)
        held_out_rows = workloads.rows(found.subnets[found.fitted :])
        predicted = table.network_latency_us(held_out_rows, workloads.chain.parts)
    measured_us = found.network_us[found.fitted :]
    error = prediction_errors(predicted, measured_us).mape
    deviation = max(_rounded(float(np.sqrt(np.mean((predicted / measured_us - 1) ** 2)))), _LATENCY_STD_FLOOR)
    source = (
        f"fit to {found.fitted} networks in {setting.rounds} rounds, repeatability p95 {found.repeatability_p95:.1%}"
    )
    costs = CostParameters(
        kernels=_kernels(kernels, features.sum(axis=0) > 0, source, _limits(peak, setting.precision)),
        run_overhead_us=TimeFigure(value=_rounded(kernels[-1]), provenance="measured", source=source),
        arena_ratio=_arena_ratio(known, found.peaks, prior.costs.arena_ratio, setting.precision),
        engine_memory=prior.costs.engine_memory,
        machine=machine_name(machine, setting.engine, setting.threads, setting.precision),
        prediction_error=_rounded(error),
        repeatability_p95=_rounded(found.repeatability_p95),
        latency_std=Figure(
            value=deviation,
            provenance="measured",
            source=f"root mean square error of {len(measured_us)} held-out networks",
        ),
        measured_on=today,
        spread=_spread(found),
        load=_load(found),
        peak=peak,
    )
    return MeasuredHost(profile=_profile(setting, machine, costs, prior), table=table, measurements=found)


def _fit_kernels(
    known: Sequence[Workload], found: Measurements, prior: DeviceProfile, precision: ComputePrecision
) -> NDArray[np.float64]:
    """Coefficients for `latency_features`: kind by kind if the engine reports their times, otherwise all together."""
    features, start = latency_features(known, precision), latency_coefficients(prior)
    latency_us = found.network_us[: found.fitted]
    if found.kernels_us is None:
        return fit_latency(features, latency_us, start)
    fitted = start.copy()
    rest = latency_us.copy()
    for index, kind in enumerate(KERNEL_KINDS):
        columns = slice(FEATURES_PER_KIND * index, FEATURES_PER_KIND * (index + 1))
        times = np.array([network.get(kind, 0.0) for network in found.kernels_us[: found.fitted]])
        used = times > 0
        if used.any():
            fitted[columns] = fit_latency(features[used, columns], times[used], start[columns])
        rest -= times
    fitted[-1] = max(float(np.median(rest)), _RUN_OVERHEAD_FLOOR_US)
    return fitted


def _with_reached(
    peak: MachinePeak | None, workloads: Workloads, found: Measurements, known: Sequence[Workload]
) -> MachinePeak | None:
    """The peak, raised to the best rate of MACs that any timed network or part reached in the engine itself."""
    if peak is None:
        return None
    parts = [workloads.chain.parts[number].workload for number in found.parts] if workloads.chain else []
    macs = np.array([workload.macs for workload in (*known, *parts)], dtype=np.float64)
    reached = float((macs / found.timing.latency_us).max()) / 1e3
    return peak.model_copy(update={"gmacs_per_s": max(peak.gmacs_per_s, _rounded(reached))})


def _limits(peak: MachinePeak | None, precision: ComputePrecision) -> tuple[float, float]:
    """The rates of MACs and of bytes, 10^9 per second, above which a fitted rate is not one that the machine reaches.

    Peaks are measured in float32, and machines are several times faster in int8.
    """
    if peak is None:
        return _MOST_GMACS, _MOST_GBYTES
    return (peak.gmacs_per_s if precision == "fp32" else _MOST_GMACS), peak.fastest_gbytes_per_s


def _rate(per_unit: float, limit: float, provenance: Provenance, source: str) -> Figure:
    """A fitted rate, 10^9 per second. It is not measured if the machine does not reach it."""
    rate = _rounded(1e-3 / per_unit)
    if provenance == "measured" and rate > limit:
        return Figure(value=rate, provenance="modelled", source=f"{source}; above the peak of {limit:.4g}, so fused")
    return Figure(value=rate, provenance=provenance, source=source)


def _kernels(
    fitted: NDArray[np.float64], seen: NDArray[np.bool_], source: str, limits: tuple[float, float]
) -> dict[KernelKind, KernelCost]:
    kernels: dict[KernelKind, KernelCost] = {}
    for index, kind in enumerate(KERNEL_KINDS):
        columns = slice(FEATURES_PER_KIND * index, FEATURES_PER_KIND * (index + 1))
        per_mac, per_byte, overhead = (float(value) for value in fitted[columns])
        computes = per_mac > 0
        provenance: Provenance = "measured" if seen[columns].any() else "modelled"
        origin = source if provenance == "measured" else "assumed x86 core, scaled by the measured kernels"
        kernels[kind] = KernelCost(
            gmacs_per_s=_rate(per_mac, limits[0], provenance, origin) if computes else None,
            gbytes_per_s=_rate(per_byte, limits[1], provenance, origin),
            overhead_us=TimeFigure(value=_rounded(overhead), provenance=provenance, source=origin),
        )
    return kernels


def _arena_ratio(
    workloads: Sequence[Workload], peaks: Sequence[int | None], default: Figure, precision: ComputePrecision
) -> Figure:
    """Measured over planned arena, the largest of the networks; `default` if the machine reports no peak memory."""
    width = BYTES_PER_ELEMENT[precision]
    ratios = [
        (peak / width - packed_elements(workload, precision)) / workload.arena_elements
        for workload, peak in zip(workloads, peaks, strict=True)
        if peak is not None
    ]
    if not ratios:
        return default
    return Figure(
        value=max(1.0, _rounded(max(ratios))),
        provenance="measured",
        source=f"largest of {len(ratios)} networks, smallest {min(ratios):.2f}",
    )


def _spread(found: Measurements) -> RunSpread:
    ratios = [np.percentile(runs, 95) / np.median(runs) for runs in found.runs_us]
    last = found.sustained_us[-max(1, len(found.sustained_us) // _SUSTAINED_TAIL) :]
    return RunSpread(
        p95_over_p50=_rounded(float(np.median(ratios))),
        sustained_over_p50=_rounded(float(np.median(last) / found.network_us[found.sustained_network])),
        sustained_seconds=SUSTAINED_SECONDS,
    )


def _load(found: Measurements) -> LoadCost:
    """Load time as a constant and a rate, by non-negative least squares on relative errors."""
    from scipy.optimize import nnls

    system = np.column_stack([np.ones(len(found.file_bytes)), found.file_bytes / 2**20]) / found.load_us[:, None]
    (fixed, per_mib), _ = nnls(system, np.ones(len(system)))
    return LoadCost(fixed_us=_rounded(fixed), us_per_mib=_rounded(per_mib))


def _profile(setting: Setting, machine: Machine, costs: CostParameters, prior: DeviceProfile) -> DeviceProfile:
    return DeviceProfile(
        name="host",
        description=f"The machine that was measured: {costs.machine}.",
        selectors=_selectors(machine),
        engine=setting.engine.name,
        threads=setting.threads,
        precision=setting.precision,
        budgets=prior.budgets.model_copy(update={"energy_uj": None}),  # the energy is not measured
        costs=costs,
    )


def _selectors(machine: Machine) -> Selectors:
    """Selectors that match machines like this one."""
    found = selectors_of(machine.platform, machine.cores, machine.ram_bytes)
    chip = (SocPattern(maker=machine.soc_maker, model=machine.soc_model),) if machine.soc_maker else ()
    return found.model_copy(update={"os_min": machine.os_version or None, "soc_include": chip})


def _rounded(value: float) -> float:
    """Four significant digits: beyond the repeatability of any measurement, and short in a file that people read."""
    return float(f"{value:.4g}")
