"""The files of the last finalists are made, and decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from exports.family.manifest import read_manifest


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
