"""The make target that the workflow calls: a first, an unchanged and a worsened family."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def make_family(app: Path, old: Path | str = "", flags: str = "") -> subprocess.CompletedProcess[str]:
    variables = {
        "CONFIG": app / "factory.yaml",
        "OLD": old,
        "FLAGS": flags,
        "FACTORY": f"{sys.executable} -m model_factory",
    }
    command = ["make", "-C", ROOT, "family", *(f"{name}={value}" for name, value in variables.items())]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_make_family_builds_a_first_accepts_an_unchanged_and_refuses_a_worsened_family(
    empty_app, edit_config, children_seconds
):
    first = make_family(empty_app)
    assert first.returncode == 0, first.stderr
    assert "all passed" in first.stdout
    assert "the first family, nothing to compare it with" in first.stdout
    last = shutil.copytree(empty_app / "dist" / "tiny", empty_app / "last-family")

    started = children_seconds()
    unchanged = make_family(empty_app, last)
    assert unchanged.returncode == 0, unchanged.stderr
    assert "nothing got worse" in unchanged.stdout
    assert "train supernet" not in unchanged.stderr
    assert 0 < children_seconds() - started < 20

    edit_config(empty_app, "epochs: 10", "epochs: 1")
    worsened = make_family(empty_app, last)
    assert worsened.returncode != 0
    assert "worse: tier midrange: accuracy changed by -" in worsened.stdout
    assert "Error 1" in worsened.stderr
    assert make_family(empty_app, last, "--max-accuracy-drop 1").returncode == 0


def test_make_family_passes_on_that_families_cannot_be_compared(app):
    answer = make_family(app, app / "gone")
    assert answer.returncode != 0
    assert "Error 2" in answer.stderr


def test_make_family_refuses_to_overwrite_what_it_compares_with(app):
    answer = make_family(app, app / "dist" / "tiny")
    assert answer.returncode != 0
    assert "copy the last family elsewhere" in answer.stderr


def test_make_family_stops_at_a_budget_that_nothing_meets(app, edit_config):
    edit_config(app, "latency: 1 ms", "latency: 1 us")
    answer = make_family(app)
    assert "error: target 'midrange': no subnet meets its budgets" in answer.stderr
    assert "Error 1" in answer.stderr
