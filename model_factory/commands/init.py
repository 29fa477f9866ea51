"""`factory init`: write a config and device profiles to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory_base.terminal import print_line
from model_factory.commands.options import TemplateName
from model_factory.commands.tables import print_table

if TYPE_CHECKING:
    from model_factory.jobs.scaffold import Scaffold


def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="The folder for factory.yaml and profiles/; the family is named after it."
        ),
    ] = Path(),
    template: Annotated[
        TemplateName,
        typer.Option(metavar="NAME", help=f"The shipped config to start from: {', '.join(TemplateName)}; see --list."),
    ] = TemplateName.images,
    listed: Annotated[bool, typer.Option("--list", help="Write nothing; show the shipped configs.")] = False,
) -> None:
    """Write a config and device profiles to start from."""
    from model_factory.jobs.scaffold import scaffold, template_descriptions

    if listed:
        print_table(("template", "for"), list(template_descriptions().items()))
    else:
        print_scaffold(scaffold(folder, template.value), folder)


def print_scaffold(written: Scaffold, folder: Path) -> None:
    """Print what was written, and what to do next."""
    print_line(f"wrote {written.config}, the config of the family {written.family}")
    print_line(f"wrote {written.profiles}, {written.profile_count} device profiles")
    if written.data is None:
        print_line("data: embedded images, for a trial; name yours in the section data")
    else:
        print_line(f"data: put your images into {folder / written.data}, or set data.path in {written.config}")
    where = "this folder" if folder.resolve() == Path.cwd() else folder
    print_line(f"next: check the budgets of the targets, then run `factory build` in {where}")
