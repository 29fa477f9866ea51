"""The `factory` command. Each command parses, calls one function and prints; everything heavy is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from device_profiles.engine import Precision
    from model_factory.run import Run
    from supernet.planning.plan import TrainingLimits

app = typer.Typer(
    help="Train one supernet, search it per device, export a family of models with a manifest.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RunOption = Annotated[Path | None, typer.Option("--run", help="A run folder (runs/<name>).", show_default=False)]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="A config; default is the nearest factory.yaml upward.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
MaxHoursOption = Annotated[
    float | None,
    typer.Option(help="Train at most so long: fewer epochs, told and kept for later commands.", show_default=False),
]
MaxMemoryOption = Annotated[
    float | None,
    typer.Option(help="Train in so much memory, of the GPU if it trains: smaller micro-batches.", show_default=False),
]
FamilyArgument = Annotated[Path, typer.Argument(help="A family's folder or its manifest.")]


@app.command()
def build(
    run: RunOption = None,
    config: ConfigOption = None,
    max_hours: MaxHoursOption = None,
    max_memory_gib: MaxMemoryOption = None,
    quiet: QuietOption = False,
) -> None:
    """Do everything: train, search, fine-tune the picks, export, write manifest and report. Only what changed runs."""
    from model_factory import build as pipeline
    from model_factory.console import Console
    from model_factory.tables import print_family

    where = _run(run, config)
    limits = _limits(max_hours, max_memory_gib)
    print_family(pipeline.build(where, Console(quiet), limits=limits), where)


@app.command()
def train(
    run: RunOption = None,
    config: ConfigOption = None,
    max_hours: MaxHoursOption = None,
    max_memory_gib: MaxMemoryOption = None,
    quiet: QuietOption = False,
) -> None:
    """Train the supernet, or go on where an interrupted training stopped."""
    from model_factory import build as pipeline
    from model_factory.console import Console
    from model_factory.stages.plan import fitting_notes

    where = _run(run, config)
    trained = pipeline.train(where, Console(quiet), _limits(max_hours, max_memory_gib))
    if trained is None:  # an assisting process of torchrun
        return
    last = trained.curve[-1]
    small = "" if last.smallest_accuracy is None else f", smallest subnet {last.smallest_accuracy:.2%}"
    typer.echo(f"{where.checkpoint}: held-out accuracy of the largest subnet {last.largest_accuracy:.2%}{small}")
    for note in fitting_notes(where):
        typer.echo(f"note: {note}")


@app.command()
def search(
    device: Annotated[str, typer.Option("--device", help="A profile: a file, or a shipped name such as midrange.")],
    run: RunOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search the trained supernet for one device; print the Pareto front and the pick."""
    from model_factory import build as pipeline
    from model_factory.console import Console
    from model_factory.tables import print_search, search_json, write_search_plot

    where = _run(run, config)
    outcome = pipeline.search(where, Console(quiet), device)
    plot = write_search_plot(outcome, where)
    if as_json:
        typer.echo(search_json(outcome, plot))
    else:
        print_search(outcome, plot)


@app.command()
def export(run: RunOption = None, config: ConfigOption = None, quiet: QuietOption = False) -> None:
    """Search all targets and write the family from a supernet that is trained; picks may be fine-tuned."""
    from model_factory import build as pipeline
    from model_factory.console import Console
    from model_factory.tables import print_family

    where = _run(run, config)
    print_family(pipeline.build(where, Console(quiet), may_train=False), where)


@app.command()
def report(run: RunOption = None, config: ConfigOption = None, quiet: QuietOption = False) -> None:
    """Write report.html of the family and print where it lies."""
    from model_factory import build as pipeline
    from model_factory.console import Console

    where = _run(run, config)
    pipeline.build(where, Console(quiet), may_train=False)
    typer.echo(where.report)


