"""`precisions` in a config and `--precision` of `factory search`: what is chosen, shown and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exports.family.manifest import read_manifest
from model_factory.run import allowed_precisions, open_run

SPEAKER = "{device: speaker, budgets: {latency: 0.24 ms, peak_memory: 1 MiB, file_size: 100 KiB}"


def stated(folder: Path, edit_config, precisions: str) -> None:
    edit_config(folder, SPEAKER, f"{SPEAKER}, precisions: {precisions}")


def test_a_target_gets_a_file_in_the_precision_that_it_states(factory, app, edit_config) -> None:
    stated(app, edit_config, "[int8]")
    answer = factory(app, "build", "--quiet")
    assert answer.code == 0, answer.err
    manifest = read_manifest(app / "dist" / "tiny")
    models = {tier.id: manifest.models[tier.models[0]] for tier in manifest.tiers}
    assert models["speaker"].precision == "int8"
    made = json.loads((app / "runs" / "tiny" / "stages" / "search.json").read_text(encoding="utf-8"))["result"]
    pick = made["targets"][0]["pick"]
    assert (pick["precision"], pick["is_of_file"]) == ("int8", True)
    assert pick["costs"]["file_bytes"] == sum(f.bytes for f in models["speaker"].files if f.role == "weights")
    assert "precision: int8 changes the accuracy by " in answer.out


def test_by_default_a_target_chooses_what_its_profile_allows_except_weights_alone(app) -> None:
    run = open_run(app / "factory.yaml", app)
    assert run.precisions_for(run.profile("midrange")) == ("int8", "fp16", "fp32")
    assert allowed_precisions(run.profile("flagship_npu"), None) == ("int8",)


def test_a_search_in_one_precision_shows_and_states_it(factory, app) -> None:
    command = ("search", "--device", "midrange", "--precision", "fp16", "--quiet")
    value = json.loads(factory(app, *command, "--json").out)
    assert {candidate["precision"] for candidate in (value["pick"], *value["front"])} == {"fp16"}
    assert [offset["precision"] for offset in value["precision_offsets"]] == ["fp16"]
    lines = factory(app, *command).out.splitlines()
    (pick,) = [line for line in lines if line.startswith("pick ")]
    assert pick.split()[2] == "fp16"
    assert any(line.startswith("precision: fp16 changes the accuracy by ") for line in lines)


@pytest.mark.parametrize(
    ("precisions", "words"),
    [
        ("[int8, int8]", "'targets.0.precisions': int8 is given twice; list each precision once"),
        ("[int4]", "'targets.0.precisions.0': must be 'fp32', 'fp16', 'int8' or 'int8_weights'"),
        ("[]", "'targets.0.precisions'"),
    ],
)
def test_wrong_precisions_in_a_config_end_in_one_line(factory, app, edit_config, precisions, words) -> None:
    stated(app, edit_config, precisions)
    assert words in factory(app, "build", "--quiet").error


def test_a_precision_without_costs_is_named_with_the_way_to_get_them(factory, app, edit_config) -> None:
    edit_config(app, f"{SPEAKER}}}", "{device: flagship_npu, precisions: [int8, fp16]}")
    error = factory(app, "build", "--quiet").error
    assert "'targets.0.precisions': shipped flagship_npu" in error
    assert "has no costs in fp32" in error
    assert "`factory profile" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--precision", "int4"), "--precision int4: is not known; did you mean 'int8'?"),
        (("--precision", "fp16", "--precision", "fp16"), "--precision fp16: is given twice"),
        (("--precision", "fp32"), "has no costs in fp32"),
    ],
)
def test_wrong_precisions_on_the_command_line_end_in_one_line(factory, app, arguments, words) -> None:
    assert words in factory(app, "search", "--device", "flagship_npu", *arguments, "--quiet").error
