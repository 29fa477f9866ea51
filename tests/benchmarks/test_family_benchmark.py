"""`benchmarks/family.py` on the tiny family."""

from __future__ import annotations

import json
from pathlib import Path

SCRIPT = str(Path(__file__).parents[2] / "benchmarks" / "family.py")


def test_the_last_line_is_one_json_object_with_the_figures_of_the_family(factory_process, built):
    answer = factory_process(built, "--family", "dist/tiny", prefix=(SCRIPT,))
    assert answer.code == 0, answer.err
    result = json.loads(answer.out.splitlines()[-1])
    assert result["verify_ok"] is True
    assert result["quick"] is False
    assert [tier["tier"] for tier in result["tiers"]] == ["midrange", "speaker"]
    assert result["distinct_models"] == 2
    assert result["macs_ratio"] > 1
    change = result["smallest_to_largest"]
    assert change["low"] <= result["largest_accuracy"] - result["smallest_accuracy"] <= change["high"]


def test_a_markdown_table_stands_before_it(factory_process, built):
    lines = factory_process(built, "--family", "dist/tiny", prefix=(SCRIPT,)).out.splitlines()
    assert lines[0].startswith("| tier | platform | MMACs | test accuracy |")
    assert {len(line.split("|")) for line in lines[:4]} == {10}


def test_help_and_wrong_options(factory_process, built):
    assert "--quick" in factory_process(built, "--help", prefix=(SCRIPT,)).out
    assert factory_process(built, "--family", "dist/tiny", "--quick", prefix=(SCRIPT,)).code == 2
    answer = factory_process(built, "--family", "dist/gone", prefix=(SCRIPT,))
    assert answer.code == 1
    assert "dist/gone" in answer.error
