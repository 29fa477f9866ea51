"""`benchmarks/sharing_overhead.py` and `benchmarks/subnet_cost.py` in a tiny space."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]
OPTIONS = {
    "sharing_overhead": ("--spaces", "tiny", "--batch", "8"),
    "subnet_cost": ("--space", "tiny", "--scored", "300"),
}


@pytest.fixture
def result_of(load, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script in the tiny space, in this process, and returns the JSON object of its last line."""

    def run(script: str, *options: str) -> dict[str, Any]:
        assert load(script).main(["--quick", *OPTIONS[script], *options]) == 0
        output = capsys.readouterr().out
        assert output.startswith("| ")
        result: dict[str, Any] = json.loads(output.splitlines()[-1])
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


def test_one_part_can_be_run_alone(result_of: Run) -> None:
    result = result_of("subnet_cost", "--parts", "score")
    assert "score_ratio" in result
    assert "extract_ratio" not in result


@pytest.mark.parametrize("script", OPTIONS)
def test_the_quick_form_works_in_the_spaces_of_the_full_form(script: str, load) -> None:
    quick, full = load(script).parse(["--quick"]), load(script).parse([])
    spaces = "spaces" if script == "sharing_overhead" else "space"
    assert getattr(quick, spaces) == getattr(full, spaces)
    assert quick.subnets < full.subnets


@pytest.mark.parametrize("script", OPTIONS)
def test_wrong_options_are_reported_in_one_line(
    script: str, result_of: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        result_of(script, "--no-such-option")
    assert "unrecognized arguments: --no-such-option" in capsys.readouterr().err.splitlines()[-1]
