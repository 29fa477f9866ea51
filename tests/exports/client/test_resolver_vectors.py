"""The vectors of the resolver: what people expect of every scenario, and that the clients give the same answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from kotlin_client import command, missing
from resolver_vectors import FILE, SCENARIOS, case, document
from scenario import Scenario, patched

from exports.client.python.lines import answers
from exports.client.python.selector_rules import KEYS, RAM_CLASSES_MIB

ROOT = Path(__file__).parents[3]
VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
CODES = {
    "platform", "selector_unmet", "selector_unknown", "selector_key_unknown", "tier_unknown", "model_missing",
    "model_unknown", "revoked", "blacklisted", "engine_other", "engine_too_old", "engine_too_new", "disk", "memory",
    "proof_failed", "installed_preferred", "chosen", "floor", "nothing_runs",
}  # fmt: skip
CASES_PER_CODE = 5
"""A code that fewer cases lead to could be right by chance."""


def stated(scenario: Scenario) -> dict[str, Any]:
    """What the scenario says of its answer."""
    kind, _, error = scenario.gets.partition(" ")
    if kind == "error" and error:
        return {"error": error}
    has_model = scenario.gets not in ("cloud", "off", "none")
    return {
        "action": "model" if has_model else scenario.gets,
        "model": scenario.gets if has_model else None,
        "compute_unit": scenario.unit if has_model else None,
        "installed": scenario.installed,
        "proven": scenario.proven,
        "codes": list(scenario.codes),
    }


def compared(found: dict[str, Any]) -> dict[str, Any]:
    """The part of an answer that scenarios state."""
    if "error" in found:
        return found
    codes = [code for *_, code in found["reasons"]]
    kept = ("action", "model", "compute_unit", "installed", "proven")
    return {key: found[key] for key in kept} | {"codes": codes[:-1]}


def test_every_device_gets_what_a_person_expects():
    pairs = [(scenario.name, compared(case(scenario)["expect"]), stated(scenario)) for scenario in SCENARIOS]
    assert [(name, found, expected) for name, found, expected in pairs if found != expected] == []


def test_the_last_reason_is_that_of_the_result():
    results = {"model": {"chosen", "floor"}, "cloud": {"floor"}, "off": {"floor"}, "none": {"nothing_runs"}}
    resolved = [found["expect"] for found in VECTORS["cases"] if "error" not in found["expect"]]
    assert all(found["reasons"][-1][2] in results[found["action"]] for found in resolved)
    assert all((found["rank"] == 0) == (found["reasons"][-1][2] != "chosen") for found in resolved)


def test_the_file_is_what_the_script_writes():
    assert FILE.read_text(encoding="utf-8") == document(), f"run {Path(document.__code__.co_filename).name}"


def test_there_are_at_least_400_cases_and_no_two_are_the_same():
    cases = VECTORS["cases"]
    assert len(cases) >= 400
    assert len({found["name"] for found in cases}) == len(cases)
    asked = [[resolved_manifest(found), *question(found).values()] for found in cases]
    assert len({json.dumps(value) for value in asked}) == len(cases)


def test_the_cases_lead_to_every_code_action_and_error_several_times():
    expected = [found["expect"] for found in VECTORS["cases"]]
    codes = Counter(code for found in expected for code in {code for *_, code in found.get("reasons", [])})
    assert set(codes) == CODES
    results = Counter(found.get("action", found.get("error")) for found in expected)
    assert set(results) == {"model", "cloud", "off", "none", "manifest", "policy"}
    counts = [*codes.values(), *(count for result, count in results.items() if result != "off")]
    assert min(counts) >= CASES_PER_CODE


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_a_selector_holds_in_a_case_and_is_not_understood_in_another(key):
    found = [
        (found["expect"]["reasons"][0][2], selector)
        for found in VECTORS["cases"]
        for path, *values in found.get("patch", [])
        if path == ["tiers", 1, "match"] and isinstance(values[0], list)
        for selector in values[0]
        if isinstance(selector, dict) and selector.get(key) is not None
    ]
    assert {"chosen", "selector_key_unknown"} <= {code for code, _ in found}


def resolved_manifest(found: dict[str, Any]) -> Any:
    """The manifest of a case."""
    return patched(VECTORS["manifests"][found["manifest"]], found.get("patch", []))


def question(found: dict[str, Any]) -> dict[str, Any]:
    """What a case asks of the manifest."""
    return {key: found[key] for key in ("policy", "facts", "state", "now")}


def lines() -> bytes:
    """The cases as programs of the clients take them."""
    asked = []
    for found in VECTORS["cases"]:
        asked += [{"manifest": resolved_manifest(found)}, question(found)]
    return "\n".join(map(json.dumps, asked)).encode()


def disagreements(program: list[str]) -> list[str]:
    """The names of the cases to which a program gives another answer."""
    done = subprocess.run(program, input=lines(), capture_output=True, check=True, timeout=120, cwd=ROOT)
    pairs = zip(VECTORS["cases"], map(json.loads, done.stdout.splitlines()), strict=True)
    return [found["name"] for found, given in pairs if found["expect"] != given]


def test_a_line_that_is_not_strict_json_or_no_object_is_an_error_of_its_own():
    bad = [b"", b"{", b"[1]", b'{"a": 1, "a": 1}', b'{"now": 1e999}', b'{"x": "\xff"}']
    assert list(answers([b'{"manifest": null}', *bad, b'{"now": 0}'])) == [{"error": "json"}] * 6 + [
        {"error": "manifest"}
    ]


def test_the_page_on_the_clients_names_every_key_code_and_class_of_ram():
    text = (FILE.parents[1] / "README.md").read_text(encoding="utf-8")
    assert [name for name in (*KEYS, *CODES) if f"`{name}`" not in text] == []
    sizes = ", ".join(map(str, RAM_CLASSES_MIB))
    assert sizes in " ".join(text.split())


def test_the_program_in_python_agrees():
    assert disagreements([sys.executable, "-m", "exports.client.python.lines"]) == []


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_client_in_kotlin_agrees():
    assert disagreements(command("Lines")) == []
