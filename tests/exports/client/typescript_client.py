"""The client in TypeScript, as the tests run it: Node for what is compiled, TypeScript's compiler for the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import exports

FOLDER = Path(exports.__file__).parent / "client" / "typescript"
LINES = Path(__file__).parent / "typescript" / "lines.mjs"
NODE = shutil.which("node")
_NPM = os.environ.get("MODEL_FACTORY_NPM")
_MODULES = Path(_NPM) / "node_modules" if _NPM else Path("node_modules")
needs_node = pytest.mark.skipif(NODE is None, reason="needs Node")
needs_compiler = pytest.mark.skipif(
    NODE is None or not all((_MODULES / name).is_dir() for name in ("typescript", "@types/node")),
    reason="needs Node, and MODEL_FACTORY_NPM=... with node_modules/typescript and node_modules/@types/node from npm",
)


def compile_to(folder: Path) -> subprocess.CompletedProcess[str]:
    """Compile the sources, with all checks, into another folder than the one that is committed."""
    options = ["-p", str(FOLDER), "--outDir", str(folder), "--typeRoots", str(_MODULES / "@types")]
    command = [str(NODE), str(_MODULES / "typescript" / "bin" / "tsc"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def node(script: str, *arguments: str, stdin: str = "") -> str:
    """What a module prints that imports the client as `client`."""
    text = f"import * as client from {str(FOLDER / 'dist' / 'index.js')!r};\n{script}"
    command = [str(NODE), "--input-type=module", "-e", text, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(text: str) -> str:
    """What the client answers to lines of devices."""
    done = subprocess.run([str(NODE), str(LINES)], input=text, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
