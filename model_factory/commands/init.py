"""`factory init`: a config and profiles to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_factory.commands.options import TemplateName


def init(
    folder: Annotated[Path, typer.Argument(help="Where to put factory.yaml and profiles/.")] = Path(),
    template: Annotated[TemplateName, typer.Option(help="The shipped config to start from.")] = TemplateName.digits,
) -> None:
    """Scaffold a config of your own and a folder of device profiles to edit."""
    from model_factory.jobs.scaffold import scaffold

    for path in scaffold(folder, template.value):
        typer.echo(f"wrote {path}")
    typer.echo("next: edit them, then run `factory build` in that folder")
