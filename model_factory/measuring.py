"""`factory profile`: hand the engine to whoever measures, and write the profile down."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from device_profiles.latency_table import LatencyTable
from device_profiles.measure import Plan, measure_host
from device_profiles.profile import DeviceProfile
from device_profiles.runner import Runner
from exports.engines import get_engine
from exports.runners import ShowsProgress, get_runner
from model_factory.base.files import exclusive
from model_factory.base.progress import Progress
from model_factory.console import Console
from model_factory.materials import Materials
from model_factory.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """A profile that was measured, and where it lies."""

    path: Path
    profile: DeviceProfile
    table: LatencyTable | None


def measure(run: Run, console: Console, plan: Plan, *, engine: str, where: str, output: Path | None) -> Profiled:
    """Measure a machine for the model space of `run`; the profile goes to `output` or `profiles/host.yaml`.

    Args:
        run: whose model space, seed and folder.
        console: told of progress.
        plan: what to measure.
        engine: a key of `ENGINES`.
        where: the machine, see `get_runner`.
        output: the file.

    Raises:
        ConfigError: there is no such place.
        EngineError: the engine is missing, the machine is gone, or it was too noisy for a figure.
        DiskError: the profile cannot be written.
    """
    path = output or run.base / "profiles" / "host.yaml"
    with exclusive(run.folder, "profile"):
        model_space = Materials(run, console).model_space
        driver = get_engine(engine, opset=run.config.export.opset)
        title = "measure this machine" if where == "here" else f"measure {where}"
        with console.stage(title) as progress, ExitStack() as stack:
            runner = get_runner(where, driver)
            if isinstance(runner, AbstractContextManager):
                stack.enter_context(runner)
            measured = measure_host(
                model_space,
                driver,
                replace(plan, seed=run.config.seed),
                folder=run.folder / "measurements",
                progress=_also_shown(progress, runner),
                runner=runner,
            )
    return Profiled(path=path, profile=measured.write(path), table=measured.table)


def _also_shown(progress: Progress, runner: Runner) -> Progress:
    """Tell the machine that is measured too, where it has a screen for it."""
    if not isinstance(runner, ShowsProgress):
        return progress
    shows = runner

    def tell_both(done: int, total: int, detail: str = "") -> None:
        progress(done, total, detail)
        shows.show(done, total, detail)

    return tell_both
