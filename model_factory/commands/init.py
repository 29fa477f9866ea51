"""`factory init`: write a config and device profiles to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory_base.terminal import print_line
from model_factory.commands.options import TemplateName


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder for factory.yaml and profiles/.")
    ] = Path(),
    template: Annotated[
        TemplateName, typer.Option(metavar="NAME", help=f"The shipped config to copy: {', '.join(TemplateName)}.")
    ] = TemplateName.digits,
) -> None:
    """Write a config and device profiles to start from."""
    from model_factory.jobs.scaffold import scaffold

    for path in scaffold(folder, template.value):
        print_line(f"wrote {path}")
    print_line("next: edit these files, then run `factory build` in that folder")
