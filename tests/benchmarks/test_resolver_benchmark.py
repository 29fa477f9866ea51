"""`benchmarks/resolver.py`: what its random devices reach, and that it notices a resolver that differs."""

from __future__ import annotations

import json
import sys

import pytest

from exports.client.python.records import MAX_STARTS

CODES = {
    "platform", "selector_unmet", "selector_unknown", "selector_key_unknown", "tier_unknown", "model_missing",
    "model_unknown", "revoked", "blacklisted", "engine_other", "engine_too_old", "engine_too_new", "disk", "memory",
    "proof_failed", "installed_preferred", "chosen", "floor", "nothing_runs",
}  # fmt: skip
PYTHON = [sys.executable, "-m", "exports.client.python.lines"]


@pytest.fixture
def resolver(load):
    return load("resolver")


def test_random_devices_reach_every_code_action_and_error_and_all_are_covered(resolver, tmp_path):
    outcome = resolver.ask_python(tmp_path / "lines", seed=1, devices=4000)
    assert set(outcome.codes) == CODES
    assert set(outcome.actions) == {"model", "cloud", "off", "none"}
    assert set(outcome.errors) == {"manifest", "policy"}
    assert outcome.must_be_covered > 500
    assert outcome.uncovered == 0


def test_the_same_seed_gives_the_same_devices(resolver, tmp_path):
    for name in ("a", "b"):
        resolver.ask_python(tmp_path / name, seed=2, devices=100)
    resolver.ask_python(tmp_path / "c", seed=3, devices=100)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_a_device_that_a_sound_family_leaves_out_is_counted(resolver):
    outcome = resolver.Outcome()
    for action in ("model", "cloud", "off", "none"):
        outcome.add({"action": action, "reasons": []}, must_be_covered=True)
    outcome.add({"action": "none", "reasons": []}, must_be_covered=False)
    outcome.add({"error": "manifest"}, must_be_covered=True)
    assert (outcome.must_be_covered, outcome.uncovered) == (5, 2)


def test_a_program_that_answers_alike_has_no_disagreement_and_another_one_has(resolver, tmp_path):
    lines = tmp_path / "lines"
    outcome = resolver.ask_python(lines, seed=1, devices=500)
    assert resolver.disagreements(PYTHON, lines, outcome.answers) == 0
    changed = "from exports.client.python import lines, records; records.MAX_STARTS = 1; lines.main()"
    assert MAX_STARTS != 1
    assert resolver.disagreements([sys.executable, "-c", changed], lines, outcome.answers) > 0


def test_the_manifest_of_12_models_is_small_and_all_of_them_are_judged(resolver):
    text = resolver.manifest_of_12_models()
    value = json.loads(text)
    assert len(value["models"]) == 12
    assert len(text.encode()) <= 64 << 10
    found = resolver.answer(value, {"policy": None, "facts": resolver.DEVICE, "state": {}, "now": 0})
    assert [code for *_, code in found["reasons"]] == ["selector_unmet"] * 12 + ["floor"]


@pytest.mark.engines
def test_all_clients_agree(quick):
    found = quick("resolver", "--rounds", 3)
    assert (found["disagreements"], found["uncovered"]) == (0, 0)
    assert found["python_ms"] > 0
