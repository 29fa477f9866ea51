"""The shared vectors of the preprocessing: every client returns these bytes."""

import json
import subprocess
from collections import Counter

import kotlin_client
import preprocess_vectors
import pytest
from typescript_client import LINES, NODE, needs_node

CASES = json.loads(preprocess_vectors.FILE.read_text(encoding="utf-8"))["cases"]
OPERATIONS = {"resize", "crop", "letterbox", "gray", "luma", "alpha", "yuv", "upright", "orientation", "prepare"}


def disagreements(command):
    """The names of the cases to which a program gives another result than the file states."""
    lines = "\n".join(json.dumps({**case, "result": None}) for case in CASES)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return [case["name"] for case, result in zip(CASES, results, strict=True) if result != case["result"]]


def test_the_file_has_cases_of_every_operation_under_names_of_their_own():
    assert len(CASES) >= 100
    assert {case["op"] for case in CASES} == OPERATIONS
    assert max(Counter(case["name"] for case in CASES).values()) == 1


def test_the_client_in_python_returns_what_the_file_states():
    assert preprocess_vectors.document() == preprocess_vectors.FILE.read_text(encoding="utf-8")


@needs_node
def test_the_client_in_typescript_returns_what_the_file_states():
    assert disagreements([str(NODE), str(LINES.with_name("pixels.mjs"))]) == []


@pytest.mark.engines
@pytest.mark.skipif(kotlin_client.missing() is not None, reason=str(kotlin_client.missing()))
def test_the_client_in_kotlin_returns_what_the_file_states():
    assert disagreements(kotlin_client.command("Pixels")) == []
