"""The make target that the workflow calls: for a first family, for an unchanged one, and for failures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


Done = subprocess.CompletedProcess[str]


def make_family(
    app: Path, old: Path | str = "", flags: str = "", factory: str = ""
) -> subprocess.CompletedProcess[str]:
    variables = {
        "CONFIG": app / "factory.yaml",
        "OLD": old,
        "FLAGS": flags,
        "FACTORY": factory or f"{sys.executable} -m model_factory",
    }
    command = ["make", "-C", ROOT, "family", *(f"{name}={value}" for name, value in variables.items())]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def stand_in(tmp_path):
    """A `factory` that prints its arguments and exits with a given code for one command."""

    def make(command: str = "", code: int = 0) -> str:
        path = tmp_path / "factory"
        path.write_text(f'#!/bin/sh\necho "called: $*"\n[ "$1" != "{command}" ] || exit {code}\n', encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return make


def calls(answer: Done) -> list[str]:
    return [line.split()[1] for line in answer.stdout.splitlines() if line.startswith("called: ")]


def test_make_family_accepts_an_unchanged_family(app):
    last = shutil.copytree(app / "dist" / "tiny", app / "last-family")
    answer = make_family(app, last)
    assert answer.returncode == 0, answer.stderr
    assert "all passed" in answer.stdout
    assert "nothing got worse" in answer.stdout
    assert "train supernet" not in answer.stderr


def test_a_first_family_is_built_and_verified_and_compared_with_nothing(app, stand_in):
    answer = make_family(app, factory=stand_in())
    assert answer.returncode == 0, answer.stderr
    assert calls(answer) == ["build", "verify"]
    assert "the first family, nothing to compare it with" in answer.stdout


def test_limits_are_passed_to_the_comparison(app, stand_in):
    answer = make_family(app, app / "old", "--max-accuracy-drop 1", stand_in())
    assert f"called: diff {app / 'old'} {app / 'dist' / 'tiny'} --max-accuracy-drop 1" in answer.stdout


def test_the_number_of_the_release_is_compared_with_that_of_the_last_family(app, stand_in):
    answer = make_family(app, app / "old", factory=stand_in())
    assert f"called: verify {app / 'dist' / 'tiny'} --previous {app / 'old'}" in answer.stdout


@pytest.mark.parametrize(
    ("command", "code", "done"), [("build", 1, 1), ("verify", 1, 2), ("diff", 1, 3), ("diff", 2, 3)]
)
def test_make_family_stops_at_the_first_command_that_fails_and_shows_its_code(app, stand_in, command, code, done):
    answer = make_family(app, app / "old", factory=stand_in(command, code))
    assert answer.returncode != 0
    assert calls(answer) == ["build", "verify", "diff"][:done]
    assert f"Error {code}" in answer.stderr


def test_make_family_refuses_to_overwrite_what_it_compares_with(app, stand_in):
    answer = make_family(app, app / "dist" / "tiny", factory=stand_in())
    assert answer.returncode != 0
    assert "copy the last family elsewhere" in answer.stderr
