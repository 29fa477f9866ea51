"""Writes `exports/client/vectors/resolver.json`: the answers of the resolver in Python to the scenarios.

    PYTHONPATH=. python tests/exports/client/resolver_vectors.py

Clients in other languages must give the same answers. A person has stated in each scenario which model the device gets
and the code of every reason; a test compares the resolver with that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import scenarios_of_devices
import scenarios_of_families
import scenarios_of_selectors
from scenario import MANIFESTS, Scenario, patched

from exports.client.python.lines import answer

FILE = Path(__file__).parents[3] / "exports" / "client" / "vectors" / "resolver.json"
SCENARIOS: tuple[Scenario, ...] = (
    *scenarios_of_selectors.scenarios(), *scenarios_of_devices.scenarios(), *scenarios_of_families.scenarios(),
)  # fmt: skip


def case(scenario: Scenario) -> dict[str, Any]:
    """The vector of a scenario. `patch` changes the manifest: each entry is `[path, value]`, or `[path]` to delete."""
    given = {"policy": scenario.policy, "facts": scenario.facts, "state": scenario.state, "now": scenario.now}
    changes = {"patch": [list(change) for change in scenario.patch]} if scenario.patch else {}
    expected = answer(patched(MANIFESTS[scenario.manifest], scenario.patch), given)
    return {"name": scenario.name, "manifest": scenario.manifest, **changes, **given, "expect": expected}


def document() -> str:
    """The file, with one manifest or case per line."""
    manifests = ",\n".join(f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in MANIFESTS.items())
    cases = ",\n".join(f"    {json.dumps(case(scenario))}" for scenario in SCENARIOS)
    return f'{{\n  "format": 1,\n  "manifests": {{\n{manifests}\n  }},\n  "cases": [\n{cases}\n  ]\n}}\n'


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(document(), encoding="utf-8")
