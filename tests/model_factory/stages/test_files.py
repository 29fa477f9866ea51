"""The files of the last finalists are made, and decide."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from exports.family.manifest import read_manifest
from exports.family.parity import PARITY_LIMITS


def test_the_recorded_file_of_each_pick_has_the_size_of_the_exported_file(built: Path) -> None:
    stages = built / "runs" / "tiny" / "stages"
    records = [_record(path) for path in stages.glob("file-*.json")]
    known = {
        (record["inputs"]["precision"], frozenset(map(tuple, record["inputs"]["subnet"]))): record["result"]
        for record in records
    }
    for model in read_manifest(built / "dist" / "tiny").models.values():
        facts = known[model.precision, frozenset(model.subnet.values.items())]
        assert facts["scored"]["variant"] == f"{model.precision} file"
        assert facts["file_bytes"] == sum(file.bytes for file in model.files if file.role == "weights")
        assert 0 < facts["arena_bytes"] < model.needs.peak_memory_bytes


def _record(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_int8_files_that_do_not_pass_their_proof_are_passed_over_and_named(
    app: Path, factory, edit_config, monkeypatch
) -> None:
    limits = replace(PARITY_LIMITS["int8"], min_sqnr_db=1000.0)
    monkeypatch.setitem(PARITY_LIMITS, "int8", limits)  # type: ignore[arg-type]
    edit_config(app, "targets:\n", "export: {drop_limit: 0.4}\ntargets:\n")
    answer = factory(app, "build")
    assert answer.code == 0, answer.err
    assert "SQNR" in answer.out
    assert "another one was taken" in answer.out
    assert {model.precision for model in read_manifest(app / "dist" / "tiny").models.values()} <= {"fp16", "fp32"}
