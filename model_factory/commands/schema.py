"""`factory schema`: every key of the config, for editors and for readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from factory_base.terminal import print_json, print_line


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write to a file.", show_default=False)
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="The reference for readers, in Markdown, in place of the JSON Schema.")
    ] = False,
) -> None:
    """Print the JSON Schema of the config, or a reference of it.

    Editors complete and explain the keys of a config by the schema.
    """
    from factory_base.files import write_text
    from model_factory.jobs.reference import config_reference
    from model_factory.jobs.schema import SCHEMA_LINE, config_schema

    if output is not None:
        write_text(output, config_reference() if reference else json.dumps(config_schema(), indent=1) + "\n")
        print_line(f"wrote {output}")
        if not reference:
            print_line(f"name it in the first line of a config: {SCHEMA_LINE.rpartition('=')[0]}={output.name}")
    elif reference:
        for line in config_reference().splitlines():
            print_line(line)
    else:
        print_json(config_schema())
