"""`benchmarks/fake_quantisation.py` on the tiny family."""

from __future__ import annotations

import json


def test_it_compares_accuracies_with_those_of_the_files(load, built, capsys) -> None:
    script = load("fake_quantisation")
    arguments = ["--config", str(built / "factory.yaml"), "--subnets", "1", "--calibration", "32"]
    assert script.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert 2 <= len(result["subnets"]) <= 3
    assert result["images"] == 120  # 0.2 of 600
    assert {len(line.split("|")) for line in lines[:3]} == {10}
    assert result["agreement"] > 0.95
    row = result["subnets"][0]
    assert row["error_low"] <= row["fake_points"] - row["file_points"] <= row["error_high"]


def test_a_config_without_a_finished_build_is_one_line_and_exit_code_1(load, empty_app, capsys) -> None:
    assert load("fake_quantisation").main(["--config", str(empty_app / "factory.yaml")]) == 1
    assert "has no finished build" in capsys.readouterr().err.splitlines()[-1]
