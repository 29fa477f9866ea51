"""`benchmarks/sharing_overhead.py` and `benchmarks/subnet_cost.py` in their reduced forms."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def result_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script's reduced form in this process and gives the JSON object of its last line."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))

    def run(script: str, *options: str) -> dict[str, Any]:
        assert importlib.import_module(script).main(["--quick", *options]) == 0
        output = capsys.readouterr().out
        assert output.startswith("| ")
        result = json.loads(output.splitlines()[-1])
        assert result["quick"] is True
        assert (result["threads"], result["seed"]) == (1, 0)
        assert {"machine", "torch", "date"} <= result.keys()
        return result

    return run


def test_sharing_overhead_ends_with_its_two_ratios(result_of: Run) -> None:
    result = result_of("sharing_overhead")
    space = result["spaces"]["tiny"]
    assert result["ratio"] == space["ratio"]["median"]
    assert 0.5 < result["ratio"] <= result["first_use_ratio"] < 50
    assert space["plain_ms"]["min"] > 0


def test_subnet_cost_ends_with_its_three_ratios_and_equal_predictions(result_of: Run) -> None:
    result = result_of("subnet_cost")
    assert all(result[f"{part}_ratio"] > 0 for part in ("extract", "recalibrate", "score"))
    assert result["extract_ratio"] == pytest.approx(result["extract_ms"] / result["copy_ms"], rel=0.5)
    assert result["equal_predictions"] == 1
    assert result["equal_after_recalibration"] > 0.9
    assert result["predicted_classes"] > 1


def test_a_part_can_be_run_alone(result_of: Run) -> None:
    result = result_of("subnet_cost", "--parts", "score")
    assert "score_ratio" in result
    assert "extract_ratio" not in result


@pytest.mark.parametrize("script", ["sharing_overhead", "subnet_cost"])
def test_wrong_options_are_told_in_a_line(script: str, result_of: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        result_of(script, "--no-such-option")
    assert "unrecognized arguments: --no-such-option" in capsys.readouterr().err.splitlines()[-1]
