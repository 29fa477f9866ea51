"""The Kotlin client on a JVM: it compiles without warnings and reads JSON strictly."""

from __future__ import annotations

import json
import subprocess

import pytest
from kotlin_client import command, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

FLOOR = {"id": "floor", "platform": "any", "rank": 0, "match": [], "models": ["small"]}
SMALL = {
    "files": [{"name": "models/small.onnx", "bytes": 10, "sha256": "00"}],
    "engine": {"name": "onnxruntime", "min": "1.17.0", "max_tested": "1.22.0"},
    "needs": {"disk_bytes": 10, "peak_memory_bytes": 100},
}
MANIFEST = {"manifest_version": "1.5", "critical": [], "tiers": [FLOOR], "models": {"small": SMALL}}
CASE = {"policy": None, "facts": {"platform": "android"}, "state": {}, "now": 0}


def lines(*texts: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("Lines"), input="\n".join(texts), capture_output=True, text=True, timeout=60)


def test_it_compiles_without_warnings_and_resolves():
    answer = lines(json.dumps({"manifest": MANIFEST}), json.dumps(CASE))
    assert json.loads(answer.stdout) == {
        "action": "model",
        "tier": "floor",
        "rank": 0,
        "model": "small",
        "compute_unit": "cpu",
        "installed": False,
        "proven": False,
        "reasons": [["floor", "small", "floor"]],
    }
