"""`benchmarks/family.py` on the tiny family, and the config of its quick form."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
import yaml


@pytest.fixture
def script(load, built, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.chdir(built)
    return load("family")


def test_the_last_line_is_one_json_object_with_the_metrics_of_the_family(script, capsys):
    assert script.main(["--family", "dist/tiny"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["verify_ok"] is True
    assert result["quick"] is False
    assert [tier["tier"] for tier in result["tiers"]] == ["midrange", "speaker"]
    assert result["distinct_models"] == 2
    assert result["macs_ratio"] > 1
    change = result["smallest_to_largest"]
    assert change["low"] <= result["largest_accuracy"] - result["smallest_accuracy"] <= change["high"]


def test_a_markdown_table_precedes_it(script, capsys):
    script.main(["--family", "dist/tiny"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| tier | platform | MMACs | test accuracy |")
    assert {len(line.split("|")) for line in lines[:4]} == {10}


def test_a_missing_family_is_one_line_and_exit_code_1(script, capsys):
    assert script.main(["--family", "dist/gone"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "dist/gone" in line


def test_a_finished_family_cannot_be_combined_with_the_quick_form(script, capsys):
    with pytest.raises(SystemExit, match="2"):
        script.main(["--family", "dist/tiny", "--quick"])
    assert "--family reads a finished family" in capsys.readouterr().err


def test_the_quick_form_trains_in_the_space_of_the_digits_with_less_of_everything(script, tmp_path):
    digits = script.shipped_configs() / script.DIGITS_CONFIG
    full, quick = (yaml.safe_load(p.read_text("utf-8")) for p in (digits, script.quick_config(digits, tmp_path)))
    assert (quick["model"], quick["data"]) == (full["model"], full["data"])
    assert quick["training"]["epochs"] < full["training"]["epochs"]
    assert quick["search"]["shared_subnets"] < full["search"]["shared_subnets"]
    assert {target["device"] for target in quick["targets"]} == set(script.QUICK_TARGETS)
