"""`factory import-ofa`: start from the weights of an official once-for-all supernet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory_base.terminal import print_line

if TYPE_CHECKING:
    from model_factory.jobs.importing import ImportedSupernet


def import_ofa(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="FILE", help="An official checkpoint, ofa_mbv3_* or ofa_proxyless_*.")
    ],
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder for supernet.safetensors and factory.yaml.")
    ] = Path(),
) -> None:
    """Convert an official once-for-all checkpoint. Writes a supernet and a config that continues its training."""
    from model_factory.jobs.importing import import_checkpoint

    print_import(import_checkpoint(checkpoint, output))


def print_import(imported: ImportedSupernet) -> None:
    """Print what was found, what was written, and what to do next."""
    config = imported.config
    print_line(f"{config.space}, width multiplier {config.width_mult:g}, {imported.classes} classes")
    print_line(f"{imported.parameters:,} parameters, {imported.subnets:.2g} subnets")
    print_line(f"wrote {imported.weights}")
    print_line(f"wrote {imported.config_file}")
    for note in imported.notes:
        print_line(f"note: {note}")
    print_line(
        "not kept: running statistics of batch normalisation; subnets are recalibrated when they are scored or exported"
    )
    print_line(
        f"next: name your images in the section data of {imported.config_file}, then run `factory build` in its folder"
    )
