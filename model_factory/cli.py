"""The `factory` command: a table of its commands, each of which has a file in `model_factory/commands`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from factory_base.terminal import print_line
from model_factory import __version__
from model_factory.commands.build import build
from model_factory.commands.diff import diff
from model_factory.commands.export import export
from model_factory.commands.import_weights import import_ofa, import_weights
from model_factory.commands.init import init
from model_factory.commands.onboard import onboard
from model_factory.commands.plan import plan
from model_factory.commands.profile import profile
from model_factory.commands.report import report
from model_factory.commands.resolve import resolve
from model_factory.commands.schema import schema
from model_factory.commands.search import search
from model_factory.commands.serve import serve
from model_factory.commands.show import show
from model_factory.commands.telemetry import telemetry
from model_factory.commands.train import train
from model_factory.commands.verify import verify

app = typer.Typer(
    help="Train one supernet, search it per device, export a family of models with a manifest.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print_line(f"factory {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _before_any_command(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:  # what Click does by itself depends on its version
        for line in context.get_help().splitlines():
            print_line(line)
        raise typer.Exit(2)


COMMANDS: dict[str, Callable[..., None]] = {
    "build": build,
    "train": train,
    "search": search,
    "plan": plan,
    "export": export,
    "report": report,
    "profile": profile,
    "onboard": onboard,
    "resolve": resolve,
    "verify": verify,
    "serve": serve,
    "show": show,
    "diff": diff,
    "telemetry": telemetry,
    "init": init,
    "schema": schema,
    "import": import_weights,
    "import-ofa": import_ofa,
}
"""The commands by name, in the order in which `factory --help` lists them."""

for name, command in COMMANDS.items():
    app.command(name=name)(command)
