"""`factory import-ofa`: official once-for-all weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from model_factory.jobs.importing import ImportedSupernet


def import_ofa(
    checkpoint: Annotated[Path, typer.Argument(help="An official ofa_mbv3_* or ofa_proxyless_* file.")],
    output: Annotated[Path, typer.Option(help="Where to put supernet.safetensors and factory.yaml.")] = Path(),
) -> None:
    """Turn an official once-for-all checkpoint into a supernet and a config that trains it on."""
    from model_factory.jobs.importing import import_checkpoint

    print_import(import_checkpoint(checkpoint, output))


def print_import(imported: ImportedSupernet) -> None:
    """What was found, what was written, and what to do next."""
    config = imported.config
    print(f"{config.space}, width multiplier {config.width_mult:g}, {imported.classes} classes")
    print(f"{imported.parameters:,} parameters, {imported.subnets:.2g} subnets")
    print(f"wrote {imported.weights}")
    print(f"wrote {imported.config_file}")
    print("not kept: running statistics of batch normalisation; each subnet gets its own when it is scored or exported")
    print(f"next: name your images in the data section of {imported.config_file}, then run `factory build` beside it")