@app.command()
def profile(
    context: typer.Context,
    run: RunOption = None,
    config: ConfigOption = None,
    modelled: Annotated[
        str | None,
        typer.Option(
            metavar="SHEET",
            help="Measure no network: compute the profile from a sheet of published figures, a file or a shipped name; "
            "`host` is this machine, of which only peak and bandwidth are measured.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="onnxruntime or mnn.")] = "onnxruntime",
    precision: Annotated[str, typer.Option(help="fp32 or int8.")] = "fp32",
    threads: Annotated[int, typer.Option(help="Threads of the engine.", min=1)] = 1,
    networks: Annotated[int, typer.Option(help="Networks to fit to, and to take parts from.", min=6)] = 40,
    held_out: Annotated[int, typer.Option(help="Further networks to judge predictions on.", min=2)] = 16,
    rounds: Annotated[int, typer.Option(help="Visits to each network and part.", min=4)] = 40,
    on: Annotated[
        str,
        typer.Option(
            help="The machine that is measured: here; a Linux board as ssh:[USER@]HOST[:PORT][,python=PATH]"
            "[,config=FILE], where HOST may be one of ~/.ssh/config and FILE replaces that; an Android phone as "
            "adb:[SERIAL],binary=FILE[,library=FILE][,version=V][,taskset=MASK], FILE being the engine's benchmark "
            "program; or browser:DIST[,port=NUMBER][,lan] for any browser that opens the address that is printed, DIST "
            "being node_modules/onnxruntime-web/dist.",
        ),
    ] = "here",
    output: Annotated[
        Path | None,
        typer.Option(help="Default is profiles/host.yaml beside the config, or the sheet's name.", show_default=False),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Measure a machine in the real engine and write a device profile of it, or model a device from a sheet."""
    from device_profiles.measuring.measure import Plan
    from model_factory.console import Console
    from model_factory.jobs.measuring import ModelledPlan, measure, model_device
    from model_factory.tables import print_modelled, print_profiled

    plan = Plan(threads=threads, precision=_precision(precision), networks=networks, held_out=held_out, rounds=rounds)
    if modelled is not None:
        asked = ModelledPlan(
            sheet=modelled, engine=engine, precision=plan.precision, threads=threads, given=_given(context)
        )
        print_modelled(model_device(_run(run, config), Console(quiet), asked, output=output))
        return
    print_profiled(measure(_run(run, config), Console(quiet), plan, engine=engine, where=on, output=output))


@app.command()
def onboard(
    measurements: Annotated[
        Path | None,
        typer.Argument(help="Measured networks: CSV or Parquet, as --suggest leaves it.", show_default=False),
    ] = None,
    like: Annotated[str, typer.Option(help="A profile with the facts, budgets and memory of the device.")] = "midrange",
    prior: Annotated[
        list[str] | None,
        typer.Option(
            help="Known devices: a profile, or a table of networks by devices (CSV, Parquet). May be repeated. Default "
            "is profiles beside the config that have a latency table, and the shipped ones.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="The device, where the file names several.", show_default=False)
    ] = None,
    suggest: Annotated[
        int | None, typer.Option(help="Leave so many networks to measure next instead.", min=1, show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Default is profiles/onboarded.yaml beside the config; with --suggest the folder networks.",
            show_default=False,
        ),
    ] = None,
    run: RunOption = None,
    config: ConfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Make a profile of a device that is not at hand, from 5 to 10 networks measured on it and known devices."""
    from model_factory.console import Console
    from model_factory.jobs import onboarding
    from model_factory.tables import print_onboarded, print_suggestion

    where, console = _run(run, config), Console(quiet)
    request = onboarding.Request(measurements=measurements, only=only, priors=tuple(prior or ()), like=like)
    if suggest is not None:
        folder = output or where.base / "networks"
        print_suggestion(onboarding.suggest(where, console, request, suggest, folder))
    else:
        path = output or where.base / "profiles" / "onboarded.yaml"
        print_onboarded(onboarding.onboard(where, console, request, path))


@app.command()
def resolve(
    family: FamilyArgument,
    platform: Annotated[str, typer.Option(help="android, ios, web, linux_iot or linux.")],
    ram: Annotated[
        str | None, typer.Option(help="What the kernel reports, for example 3GiB.", show_default=False)
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, show_default=False)] = None,
    os_version: Annotated[
        str | None,
        typer.Option("--os", help="For example 12.1; on Android the API level, for example 34.", show_default=False),
    ] = None,
    soc: Annotated[str | None, typer.Option(help="Maker/model, for example Acme/A1.", show_default=False)] = None,
    free_disk: Annotated[str | None, typer.Option(help="For example 500MB.", show_default=False)] = None,
    free_memory: Annotated[str | None, typer.Option(help="For example 200MiB.", show_default=False)] = None,
    engine_version: Annotated[str | None, typer.Option(help="Of the app's engine.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell which model a device gets, and why every other was passed over."""
    from model_factory.jobs.resolving import facts_from_text, print_resolution, resolution_json, resolve_family

    facts = facts_from_text(
        platform=platform,
        ram=ram,
        cores=cores,
        os_version=os_version,
        soc=soc,
        free_disk=free_disk,
        free_memory=free_memory,
        engine_version=engine_version,
    )
    resolution = resolve_family(family, facts)
    if as_json:
        typer.echo(resolution_json(resolution))
    else:
        print_resolution(resolution)


@app.command()
def verify(family: FamilyArgument, as_json: JsonOption = False) -> None:
    """Recompute every digest and run every model on the samples that ship with the family. Exit code 1 on any fault."""
    from exports.family.verify import verify_family
    from model_factory.tables import print_checks, verify_json

    outcome = verify_family(family)
    if as_json:
        typer.echo(verify_json(outcome))
    else:
        print_checks(outcome)
    raise typer.Exit(0 if outcome.ok else 1)


@app.command()
def diff(
    old: FamilyArgument,
    new: FamilyArgument,
    max_accuracy_drop: Annotated[float, typer.Option(help="As a fraction: 0.005 is half a point.", min=0, max=1)] = 0.0,
    max_latency_increase: Annotated[float, typer.Option(help="Relative.", min=0)] = 0.05,
    max_memory_increase: Annotated[float, typer.Option(help="Relative.", min=0)] = 0.05,
    max_bytes_increase: Annotated[float, typer.Option(help="Relative.", min=0)] = 0.05,
    as_json: JsonOption = False,
) -> None:
    """Compare two families tier by tier. Exit code 0: nothing got worse; 1: a tier did; 2: they cannot be compared."""
    from exports.family.diff import Limits, diff_families
    from model_factory.tables import diff_json, print_diff

    limits = Limits(
        max_accuracy_drop=max_accuracy_drop,
        max_latency_increase=max_latency_increase,
        max_memory_increase=max_memory_increase,
        max_bytes_increase=max_bytes_increase,
    )
    outcome = diff_families(old, new, limits)
    if as_json:
        typer.echo(diff_json(outcome))
    else:
        print_diff(outcome)
    raise typer.Exit(outcome.exit_code)


@app.command()
def telemetry(
    rows: Annotated[Path, typer.Argument(help="Parquet or CSV: device, model, latency_us (or _ms, _s), timestamp.")],
    family: Annotated[Path, typer.Option(help="The family that the app had: its folder or its manifest.")],
    measurements: Annotated[
        Path | None, typer.Option(help="Write what each device measured, as CSV.", show_default=False)
    ] = None,
    max_excess: Annotated[float, typer.Option(help="Relative: over the promise, but still kept.", min=0)] = 0.0,
    rounding: Annotated[
        str, typer.Option(help="What the app does to whole milliseconds: nearest or down.")
    ] = "nearest",
    as_json: JsonOption = False,
) -> None:
    """Hold latencies from the field against what a family promises. Exit code 0: kept; 1: broken; 2: no telling."""
    import time

    from model_factory.jobs.telemetry import judge, judged_json, print_judged

    judged = judge(rows, family, now=time.time(), max_excess=max_excess, rounding=rounding, measurements=measurements)
    if as_json:
        typer.echo(judged_json(judged))
    else:
        print_judged(judged)
    raise typer.Exit(judged.report.exit_code)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to put factory.yaml and profiles/.")] = Path(),
    template: Annotated[str, typer.Option(help="A shipped config, without .yaml.")] = "digits",
) -> None:
    """Scaffold a config of your own and a folder of device profiles to edit."""
    from model_factory.jobs.scaffold import scaffold

    for path in scaffold(folder, template):
        typer.echo(f"wrote {path}")
    typer.echo("next: edit them, then run `factory build` in that folder")


@app.command(name="import-ofa")
def import_ofa(
    checkpoint: Annotated[Path, typer.Argument(help="An official ofa_mbv3_* or ofa_proxyless_* file.")],
    output: Annotated[Path, typer.Option(help="Where to put supernet.safetensors and factory.yaml.")] = Path(),
) -> None:
    """Turn an official once-for-all checkpoint into a supernet and a config that trains it on."""
    from model_factory.jobs.importing import import_checkpoint, print_import

    print_import(import_checkpoint(checkpoint, output))


def _given(context: typer.Context) -> tuple[str, ...]:
    """The options that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return tuple(name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE")


def _limits(max_hours: float | None, max_memory_gib: float | None) -> TrainingLimits:
    from supernet.planning.plan import TrainingLimits

    return TrainingLimits(max_hours=max_hours, max_memory_gib=max_memory_gib)


def _run(run: Path | None, config: Path | None) -> Run:
    from model_factory.run import find_run

    return find_run(run, config)


def _precision(text: str) -> Precision:
    from device_profiles.engine import PRECISIONS
    from factory_base.documents import nearest
    from factory_base.errors import ConfigError

    found = next((known for known in PRECISIONS if known == text), None)
    if found is None:
        raise ConfigError(f"precision {text!r} is unknown; {nearest(text, PRECISIONS)}")
    return found
