"""`factory profile`: measure a machine with an engine, or model a device from its sheet, and write the profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from device_profiles.engine import ComputePrecision
from device_profiles.latency_table import LatencyTable, space_digest
from device_profiles.measuring.kept_costs import KeptCosts, kept_costs
from device_profiles.measuring.measure import Plan, check_plan, machine_name, measure_host
from device_profiles.measuring.runner import Runner
from device_profiles.measuring.runners import ShowsProgress, get_runner
from device_profiles.modelling.modelled_host import HOST, host_sheet
from device_profiles.modelling.roofline import comment_of, profile_of
from device_profiles.modelling.soc import SocSheet, find_sheet
from device_profiles.profile import DeviceProfile, profile_name
from device_profiles.profile_writer import refuse_to_replace, write_profile
from exports.engines import get_engine
from factory_base.errors import ConfigError
from factory_base.files import exclusive
from factory_base.progress import Progress
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.materials import Materials
from supernet.chain import ChainModelSpace
from supernet.model_space import ModelSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """A measured profile.

    Attributes:
        path: Its file.
        profile: The profile.
        tables: The latency tables that were measured, by precision; none if the model space declares no chain of parts.
        precisions: The precisions that were measured.
        kept: The precisions whose costs the file held before, of the same machine.
    """

    path: Path
    profile: DeviceProfile
    tables: Mapping[ComputePrecision, LatencyTable]
    precisions: tuple[ComputePrecision, ...]
    kept: tuple[ComputePrecision, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelled:
    """A profile that was computed from a sheet.

    Attributes:
        path: Its file.
        profile: The profile.
        sheet: The sheet.
    """

    path: Path
    profile: DeviceProfile
    sheet: SocSheet


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelledPlan:
    """What `factory profile --modelled` was asked for.

    Attributes:
        sheet: A file, a shipped name, or `host`.
        engine: The engine to model this machine with. Every other sheet states engine and threads itself.
        precisions: Precisions to model; if empty, all that the sheet has figures for.
        threads: Threads of the engine.
        given: Names of the options that a person gave; those that do not apply to the sheet are refused.
    """

    sheet: str
    engine: str = "onnxruntime"
    precisions: tuple[ComputePrecision, ...] = ()
    threads: int = 1
    given: tuple[str, ...] = ()


def measure(
    run: Run,
    console: Console,
    plan: Plan,
    precisions: Sequence[ComputePrecision],
    *,
    engine: str,
    place: str,
    output: Path | None,
    today: date,
    force: bool = False,
) -> Profiled:
    """Measure a machine for the model space of `run`; the profile goes to `output`.

    Costs of the same machine in other precisions, which the file may hold already, stay in it.

    Args:
        run: The run whose model space is measured, with its seed and folder.
        console: Shows progress.
        plan: What to measure in each precision.
        precisions: The precisions to measure, one after the other.
        engine: A key of `ENGINES`.
        place: The machine as `--on` names it; see `get_runner`.
        output: The file, whose name is that of the profile; by default `profiles/host.yaml`, `profiles/ssh.yaml` and
            so on.
        today: The date that the profile states.
        force: Replace a profile even if it was edited.

    Raises:
        ConfigError: `place` is not known, the engine lacks a precision, or the profile would replace an edited one, or
            costs of another machine.
        EngineError: The engine is missing, the machine cannot be reached, or it is too noisy to be measured.
        DiskError: The profile cannot be written.
    """
    path = output or run.default_profile("host" if place == "here" else place.partition(":")[0])
    name = profile_name(path)
    kept = None if force else _kept(path, precisions)
    with exclusive(run.folder, "profile"):
        model_space = Materials(run, console).model_space
        driver = get_engine(engine, opset=run.config.export.opset)
        settings = [replace(plan, seed=run.config.seed, precision=precision) for precision in precisions]
        with ExitStack() as stack:
            runner = get_runner(place, driver)
            if isinstance(runner, AbstractContextManager):
                stack.enter_context(runner)
            machine = runner.machine()
            for setting in settings:
                check_plan(setting, driver, machine)
            if kept is not None:
                machines = {p: machine_name(machine, driver, plan.threads, p) for p in kept.costs}
                kept.check_machine(machines, _space(model_space))
            title = "measure this machine" if place == "here" else f"measure {place}"
            measured = []
            for setting in settings:
                with console.stage(title if len(settings) == 1 else f"{title} in {setting.precision}") as progress:
                    shown, folder = _also_shown(progress, runner), run.measurements
                    measured.append(
                        measure_host(
                            model_space, driver, setting, folder=folder, progress=shown, today=today, runner=runner
                        )
                    )
    costs = {found.profile.precision: found.profile.costs for found in measured}
    tables = {found.table.precision: found.table for found in measured if found.table is not None}
    facts = measured[0].profile.model_copy(update={"name": name}) if kept is None else kept.profile
    old, old_tables = ({}, ()) if kept is None else (kept.costs, kept.tables)
    profile = write_profile(facts.stating({**old, **costs}), path, [*old_tables, *tables.values()])
    return Profiled(path=path, profile=profile, tables=tables, precisions=tuple(precisions), kept=tuple(old))


def _kept(path: Path, precisions: Sequence[ComputePrecision]) -> KeptCosts | None:
    """What the file keeps. Raises `ConfigError` if it was edited."""
    refuse_to_replace(path, ())
    return kept_costs(path, precisions)


def _space(model_space: ModelSpace) -> str:
    """The digest by which a latency table names its space; "" if the space has no tables."""
    return space_digest(model_space) if isinstance(model_space, ChainModelSpace) else ""


def model_device(
    run: Run, console: Console, plan: ModelledPlan, *, output: Path | None, force: bool = False
) -> Modelled:
    """Compute a profile from a sheet; it goes to `output` or `profiles/<name>.yaml` beside the config of `run`.

    With `force` it replaces any profile there.

    Raises:
        ConfigError: There is no such sheet, it is wrong or lacks a figure, an option does not apply to it, or the
            profile would replace measured latencies or an edited profile.
        EngineError: The engine is missing.
        DiskError: The profile cannot be written.
    """
    sheet = _sheet(plan, console)
    path = output or run.default_profile(sheet.name)
    if not force:
        refuse_to_replace(path, ("measured", "few_shot"))
    profile = profile_of(sheet, plan.precisions)
    write_profile(profile, path, comment=comment_of(sheet, plan.precisions))
    return Modelled(path=path, profile=profile, sheet=sheet)


def _sheet(plan: ModelledPlan, console: Console) -> SocSheet:
    unused = [name for name in ("networks", "held_out", "rounds", "on") if name in plan.given]
    if plan.sheet == HOST:
        _refuse(unused, "times no network")
        get_engine(plan.engine)
        with console.stage("measure peak and bandwidth"):
            return host_sheet(threads=plan.threads, engine=plan.engine)
    stated = [name for name in ("engine", "threads") if name in plan.given]
    _refuse([*unused, *stated], f"takes everything from the sheet {plan.sheet}")
    return find_sheet(plan.sheet)


def _refuse(options: Sequence[str], why: str) -> None:
    if options:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in options)
        raise ConfigError(f"{names} does not go with --modelled, which {why}; leave it out")


def _also_shown(progress: Progress, runner: Runner) -> Progress:
    """Progress that the measured machine shows, too, if it has a screen for it."""
    if not isinstance(runner, ShowsProgress):
        return progress
    shows = runner

    def show_both(done: int, total: int, detail: str = "") -> None:
        progress(done, total, detail)
        shows.show(done, total, detail)

    return show_both
