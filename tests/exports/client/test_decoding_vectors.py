"""The shared vectors of outputs and tokens: every client gives these answers."""

import json
import math
import subprocess
from collections import Counter

import decoding_vectors
import kotlin_client
import pytest
from typescript_client import LINES, NODE, needs_node

CASES = json.loads(decoding_vectors.FILE.read_text(encoding="utf-8"))["cases"]
BY_NAME = {case["name"]: case for case in CASES}


def is_same(found, stated):
    """Whether two results are the same, but for one in the last digit of a probability."""
    if not isinstance(found, dict) or not isinstance(stated, dict):
        return found == stated
    pairs = zip(found["probabilities_nano"], stated["probabilities_nano"], strict=True)
    return all(abs(a - b) <= 1 for a, b in pairs) and all(found[key] == stated[key] for key in ("labels", "values"))


def disagreements(command):
    """The names of the cases to which a program gives another result than the file states."""
    lines = "\n".join(json.dumps({**case, "result": None}) for case in CASES)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return [case["name"] for case, result in zip(CASES, results, strict=True) if not is_same(result, case["result"])]


def test_the_file_has_many_cases_under_names_of_their_own_of_which_some_are_refused():
    assert len(CASES) >= 50
    assert {case["op"] for case in CASES} == {"decode", "tokens"}
    assert max(Counter(case["name"] for case in CASES).values()) == 1
    assert 15 <= sum(case["result"] is None for case in CASES) <= len(CASES) - 20


def test_the_client_in_python_returns_what_the_file_states():
    assert decoding_vectors.document() == decoding_vectors.FILE.read_text(encoding="utf-8")


def test_the_probabilities_are_those_of_the_definition():
    found = BY_NAME["decode: the largest"]["result"]
    total = math.exp(0.5) + math.exp(2.25) + math.exp(-1)
    assert found["labels"] == ["dog"]
    assert found["probabilities_nano"] == [round(1e9 * math.exp(x) / total) for x in (0.5, 2.25, -1)]
    apart = BY_NAME["decode: thresholds of their own"]["result"]
    assert apart["labels"] == ["dog", "owl"]  # 0.881 is below 0.9, 0.269 above 0.25, 2.3e-6 above 1e-6
    assert apart["probabilities_nano"] == [round(1e9 / (1 + math.exp(-x))) for x in (2, -1, -13)]


def test_values_are_in_the_unit_of_the_data():
    found = BY_NAME["decode: of three units"]["result"]["values"]
    assert found[0] == pytest.approx(50 + 12.345678901 * 0.1)
    assert found[1] == pytest.approx(-1250 + 3000 * -2.75)
    assert found[2] == pytest.approx(123456.789)
    assert BY_NAME["decode: zero outputs"]["result"]["values"] == [50, -1250, 0]


@needs_node
def test_the_client_in_typescript_returns_what_the_file_states():
    assert disagreements([str(NODE), str(LINES.with_name("answers.mjs"))]) == []


@pytest.mark.engines
@pytest.mark.skipif(kotlin_client.missing() is not None, reason=str(kotlin_client.missing()))
def test_the_client_in_kotlin_returns_what_the_file_states():
    assert disagreements(kotlin_client.command("Answers")) == []
