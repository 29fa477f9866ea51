"""The command lines of the clients, by language: what they print at the end, and why one cannot be run here."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import exports
from exports.client.python import cli

ROOT = Path(exports.__file__).parents[1]
NODE_PROGRAM = ROOT / "exports" / "client" / "typescript" / "dist" / "cli.js"
SECONDS = 60
"""Longer than any launch takes on a busy machine."""


@dataclass(frozen=True)
class Outcome:
    """How a launch ended: the exit code, the last line of standard output if it is JSON, and standard error."""

    code: int
    found: dict[str, Any]
    error: str

    @property
    def events(self) -> list[str]:
        """The codes of what happened."""
        return list(self.found["events"])


@dataclass(frozen=True)
class Client:
    """One client.

    Attributes:
        name: The language.
        command: The command line for the arguments of a launch.
        inside: Whether it is run in this process, unless a test needs another one, because that is faster.
    """

    name: str
    command: Callable[[Sequence[str]], list[str]]
    inside: bool = False

    def launch(self, *arguments: str, apart: bool = False, **options: Any) -> Outcome:
        """Launch to the end; `options` are those of `subprocess.run`."""
        if self.inside and not apart and not options:
            return _inside(arguments)
        done = subprocess.run(
            self.command(arguments), capture_output=True, text=True, timeout=SECONDS, check=False, cwd=ROOT, **options
        )
        return outcome(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A launch in a process, which is killed at the end if it still runs."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(self.command(arguments), stdout=pipe, stderr=pipe, text=True, cwd=ROOT)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def outcome(code: int, output: str, error: str) -> Outcome:
    """The outcome of a program that has ended."""
    last = output.splitlines()[-1] if code == 0 and output.strip() else "{}"
    return Outcome(code, json.loads(last), error)


def _inside(arguments: Sequence[str]) -> Outcome:
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            cli.main(["launch", *arguments])
    except SystemExit as error:
        return Outcome(1, {}, str(error.code))
    return outcome(0, out.getvalue(), "")


def _python() -> tuple[Client | None, str]:
    return Client("python", lambda given: [sys.executable, "-m", "exports.client.python", "launch", *given], True), ""


def _typescript() -> tuple[Client | None, str]:
    node = shutil.which("node")
    if node is None:
        return None, "needs Node"
    if not NODE_PROGRAM.is_file():
        return None, f"needs {NODE_PROGRAM.relative_to(ROOT)}"
    if "MODEL_FACTORY_ONNXRUNTIME_WEB" not in os.environ:
        return None, "needs MODEL_FACTORY_ONNXRUNTIME_WEB, the folder dist of the npm package onnxruntime-web"
    return Client("typescript", lambda given: [node, str(NODE_PROGRAM), "launch", *given]), ""


def _kotlin() -> tuple[Client | None, str]:
    try:
        kotlin = importlib.import_module("kotlin_client")
    except ImportError:
        return None, "needs the Kotlin client"
    if fault := kotlin.missing():
        return None, str(fault)
    return Client("kotlin", lambda given: kotlin.command("Cli", "launch", *given)), ""


CLIENTS: dict[str, Callable[[], tuple[Client | None, str]]] = {
    "python": _python,
    "typescript": _typescript,
    "kotlin": _kotlin,
}
"""Language -> the client, or why it cannot be run here."""
