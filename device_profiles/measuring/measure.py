"""Measuring the machine at hand: time networks in a real engine, fit cost models, write a profile and its table."""

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
from device_profiles.engine import Engine, Precision
from device_profiles.latency_table import LatencyTable
from device_profiles.measuring.bench import SUSTAINED_SECONDS, Bench, Measurements, Setting
from device_profiles.measuring.fitting import fit_latency
from device_profiles.measuring.host_facts import selectors_of
from device_profiles.measuring.runner import LocalRunner, Machine, Runner
from device_profiles.measuring.table_fit import fit_table, prediction_errors
from device_profiles.profile import (
    SHIPPED_FOLDER,
    CostParameters,
    DeviceProfile,
    Figure,
    KernelCost,
    LoadCost,
    Provenance,
    RunSpread,
    Selectors,
    SocPattern,
    TimeFigure,
)
from device_profiles.workload.operators import KERNEL_KINDS, KernelKind, Workload
from device_profiles.workload.samples import Sample, sample_networks
from device_profiles.workload.workloads import Workloads
from factory_base.documents import load_document
from factory_base.errors import ConfigError, EngineError
from factory_base.files import digest_of
from factory_base.progress import Progress
from supernet.model_space import ModelSpace

NOISE_LIMIT = 0.10
"""Largest repeatability (p95) that is accepted."""

