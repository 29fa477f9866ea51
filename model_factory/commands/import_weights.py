"""`factory import`: start from weights that others published. `factory import-ofa` is its form for one layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory_base.terminal import print_line

if TYPE_CHECKING:
    from model_factory.jobs.importing import ImportedSupernet

OutputOption = Annotated[
    Path, typer.Option(metavar="FOLDER", help="The folder for supernet.safetensors and factory.yaml.")
]


def import_weights(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="A safetensors file, or a state dict (.pth).")],
    layout: Annotated[
        str,
        typer.Option(
            metavar="LAYOUT",
            help="Whose names the weights have: ofa, timm:efficientnet_lite0, timm:tf_efficientnet_lite0, "
            "timm:mobilenetv3_large_100, torchvision:mobilenet_v3_large, efficientnet_pytorch:efficientnet_lite0.",
        ),
    ],
    output: OutputOption = Path(),
) -> None:
    """Convert published weights. Writes a supernet and a config that continues its training."""
    from model_factory.jobs.importing import import_weights as convert

    print_import(convert(weights, layout, output))


def import_ofa(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="FILE", help="An official checkpoint, ofa_mbv3_* or ofa_proxyless_*.")
    ],
    output: OutputOption = Path(),
) -> None:
    """Convert an official once-for-all checkpoint. The same as `factory import FILE --layout ofa`."""
    import_weights(checkpoint, "ofa", output)


def print_import(imported: ImportedSupernet) -> None:
    """Print what was found, what was written, and what to do next."""
    print_line(f"{imported.network}, {imported.classes} classes")
    print_line(f"{imported.parameters:,} parameters, {imported.subnets:.2g} subnets")
    print_line(f"wrote {imported.weights}")
    print_line(f"wrote {imported.config_file}")
    for note in imported.notes:
        print_line(f"note: {note}")
    print_line(
        "running statistics of batch normalisation are kept for the start of training; they fit the largest network, "
        "and every subnet gets its own when it is scored or exported"
    )
    print_line(
        f"next: name your images in the section data of {imported.config_file}, then run `factory build` in its folder"
    )
