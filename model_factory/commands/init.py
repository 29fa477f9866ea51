"""`factory init`: write a config and device profiles to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory_base.terminal import print_line
from model_factory.commands.options import TemplateName
from model_factory.commands.tables import print_table

if TYPE_CHECKING:
    from model_factory.jobs.scaffolding.starting import Started
    from model_factory.jobs.scaffolding.template import Scaffold


def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="The folder for factory.yaml and profiles/; the family is named after it."
        ),
    ] = Path(),
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Your data: a folder of class folders, a table, or an archive. The config is written for them.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="With --data, a table's column of labels, if it is not found; several for several labels.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        TemplateName | None,
        typer.Option(
            metavar="NAME",
            help=f"The shipped config to start from, by default the blank images: {', '.join(TemplateName)}.",
            show_default=False,
        ),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Write nothing; show the shipped configs.")] = False,
) -> None:
    """Write a config and device profiles to start from.

    With `--data` the config is for your data, and a smaller one for a trial lies beside it.
    """
    from factory_base.errors import ConfigError
    from model_factory.jobs.scaffolding.template import scaffold, template_descriptions

    if data is not None and template is not None:
        raise ConfigError("--data and --template exclude each other; give one of them")
    if listed:
        print_table(("template", "for"), list(template_descriptions().items()))
        print_line("for your own data: `factory init FOLDER --data PATH` looks at them and writes the config")
    elif data is not None:
        from model_factory.jobs.scaffolding.starting import start

        print_started(start(folder, data, label or ()), folder)
    else:
        print_scaffold(scaffold(folder, (template or TemplateName.images).value), folder)


def print_started(started: Started, folder: Path) -> None:
    """Print what was seen, decided and written, and what to do next."""
    for line in started.lines:
        print_line(line)
    print_line(f"wrote {started.config}, the config of the family {started.family}; look through its comments")
    print_line(f"wrote {started.smoke}, the same in about two minutes")
    for line in started.todo:
        print_line(line)
    print_line(f"next: `factory build --config {started.smoke}` tries the whole loop")
    print_line(f"then: `factory build` in {_where(folder)}")


def print_scaffold(written: Scaffold, folder: Path) -> None:
    """Print what was written, and what to do next."""
    print_line(f"wrote {written.config}, the config of the family {written.family}")
    print_line(f"wrote {written.profiles}, {written.profile_count} device profiles")
    if written.is_blank:
        print_line(f"data: none yet; set data.path in {written.config} to your images")
        print_line("  or let `factory init FOLDER --data PATH` look at them and write the config")
    elif written.data is None:
        print_line("data: embedded images, for a trial; name yours in the section data")
    else:
        print_line(f"data: put your images into {folder / written.data}, or set data.path in {written.config}")
    print_line(f"next: check the budgets of the targets, then run `factory build` in {_where(folder)}")


def _where(folder: Path) -> str:
    return "this folder" if folder.resolve() == Path.cwd() else str(folder)
