"""How tests of benchmarks import their scripts, which are not a package, and run them in this process."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"

Load = Callable[[str], ModuleType]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a script of `benchmarks` by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def quick(load: Load, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the quick form of a script with some options, and return the JSON object of its last line."""

    def run(script: str, *options: object) -> dict[str, Any]:
        assert load(script).main(["--quick", *map(str, options)]) == 0
        result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert result["quick"] is True
        return result

    return run
