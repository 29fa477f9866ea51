"""`factory profile`: measure a machine with an engine, or model a device from its sheet, and write the profile."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from device_profiles.engine import ComputePrecision
from device_profiles.latency_table import LatencyTable
from device_profiles.measuring.measure import Plan, measure_host
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """A measured profile.

    Attributes:
        path: Its file.
        profile: The profile.
        table: Its latency table; None if the model space declares no chain of parts.
    """

    path: Path
    profile: DeviceProfile
    table: LatencyTable | None


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
        engine: The engine to model this machine with. Every other sheet states engine, precision and threads itself.
        precision: Precision of the model files.
        threads: Threads of the engine.
        given: Names of the options that a person gave; those that do not apply to the sheet are refused.
    """

    sheet: str
    engine: str = "onnxruntime"
    precision: ComputePrecision = "fp32"
    threads: int = 1
    given: tuple[str, ...] = ()


def measure(
    run: Run,
    console: Console,
    plan: Plan,
    *,
    engine: str,
    place: str,
    output: Path | None,
    today: date,
    force: bool = False,
) -> Profiled:
    """Measure a machine for the model space of `run`; the profile goes to `output`.

    Args:
        run: The run whose model space is measured, with its seed and folder.
        console: Shows progress.
        plan: What to measure.
        engine: A key of `ENGINES`.
        place: The machine as `--on` names it; see `get_runner`.
        output: The file, whose name is that of the profile; by default `profiles/host.yaml`, `profiles/ssh.yaml` and
            so on.
        today: The date that the profile states.
        force: Replace a profile even if it was edited.

    Raises:
        ConfigError: `place` is not known, or the profile would replace an edited one.
        EngineError: The engine is missing, the machine cannot be reached, or it is too noisy to be measured.
        DiskError: The profile cannot be written.
    """
    path = output or run.default_profile("host" if place == "here" else place.partition(":")[0])
    name = profile_name(path)
    if not force:
        refuse_to_replace(path, ())
    with exclusive(run.folder, "profile"):
        model_space = Materials(run, console).model_space
        driver = get_engine(engine, opset=run.config.export.opset)
        title = "measure this machine" if place == "here" else f"measure {place}"
        with console.stage(title) as progress, ExitStack() as stack:
            runner = get_runner(place, driver)
            if isinstance(runner, AbstractContextManager):
                stack.enter_context(runner)
            measured = measure_host(
                model_space,
                driver,
                replace(plan, seed=run.config.seed),
                folder=run.measurements,
                progress=_also_shown(progress, runner),
                today=today,
                runner=runner,
            )
    profile = write_profile(measured.profile.model_copy(update={"name": name}), path, measured.table)
    return Profiled(path=path, profile=profile, table=measured.table)


def model_device(
    run: Run, console: Console, plan: ModelledPlan, *, output: Path | None, force: bool = False
) -> Modelled:
    """Compute a profile from a sheet; it goes to `output` or `profiles/<name>.yaml` beside the config of `run`.

    With `force` it replaces any profile there.

    Raises:
        ConfigError: There is no such sheet, it is wrong, an option does not apply to it, or the profile would replace
            measured latencies or an edited profile.
        EngineError: The engine is missing.
        DiskError: The profile cannot be written.
    """
    sheet = _sheet(plan, console)
    path = output or run.default_profile(sheet.name)
    if not force:
        refuse_to_replace(path, ("measured", "few_shot"))
    profile = profile_of(sheet)
    write_profile(profile, path, comment=comment_of(sheet))
    return Modelled(path=path, profile=profile, sheet=sheet)


def _sheet(plan: ModelledPlan, console: Console) -> SocSheet:
    unused = [name for name in ("networks", "held_out", "rounds", "on") if name in plan.given]
    if plan.sheet == HOST:
        _refuse(unused, "times no network")
        get_engine(plan.engine)
        with console.stage("measure peak and bandwidth"):
            return host_sheet(threads=plan.threads, precision=plan.precision, engine=plan.engine)
    stated = [name for name in ("engine", "precision", "threads") if name in plan.given]
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
