"""`benchmarks/peak_memory.py` in its reduced form."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("peak_memory")


def test_it_ends_with_arenas_over_bounds_and_what_the_engine_took(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--quick", "--engines", "onnxruntime"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("| space | subnet |")
    result = json.loads(output.splitlines()[-1])
    assert (result["quick"], result["subnets"], result["arena_over_bound"]) == (True, 2, 1.0)
    assert 0 < result["ort_over_plan_min"] <= result["ort_over_plan_max"] < 10
    assert "max_relative_difference" not in result
    assert result["engines"].keys() == {"onnxruntime"}


def test_an_engine_that_is_missing_is_named_with_what_installs_it(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(script.NEEDS, "executorch", ("no_such_module", "pip install executorch"))
    assert script.main(["--quick", "--engines", "executorch"]) == 0
    told = capsys.readouterr()
    assert "executorch is not installed, so it is left out; pip install executorch" in told.err
    result = json.loads(told.out.splitlines()[-1])
    assert (result["engines"], result["arena_over_bound"]) == ({}, 1.0)


def test_figures_of_executorch_tell_the_graph_from_the_planner(script: ModuleType) -> None:
    assert script.difference([90, 100], [100, 100]) == pytest.approx(0.1)
    assert script.extremes("plan_over_executorch", [90, 100], [100, 100]) == {
        "plan_over_executorch_min": 0.9,
        "plan_over_executorch_max": 1.0,
    }
