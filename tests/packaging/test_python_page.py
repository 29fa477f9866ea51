"""The program in `docs/python.md` runs unchanged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def program() -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.M | re.S)
    return block


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder in which the program ran, and the lines that it printed."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.py").write_text(program(), encoding="utf-8")
    command = [sys.executable, "-W", "error", "page.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.splitlines()


def test_the_program_prints_pick_file_and_tiers(ran) -> None:
    _, (pick, file, four, one) = ran
    found = re.fullmatch(r"pick [0-9a-f]{12}: (.*)% held-out, (\d+) us on speaker", pick)
    assert found is not None
    assert float(found[1]) > 85
    assert int(found[2]) <= 700
    found = re.fullmatch(r"models/[0-9a-f]{16}\.onnx: parity (\d+) dB, (\d+) of (\d+) test images correct", file)
    assert found is not None
    assert int(found[1]) > 60
    assert int(found[2]) / int(found[3]) > 0.85
    assert four.startswith("4 cores: tier speaker, rank 1: the device meets ")
    assert one == "1 cores: tier floor, the floor is for every device that gets no tier above it"


def test_the_program_writes_only_below_its_folder(ran) -> None:
    folder, _ = ran
    assert sorted(path.name for path in folder.iterdir()) == ["demo", "page.py"]
    manifest = json.loads((folder / "demo/family/manifest.json").read_text())
    assert [tier["id"] for tier in manifest["tiers"]] == ["floor", "speaker"]


def test_the_program_uses_only_public_names() -> None:
    modules = re.findall(r"^(?:from|import) (\S+)", program(), re.M)
    assert set(modules) == {"json", "pathlib", "time", "device_profiles", "exports", "search", "supernet"}
