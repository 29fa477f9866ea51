"""`factory onboard`: make a profile of a device that is not at hand."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory_base.terminal import print_line
from factory_base.wording import counted
from model_factory.commands.options import ConfigOption, ForceOption, QuietOption, RunOption, chosen_run
from model_factory.commands.tables import print_profile_path

if TYPE_CHECKING:
    from model_factory.jobs.onboarding import NewDevice, Suggestion

PriorOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PRIOR",
        help="Known devices: a profile, or a table of networks by devices (CSV or Parquet); may be repeated. By "
        "default the profiles beside the config that have a latency table, and the shipped ones.",
        show_default=False,
    ),
]
TrustUnitsOption = Annotated[
    bool,
    typer.Option(
        "--trust-units",
        help="Accept latencies even if they differ from those of --like, or from each other, as much as units do "
        "(more than 30 times).",
    ),
]


def onboard(
    measurements: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Measured networks: a CSV or Parquet file with the columns of the one that --suggest writes.",
            show_default=False,
        ),
    ] = None,
    like: Annotated[
        str, typer.Option(metavar="PROFILE", help="A profile with the facts, budgets and memory of the device.")
    ] = "midrange",
    prior: PriorOption = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="The device to use, if FILE names several.", show_default=False),
    ] = None,
    trust_units: TrustUnitsOption = False,
    suggest: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Make no profile: write N networks to measure next, and a file for their latencies.",
            min=1,
            max=1000,
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="The profile to write, by default profiles/onboarded.yaml beside the config. With --suggest the "
            "folder to write, by default networks.",
            show_default=False,
        ),
    ] = None,
    force: ForceOption = False,
    run: RunOption = None,
    config: ConfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Make a profile of a device from 5 to 10 measured networks. The device need not be at hand."""
    from model_factory.console import Console
    from model_factory.jobs import onboarding

    chosen, console = chosen_run(run, config), Console(quiet)
    request = onboarding.Request(
        measurements=measurements, only=only, priors=tuple(prior or ()), like=like, trust_units=trust_units
    )
    if suggest is not None:
        folder = output or chosen.base / "networks"
        print_suggestion(onboarding.suggest(chosen, console, request, suggest, folder), like)
    else:
        path = output or chosen.default_profile("onboarded")
        print_onboarded(onboarding.onboard(chosen, console, request, path, today=date.today(), force=force))


def print_onboarded(device: NewDevice) -> None:
    """Print what the new profile rests on, how far to trust it, and how to use it."""
    table, costs = device.table, device.profile.costs
    rows = f", {counted(costs.rows, 'row')}" if costs.rows else ""
    print_line(f"measured       {counted(table.fitted_networks, 'network')}{rows}")
    print_line(f"known devices  {', '.join(device.priors)}")
    if table.errors is not None:
        print_line(
            f"predictions    of each measured network from the others: mean error {table.errors.mape:.1%}, "
            f"{table.errors.within_10:.0%} within 10 %"
        )
    for note in device.notes:
        print_line(f"note           {note}")
    confidence = device.profile.budgets.confidence
    if confidence is not None:
        print_line(
            f"budgets        a subnet is feasible if it keeps the latency with a probability of {confidence:.0%}"
        )
    print_profile_path(device.path)


def print_suggestion(suggestion: Suggestion, like: str) -> None:
    """Print the networks to measure, and the file for their latencies."""
    folder = suggestion.sheet.parent
    print_line(f"networks to measure: {', '.join(subnet.id for subnet in suggestion.networks)}")
    print_line(f"their files are in {folder}; time each of them with batch size 1 on the device, then")
    print_line(f"fill in {suggestion.sheet} and run `factory onboard {suggestion.sheet} --like {like}`")
