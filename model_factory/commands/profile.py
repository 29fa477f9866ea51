"""`factory profile`: measure a machine, or model a device from a sheet."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory_base.terminal import print_line
from factory_base.wording import counted
from model_factory.commands.options import (
    ConfigOption,
    EngineName,
    ForceOption,
    PrecisionName,
    QuietOption,
    RunOption,
    chosen_run,
)
from model_factory.commands.tables import print_profile_path, print_table

if TYPE_CHECKING:
    from device_profiles.engine import ComputePrecision
    from device_profiles.latency_table import LatencyTable
    from device_profiles.profile_costs import CostParameters
    from model_factory.jobs.measuring import Modelled, Profiled
    from model_factory.run import Run

OnOption = Annotated[
    str,
    typer.Option(
        metavar="MACHINE",
        help="The machine to measure. This one: here. A Linux board: ssh:[USER@]HOST[:PORT] [,python=PATH] "
        "[,config=FILE], where HOST may be a name in ~/.ssh/config and FILE is read instead of that. An Android "
        "phone: adb:[SERIAL],binary=FILE [,library=FILE] [,version=V] [,taskset=MASK], where binary is the "
        "engine's benchmark program. A browser: browser:DIST [,port=NUMBER] [,lan] [,host=NAME], where DIST is "
        "node_modules/onnxruntime-web/dist; open the address that is printed. Write all of these without spaces.",
    ),
]


def profile(
    context: typer.Context,
    run: RunOption = None,
    config: ConfigOption = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Measure nothing; show the profiles beside the config and the shipped ones.")
    ] = False,
    modelled: Annotated[
        str | None,
        typer.Option(
            metavar="SHEET",
            help="Time no network, but compute the profile from a sheet of published figures (a file or a shipped "
            "name). For the sheet `host`, which is this machine, peak and bandwidth are measured.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="The inference engine.")] = EngineName.onnxruntime,
    precision: Annotated[
        list[PrecisionName] | None,
        typer.Option(
            help="The precision that kernels compute in; name the option twice for both. By default fp32, and with "
            "--modelled all that the sheet has figures for. Costs of this machine in another precision, which the "
            "profile may have already, stay in it.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads of the engine.", min=1)] = 1,
    networks: Annotated[
        int,
        typer.Option(metavar="N", help="Networks to fit predictions to, and to take parts from.", min=6, max=10_000),
    ] = 40,
    held_out: Annotated[
        int, typer.Option(metavar="N", help="Further networks to test predictions on.", min=2, max=10_000)
    ] = 16,
    rounds: Annotated[
        int, typer.Option(metavar="N", help="Rounds, in each of which every file is timed.", min=4, max=100_000)
    ] = 40,
    on: OnOption = "here",
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The profile to write; by default profiles/NAME.yaml beside the config, where NAME is host, ssh, adb "
            "or browser, or the name of the sheet.",
            show_default=False,
        ),
    ] = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a machine, or model a device, and write its profile."""
    from device_profiles.measuring.measure import Plan
    from model_factory.console import Console
    from model_factory.jobs.measuring import ModelledPlan, measure, model_device

    chosen, console = chosen_run(run, config), Console(quiet)
    precisions: tuple[ComputePrecision, ...] = tuple(name.value for name in dict.fromkeys(precision or ()))
    if listed:
        print_profiles(chosen)
        return
    if modelled is not None:
        asked = ModelledPlan(
            sheet=modelled, engine=engine.value, precisions=precisions, threads=threads, given=_given(context)
        )
        print_modelled(model_device(chosen, console, asked, output=output, force=force))
        return
    plan = Plan(threads=threads, networks=networks, held_out=held_out, rounds=rounds)
    print_profiled(
        measure(
            chosen,
            console,
            plan,
            precisions or ("fp32",),
            engine=engine.value,
            place=on,
            output=output,
            today=date.today(),
            force=force,
        )
    )


def print_profiles(run: Run) -> None:
    """Print the profiles that a command or a target can name."""
    from device_profiles.modelling.soc import shipped_sheets
    from device_profiles.profile import known_profiles

    rows = [
        (
            found.profile.name,
            ", ".join(found.profile.all_costs),
            found.profile.latency_provenance,
            found.origin.partition(" ")[0],
            re.split(r"[.,:;]( |$)", found.profile.description, maxsplit=1)[0],
        )
        for found in known_profiles(run.config_folder)
    ]
    print_table(("profile", "computes in", "latencies", "from", "description"), rows)
    print_line(f"sheets for --modelled: {', '.join(shipped_sheets())}")


def print_profiled(profiled: Profiled) -> None:
    """Print what was measured, how far to trust it, and how to use it."""
    for precision in profiled.precisions:
        _print_measured(profiled.profile.costs_in(precision), profiled.tables.get(precision))
    if profiled.kept:
        print_line(f"kept           the costs in {', '.join(profiled.kept)} that the profile had")
    print_profile_path(profiled.path)


def _print_measured(costs: CostParameters, table: LatencyTable | None) -> None:
    print_line(f"machine        {costs.machine}")
    if table is not None and table.errors is not None:
        timed = sum(part.measured for part in table.parts)
        print_line(f"latency table  {counted(timed, 'part')} timed, {table.part_count - timed} interpolated")
        errors = table.errors
        print_line(
            f"predictions    of {errors.networks} held-out networks: mean error {errors.mape:.1%}, "
            f"{errors.within_5:.0%} within 5 %, {errors.within_10:.0%} within 10 %, rank correlation "
            f"{errors.spearman:.3f}"
        )
    else:
        print_line(
            f"predictions    of held-out networks: mean error {costs.prediction_error:.1%}; no latency table, because"
        )
        print_line("               the model space declares no chain of parts")
    print_line(
        f"repeatability  {costs.repeatability_p95:.1%} between odd and even rounds (95th percentile of networks)"
    )
    if costs.spread is not None:
        print_line(
            f"single runs    95th percentile {costs.spread.p95_over_p50:.2f} times the median; without a pause for "
            f"{costs.spread.sustained_seconds:g} s, {costs.spread.sustained_over_p50:.2f} times the stated latency"
        )
    if costs.peak is not None:
        cached = costs.peak.cached_gbytes_per_s
        caches = f", {cached:g} GB/s in caches" if cached else ""
        print_line(f"peak           {costs.peak.gmacs_per_s:g} GMAC/s, {costs.peak.gbytes_per_s:g} GB/s copied{caches}")


def print_modelled(modelled: Modelled) -> None:
    """Print what a modelled profile rests on, how far to trust it, and how to use it."""
    from device_profiles.modelling.roofline import explained

    profile = modelled.profile
    for line in explained(modelled.sheet, tuple(profile.all_costs)):
        print_line(line)
    std = profile.costs.latency_std
    doubt = "" if std is None else f", one standard deviation is {std.value:.0%} of a latency"
    print_line(f"latency        {profile.latency_provenance}{doubt}")
    print_line(f"energy         {profile.energy_provenance or 'unknown'}")
    print_profile_path(modelled.path)


def _given(context: typer.Context) -> tuple[str, ...]:
    """Names of the options that a person gave, as opposed to those with their defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return tuple(name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE")