SLOWDOWN_LIMIT = 1.25
"""Largest slowdown over the rounds that is accepted: beyond, it is not known which half to believe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        threads: of the engine, 1 to the number of cores.
        precision: of the files.
        networks: that are fitted to, at least 6; fewer are used where the space has fewer.
        held_out: that the fit is judged on, at least 2.
        rounds: visits to each network and part, at least 4; what noise remains falls with their square root.
        seed: of everything random.
    """

    threads: int = 1
    precision: Precision = "fp32"
    networks: int = 40
    held_out: int = 16
    rounds: int = 40
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredHost:
    """A profile of this machine.

    Attributes:
        profile: without its reference to the table, which `write_profile` adds.
        table: where the model space is a chain of parts.
        measurements: that both come from.
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
    runner: Runner | None = None,
) -> MeasuredHost:
    """A profile of a machine, by default this one, from networks with random weights that are timed in `engine`.

    Where the space is a chain of parts, every part of the fitted networks is timed by itself too, all other parts are
    interpolated, and what the sum of the parts lacks is fitted to the networks. The errors that are stated are those on
    the held-out networks, which nothing is fitted to.

    Converted files and finished rounds are kept in `folder`, under a name made of everything they depend on: a killed
    call goes on where it was, and a call that has finished times no network again.

    Args:
        model_space: whose networks are timed.
        engine: that they are converted for.
        plan: what to measure.
        folder: for partial results; made if missing.
        progress: told of every step.
        runner: the machine that times them.

    Raises:
        ConfigError: the plan cannot be carried out here, or too small a space.
        EngineError: the engine refuses a network, or the machine is too noisy or gets slower.
    """
    runner = runner or LocalRunner(engine)
    machine = runner.machine()
    _check(plan, engine, machine)
    workloads = Workloads(model_space)
    sample = sample_networks(model_space.space, workloads, plan.networks, plan.held_out, plan.seed, progress)
    setting = Setting(engine=engine, threads=plan.threads, precision=plan.precision, rounds=plan.rounds, seed=plan.seed)
    name = machine_name(machine, setting)
    bench = Bench(workloads, sample, setting, folder / _key(setting, sample, workloads), digest_of(name)[:8])
    found = bench.run(runner, progress)
    _accept(found, bench.rounds_file)
    prior = load_document(SHIPPED_FOLDER / "host.yaml", DeviceProfile)
    return _measured(workloads, found, setting, runner, prior, progress)


def machine_name(machine: Machine, setting: Setting) -> str:
    """What measured numbers depend on, in words: processor, engine and its version, threads, precision."""
    threads = f"{setting.threads} thread{'s' if setting.threads > 1 else ''}"
    engine = f"{setting.engine.name} {machine.engine_version}"
    return ", ".join(
        [machine.processor, engine, threads, *([] if setting.precision == "fp32" else [setting.precision])]
    )


def _check(plan: Plan, engine: Engine, machine: Machine) -> None:
    if not 1 <= plan.threads <= machine.cores:
        raise ConfigError(f"{plan.threads} threads cannot be measured on this machine; choose 1 to {machine.cores}")
    if plan.precision not in engine.precisions:
        raise ConfigError(
            f"engine {engine.name!r} has no precision {plan.precision}; it has {', '.join(engine.precisions)}"
        )


def _key(setting: Setting, sample: Sample, workloads: Workloads) -> str:
    """What converted files depend on; measurements with other threads use the same."""
    subnets = [[subnet.id for subnet in group] for group in (sample.fitted, sample.held_out)]
    content = [setting.engine.name, setting.engine.version(), setting.precision, setting.seed, subnets]
    traced = [digest_of(asdict(workloads.of(subnet))) for subnet in (*sample.fitted, *sample.held_out)]
    return digest_of([*content, traced])[:16]


def _accept(found: Measurements, rounds_file: Path) -> None:
    trouble = ""
    if found.repeatability_p95 > NOISE_LIMIT:
        trouble = (
            f"the machine is too noisy to be measured: latencies of odd and even rounds differ by up to "
            f"{found.repeatability_p95:.0%} (p95), allowed {NOISE_LIMIT:.0%}; stop other programs"
        )
    elif found.timing.slowdown > SLOWDOWN_LIMIT:
        trouble = (
            f"the machine became {found.timing.slowdown:.2f} times slower while it was measured, allowed "
            f"{SLOWDOWN_LIMIT:g}; let it cool down, or stop other programs,"
        )
    if trouble:
        rounds_file.unlink(missing_ok=True)
        raise EngineError(f"{trouble} and run it again")


def _measured(
    workloads: Workloads,
    found: Measurements,
    setting: Setting,
    runner: Runner,
    prior: DeviceProfile,
    progress: Progress,
) -> MeasuredHost:
    machine = runner.machine()
    known = [workloads.of(subnet) for subnet in found.subnets]
    kernels = _fit_kernels(known[: found.fitted], found, prior, setting.precision)
    features = latency_features(known, setting.precision)
    table = None
    predicted = features[found.fitted :] @ kernels
    if workloads.chain is not None:
        table = fit_table(workloads, found, setting, kernels, machine, progress)
        held = workloads.rows(found.subnets[found.fitted :])
        predicted = table.network_latency_us(held, workloads.chain.parts)
    judged = found.network_us[found.fitted :]
    error = prediction_errors(predicted, judged).mape
    deviation = max(_rounded(float(np.sqrt(np.mean((predicted / judged - 1) ** 2)))), 1e-4)
    source = (
        f"fit to {found.fitted} networks in {setting.rounds} rounds, repeatability p95 {found.repeatability_p95:.1%}"
    )
    costs = CostParameters(
        kernels=_kernels(kernels, features.sum(axis=0) > 0, source),
        run_overhead_us=TimeFigure(value=_rounded(kernels[-1]), provenance="measured", source=source),
        arena_ratio=_arena_ratio(known, found.peaks, prior.costs.arena_ratio, setting.precision),
        engine_memory=prior.costs.engine_memory,
        machine=machine_name(machine, setting),
        prediction_error=_rounded(error),
        repeatability_p95=_rounded(found.repeatability_p95),
        latency_std=Figure(
            value=deviation,
            provenance="measured",
            source=f"root mean square error of {len(judged)} held-out networks",
        ),
        measured_on=date.today(),
        spread=_spread(found),
        load=_load(found),
        peak=runner.peak(setting.threads),
    )
    return MeasuredHost(profile=_profile(setting, machine, costs, prior), table=table, measurements=found)


def _fit_kernels(
    known: Sequence[Workload], found: Measurements, prior: DeviceProfile, precision: Precision
) -> NDArray[np.float64]:
    """Coefficients for `latency_features`: kind by kind where the engine tells their times, else all together."""
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
    fitted[-1] = max(float(np.median(rest)), 0.1)
    return fitted


def _kernels(fitted: NDArray[np.float64], seen: NDArray[np.bool_], source: str) -> dict[KernelKind, KernelCost]:
    kernels: dict[KernelKind, KernelCost] = {}
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


def _arena_ratio(
    workloads: Sequence[Workload], peaks: Sequence[int | None], otherwise: Figure, precision: Precision
) -> Figure:
    width = BYTES_PER_ELEMENT[precision]
    ratios = [
        (peak / width - packed_elements(workload)) / workload.arena_elements
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


def _spread(found: Measurements) -> RunSpread:
    ratios = [np.percentile(runs, 95) / np.median(runs) for runs in found.runs_us]
    last = found.sustained_us[-max(1, len(found.sustained_us) // 4) :]
    return RunSpread(
        p95_over_p50=_rounded(float(np.median(ratios))),
        sustained_over_p50=_rounded(float(np.median(last) / found.network_us[found.sustained_network])),
        sustained_seconds=SUSTAINED_SECONDS,
    )


def _load(found: Measurements) -> LoadCost:
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
        budgets=prior.budgets,
        costs=costs,
    )


def _selectors(machine: Machine) -> Selectors:
    """Of machines like this one."""
    found = selectors_of(machine.platform, machine.cores, machine.ram_bytes)
    chip = (SocPattern(maker=machine.soc_maker, model=machine.soc_model),) if machine.soc_maker else ()
    return found.model_copy(update={"os_min": machine.os_version or None, "soc_include": chip})


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
