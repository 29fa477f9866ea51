"""`benchmarks/peak_memory.py` in a tiny space."""

from __future__ import annotations

import json
from types import ModuleType

import pytest

TINY = ("--spaces", "tiny", "--subnets", "2")


@pytest.fixture
def script(load) -> ModuleType:
    return load("peak_memory")


def test_it_ends_with_arenas_over_bounds_and_the_arena_of_the_engine(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--quick", *TINY, "--engines", "onnxruntime"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("| space | subnet |")
    result = json.loads(output.splitlines()[-1])
    assert (result["quick"], result["subnets"], result["arena_over_bound"]) == (True, 2, 1.0)
    assert 0 < result["ort_over_plan_min"] <= result["ort_over_plan_max"] < 10
    assert "max_relative_difference" not in result
    assert result["engines"].keys() == {"onnxruntime"}


def test_a_missing_engine_is_named_with_the_command_that_installs_it(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(script.NEEDS, "executorch", ("no_such_module", "pip install executorch"))
    assert script.main(["--quick", *TINY, "--engines", "executorch"]) == 0
    printed = capsys.readouterr()
    assert "executorch is not installed, so it is left out; pip install executorch" in printed.err
    result = json.loads(printed.out.splitlines()[-1])
    assert (result["engines"], result["arena_over_bound"]) == ({}, 1.0)


def test_the_quick_form_takes_one_subnet_of_three_spaces(script: ModuleType) -> None:
    options = script.parse(["--quick"])
    assert (options.subnets, len(options.spaces)) == (1, 3)
    assert set(options.spaces) < set(script.parse([]).spaces)


def test_metrics_of_executorch_compare_graphs_apart_from_planners(script: ModuleType) -> None:
    assert script.difference([90, 100], [100, 100]) == pytest.approx(0.1)
    assert script.extremes("plan_over_executorch", [90, 100], [100, 100]) == {
        "plan_over_executorch_min": 0.9,
        "plan_over_executorch_max": 1.0,
    }
