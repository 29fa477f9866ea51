"""A tiny family of the digits that all tests of the command line share, and fixtures that run the command.

`factory` runs it in this process, which saves the imports; `factory_process` runs it in a process of its own, for tests
of signals, limits of a process, several workers, or a user's own modules.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from model_factory.__main__ import main

CONFIG = """\
name: tiny
seed: 0
threads: 1
data: {source: digits, image_size: 16, heldout_fraction: 0.2, test_fraction: 0.25, limit: 600}
model:
  resolutions: [12, 16]
  stem_width: 8
  stem_stride: 2
  stages:
    - {widths: [8, 16], depths: [1], kernels: [3], expands: [1, 2]}
    - {widths: [16, 32], depths: [1, 2], kernels: [3], expands: [2, 3], stride: 2}
  head_width: 32
training: {epochs: 10, batch_size: 64, learning_rate: 0.2, augment: {shift: 1}, save_every: 0.1}
search: {shared_subnets: 4, trials_per_target: 1, finalists: 2, calibration_images: 100}
targets:
  - {device: speaker, budgets: {latency: 0.24 ms, peak_memory: 1 MiB, file_size: 100 KiB}}
  - {device: midrange, budgets: {latency: 1 ms, peak_memory: 4 MiB, file_size: 1 MiB}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """All that a person sees: a line, or a heading and an indented line for each mistake in a file."""
        first, *more = self.err.splitlines()
        assert first.startswith("error: ")
        assert all(line.startswith("  ") for line in more)
        return "\n".join((first, *more))

    @property
    def stages(self) -> list[str]:
        """The stages that ran."""
        return [line.partition(":")[0] for line in self.err.splitlines() if ": done in " in line]


def _restore_ctrl_c() -> None:
    """Restore the default: background jobs of a shell start with Ctrl-C ignored, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., Answer]


@pytest.fixture(scope="session")
def start_factory() -> Start:
    """Starts the command in a folder, in a process of its own."""

    def start(cwd: Path, *arguments: object, prefix: tuple[str, ...] = ("-m", "model_factory"), **options: Any) -> Any:
        command = [sys.executable, *prefix, *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        options = {"preexec_fn": _restore_ctrl_c} | options
        return subprocess.Popen(command, cwd=cwd, env=environment, **pipes, **options)

    return start


@pytest.fixture(scope="session")
def factory_process(start_factory: Start) -> Run:
    """Runs the command in a folder, in a process of its own, and waits for its end."""

    def run(cwd: Path, *arguments: object, **options: Any) -> Answer:
        process = start_factory(cwd, *arguments, **options)
        out, err = process.communicate(timeout=120)
        return Answer(code=process.returncode, out=out, err=err)

    return run


@pytest.fixture(scope="session")
def factory() -> Run:
    """Runs the command in a folder, in this process."""

    def run(cwd: Path, *arguments: object) -> Answer:
        out, err, threads = io.StringIO(), io.StringIO(), torch.get_num_threads()
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main([str(argument) for argument in arguments])
                code: object = 0
            except SystemExit as leaving:
                code = leaving.code
            finally:
                torch.set_num_threads(threads)
        return Answer(
            code=code if isinstance(code, int) else int(code is not None), out=out.getvalue(), err=err.getvalue()
        )

    return run


@pytest.fixture(scope="session")
def tiny_config() -> str:
    return CONFIG


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, factory: Run) -> Path:
    """A folder with `factory.yaml` and the finished family. Tests may read it, but not change it.

    Of the processes that share the tests the first one that needs it builds it, and each of them has a copy.
    """
    folder, shared = tmp_path_factory.mktemp("app"), tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with FileLock(shared / "built.lock"):
        if not (shared / "built").is_dir():
            (folder / "factory.yaml").write_text(CONFIG, encoding="utf-8")
            answer = factory(folder, "build")
            assert answer.code == 0, answer.err
            shutil.copytree(folder, shared / "partly built")
            (shared / "partly built").rename(shared / "built")
    return Path(shutil.copytree(shared / "built", folder, dirs_exist_ok=True))


@pytest.fixture
def app(built: Path, tmp_path: Path) -> Path:
    """A copy of the finished build that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "app"))


@pytest.fixture
def empty_app(tmp_path: Path) -> Path:
    """A folder with the config and nothing else."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "factory.yaml").write_text(CONFIG, encoding="utf-8")
    return folder


@pytest.fixture
def edit_config() -> Callable[[Path, str, str], None]:
    """Replaces a text in the config of an app."""

    def edit(folder: Path, old: str, new: str) -> None:
        path = folder / "factory.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    return edit


@pytest.fixture
def published() -> Callable[[Path], dict[str, bytes]]:
    """Returns the content of every file of the tiny family except the report, and except what the clock measured."""

    def read(folder: Path) -> dict[str, bytes]:
        family = folder / "dist" / "tiny"
        files = (path for path in family.rglob("*") if path.is_file() and path.suffix != ".html")
        found = {path.relative_to(family).as_posix(): path.read_bytes() for path in files}
        manifest = json.loads(found["manifest.json"])
        for model in manifest["models"].values():
            del model["proof"]["host"]
            del model["needs"]["load_us"]
        return found | {"manifest.json": json.dumps(manifest).encode()}

    return read


@pytest.fixture
def children_seconds() -> Callable[[], float]:
    """Returns the processor time of all finished child processes, which does not depend on how busy the machine is."""

    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    return seconds


@pytest.fixture
def steps_done() -> Callable[[Path], int]:
    """Returns the number of steps done, given the file of a training state."""

    def read(state: Path) -> int:
        with state.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        return int(json.loads(header["__metadata__"]["training"])["progression"]["step"])

    return read
