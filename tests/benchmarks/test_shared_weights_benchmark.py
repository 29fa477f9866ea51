"""The benchmark of one weights file for all tiers, on the tiny family, whose files take pixels."""

from __future__ import annotations

import json


def test_it_compares_shared_files_with_separate_ones(built, load, capsys):
    options = ["--tiers", "2", "--images", "20", "--rounds", "2"]
    assert load("shared_weights").main(["--config", str(built / "factory.yaml"), *options]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    for precision in ("fp32", "int8"):
        result = found[precision]
        assert result["own_weights"] == 0
        assert result["bytes_ratio"] < result["separate_ratio"]
    assert found["fp32"]["max_difference"] < 1e-5
