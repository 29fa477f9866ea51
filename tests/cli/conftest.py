"""One tiny digits family that all command-line tests share, and ways to run the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

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
training: {epochs: 6, batch_size: 64, learning_rate: 0.2, augment: {shift: 1}, save_every: 0.1}
search: {shared_subnets: 4, trials_per_target: 1, feasible_per_target: 2, pool: 20, calibration_images: 100}
targets:
  - {device: speaker, budgets: {latency: 0.22 ms, peak_memory: 1 MiB, file_size: 100 KiB}}
  - {device: midrange, budgets: {latency: 1 ms, peak_memory: 4 MiB, file_size: 1 MiB}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command left with and said."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line a person sees; fails where there is another one, or a traceback."""
        assert "Traceback" not in self.err
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line


def factory_process(cwd: Path, *arguments: object, **options: object) -> subprocess.Popen[str]:
    """The command, started as its own process (and its own group, so that a signal reaches nothing else)."""
    command = [sys.executable, "-m", "model_factory", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, **options,
    )  # type: ignore[call-overload,no-any-return]  # fmt: skip


def factory(cwd: Path, *arguments: object, **options: object) -> Answer:
    """Run the command in `cwd` to its end."""
    process = factory_process(cwd, *arguments, **options)
    out, err = process.communicate(timeout=120)
    return Answer(code=process.returncode, out=out, err=err)


def model_digests(folder: Path) -> dict[str, bytes]:
    """The files of a family that an app runs or decides with."""
    names = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".html")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in names}


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """A folder with `factory.yaml`, `profiles/`, and the finished family. Read it, do not change it."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "factory.yaml").write_text(CONFIG, encoding="utf-8")
    (folder / "profiles").mkdir()
    answer = factory(folder, "build")
    assert answer.code == 0, answer.err
    return folder


@pytest.fixture
def app(built, tmp_path) -> Path:
    """A copy of the finished build that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "app"))


@pytest.fixture
def empty_app(tmp_path) -> Path:
    """Only the config."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "factory.yaml").write_text(CONFIG, encoding="utf-8")
    return folder
