"""An app on a device, as the conformance tests of the launch drive it: a client, a store and a server.

The contract is exports/client/README.md. Each test is a launch, or several, as an app makes them: in Python everywhere,
in the other languages where their tools are installed (`smoke` ones everywhere, the rest with the marker `engines`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from client_programs import Client, Outcome
from hostile_server import Server
from small_family import Family

FACTS = {
    "platform": "linux", "ram_bytes": 8 << 30, "cores": 8, "os_version": "14", "compute_units": ["cpu"],
    "free_disk_bytes": 1 << 40, "available_memory_bytes": 1 << 40,
}  # fmt: skip
NOW = 1_800_000_000
TIMEOUT = "5"
"""For servers that answer; those that do not are given a fraction of a second. Pauses between attempts follow it."""


def in_languages(*, smoke: bool = False) -> Any:
    """Run a test for every client."""
    marks = [pytest.mark.engines, *([pytest.mark.smoke] if smoke else [])]
    kotlin = pytest.param("kotlin", marks=pytest.mark.engines)
    return pytest.mark.parametrize("client", ["python", pytest.param("typescript", marks=marks), kotlin], indirect=True)


class App:
    """A device with a client, a store, and a server for the family that is published there."""

    def __init__(self, client: Client, folder: Path, server: Server) -> None:
        self.client, self.folder, self.server = client, folder, server
        self.store, self.published = folder / "store", server.folder
        self.image: str | None = None

    def publish(self, family: Family) -> Family:
        """Put a release on the server, and what it needs beside it."""
        family.write(self.published)
        (self.folder / "image.png").write_bytes(family.images["1.png"])
        return family

    def arguments(self, facts: dict[str, Any] | None = None, policy: Any = None, **options: Any) -> list[str]:
        """The arguments of a launch."""
        path = self.folder / "facts.json"
        path.write_text(json.dumps(FACTS | (facts or {})))
        given = {"store": self.store, "url": self.server.url, "facts": path, "now": NOW, "timeout": TIMEOUT} | options
        if policy is not None:
            given["policy"] = self.folder / "policy.json"
            given["policy"].write_text(policy if isinstance(policy, str) else json.dumps(policy))
        return [text for name, value in given.items() for text in (f"--{name}", str(value))]

    def launch(self, facts: dict[str, Any] | None = None, policy: Any = None, **options: Any) -> Outcome:
        """A launch that succeeds."""
        found = self.client.launch(*self.arguments(facts, policy, **options))
        assert found.code == 0, found.error
        return found

    def fails(self, facts: dict[str, Any] | None = None, policy: Any = None, **options: Any) -> str:
        """The message of a launch that cannot go on."""
        found = self.client.launch(*self.arguments(facts, policy, **options))
        assert (found.code, found.found) == (1, {})
        lines = [line for line in found.error.splitlines() if line.startswith("launch: ")]
        assert len(lines) == 1, found.error
        return lines[0]

    def state(self) -> dict[str, Any]:
        return json.loads((self.store / "state.json").read_text())

    def change_state(self, **changes: Any) -> None:
        (self.store / "state.json").write_text(json.dumps(self.state() | changes))

    def stored(self, slot: str, name: str) -> Path:
        return self.store / "slots" / slot / name

    def results(self) -> list[tuple[str, str]]:
        """The results of the proofs in the state: compute unit, result."""
        return [(proof["compute_unit"], proof["result"]) for proof in self.state()["proofs"]]


def expect_model(found: Outcome, model: str, proof: str, *, slot: str = "a", release: int = 1) -> None:
    summary = found.found
    told = {key: summary[key] for key in ("action", "model", "compute_unit", "proof", "slot", "release")}
    assert told == {
        "action": "model", "model": model, "compute_unit": "cpu", "proof": proof, "slot": slot, "release": release,
    }, summary  # fmt: skip


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)
