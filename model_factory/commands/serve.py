"""`factory serve`: show a family on a page that runs it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Annotated

import typer

from factory_base.terminal import print_line
from model_factory.commands.options import FamilyArgument

_ENGINE_VARIABLE = "MODEL_FACTORY_ONNXRUNTIME_WEB"
_INSTALLED = Path("node_modules") / "onnxruntime-web" / "dist"
DEFAULT_PORT = 8766
"""One above that of the measuring page, so that both can run. Ports above 1023 need no privilege."""


def serve(
    family: FamilyArgument,
    ort: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder dist of the npm package onnxruntime-web; by default the nearest node_modules.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port on this machine; 0 is any free one.")
    ] = DEFAULT_PORT,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A policy, which revokes files.", show_default=False)
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write the page as plain files for any server, and end.", show_default=False
        ),
    ] = None,
) -> None:
    """Show a family on a page that runs it in the browser.

    The page chooses, downloads, proves and runs the model of the browser that opens it.
    """
    from exports.page.server import SiteServer
    from exports.page.site import make_site, write_site

    site = make_site(family, engine_folder(ort), policy)
    if export is not None:
        print_line(f"{write_site(site, export)} files in {export}")
        print_line("Serve them over https. For threads, send the headers Cross-Origin-Opener-Policy: same-origin and")
        print_line("Cross-Origin-Embedder-Policy: require-corp.")
        return
    server = SiteServer(site, port)
    print_line(f"{server.url}  (Ctrl-C ends it)")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


def engine_folder(given: Path | None) -> Path:
    """The folder of ONNX Runtime Web: as given, named by the environment, or in the nearest `node_modules` upward.

    Raises:
        ConfigError: It is not installed.
    """
    from factory_base.errors import ConfigError

    named = os.environ.get(_ENGINE_VARIABLE)
    if given is not None or named:
        return given or Path(named or "")
    here = Path.cwd()
    found = next((folder / _INSTALLED for folder in (here, *here.parents) if (folder / _INSTALLED).is_dir()), None)
    if found is None:
        raise ConfigError(
            "ONNX Runtime Web is not installed here; run: npm install onnxruntime-web, or name it with --ort"
        )
    return found
