"""Engines and stores that misbehave in the hands of the client in Python."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_family import make_family, with_nan

from exports.client.python.engine import EngineCrashedError, EngineRefusedError, OnnxRuntimeEngine
from exports.client.python.facts import device_facts
from exports.client.python.launch import Launched, LaunchError, launch
from exports.client.python.store import FolderStore, StoreError

FACTS = {"platform": "linux", "ram_bytes": 8 << 30, "cores": 8, "os_version": "14"}


class Session:
    def __init__(self, run: Callable[[Any], Any]) -> None:
        self.run = run


@dataclass
class FakeEngine:
    """ONNX Runtime, but for models of one name: `load` or `run` does what it is told; it notes what it is given."""

    model: str = "large"
    load_does: Callable[[], Any] | None = None
    run_does: Callable[[Any], Any] | None = None
    name: str = "onnxruntime"
    version: str = "1.99.0"
    loaded: list[str] = field(default_factory=list)

    def load(self, files: Sequence[Path], compute_unit: str) -> Any:
        self.loaded.append(f"{files[0].stem.split('-')[0]} on {compute_unit}")
        session = OnnxRuntimeEngine().load(files, "cpu")
        if self.model in files[0].name:
            if self.load_does:
                self.load_does()
            if self.run_does:
                return Session(self.run_does)
        return session


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Launched]:
    """A launch of the family in `tmp_path`/dist with an engine."""

    def run(engine: Any, store: Any = None, policy: Any = None, **changes: Any) -> Launched:
        if not (tmp_path / "dist").exists():
            make_family().write(tmp_path / "dist")
        store = store or FolderStore(tmp_path / "store")
        facts = device_facts(tmp_path, engine, FACTS | changes)
        return launch(str(tmp_path / "dist"), store, engine, facts, policy, now=0)

    return run


def raiser(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def results(folder: Path) -> list[tuple[str, str]]:
    state = json.loads((folder / "store" / "state.json").read_text())
    return [(proof["compute_unit"], proof["result"]) for proof in state["proofs"]]


FAILURES = {
    "out_of_memory": raiser(MemoryError()),
    "refused": raiser(EngineRefusedError("no")),
    "crashed": raiser(EngineCrashedError("gone")),
}


@pytest.mark.parametrize("place", ["load_does", "run_does"])
@pytest.mark.parametrize("result", FAILURES)
def test_each_failure_is_remembered_and_leads_to_the_next_unit_and_tier(start, tmp_path, place, result):
    engine = FakeEngine(**{place: FAILURES[result]})
    found = start(engine, compute_units=["npu", "cpu"])
    assert found.resolution.model == "small"
    assert engine.loaded == ["large on npu", "large on cpu", "small on npu"]
    assert results(tmp_path) == [("npu", result), ("cpu", result), ("npu", "passed")]
    again = FakeEngine(**{place: FAILURES[result]})
    assert start(again, compute_units=["npu", "cpu"]).resolution.model == "small"
    assert again.loaded == ["small on npu"]


WRONG = {
    "another number": np.full(4, 9, np.float32),
    "not a number": np.full(4, np.nan, np.float32),
    "infinite": np.full(4, np.inf, np.float32),
    "too few": np.zeros(3, np.float32),
    "another shape": np.zeros((1, 4), np.float32),
}


@pytest.mark.parametrize("outputs", WRONG)
def test_wrong_outputs_do_not_pass(start, tmp_path, outputs):
    assert start(FakeEngine(run_does=lambda _: WRONG[outputs])).resolution.model == "small"
    assert results(tmp_path) == [("cpu", "wrong"), ("cpu", "passed")]


@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_logit_may_differ_by_the_tolerance(start, tmp_path, share):
    right = OnnxRuntimeEngine()

    def nearly(batch):
        session = right.load([next((tmp_path / "store/slots/a/models").glob("large-*"))], "cpu")
        return session.run(batch) + np.float32(share * 0.02)

    assert start(FakeEngine(run_does=nearly)).resolution.model == ("large" if share < 1 else "small")


def test_the_start_is_on_disk_before_the_engine_sees_the_model(start, tmp_path):
    seen = []
    start(FakeEngine(load_does=lambda: seen.extend(results(tmp_path))))
    assert seen == [("cpu", "started")]


CRASHING = """
import os, sys
sys.path.insert(0, {tests!r})
from test_client_engine import FACTS, FakeEngine
from pathlib import Path
from exports.client.python.facts import device_facts
from exports.client.python.launch import launch
from exports.client.python.store import FolderStore
engine = FakeEngine(load_does=lambda: os._exit(9))
launch({dist!r}, FolderStore(Path({store!r})), engine, device_facts(Path({store!r}), engine, FACTS), now=0)
"""


def test_a_model_that_ends_the_process_is_tried_twice(start, tmp_path):
    make_family().write(tmp_path / "dist")
    places = {"tests": str(Path(__file__).parent), "dist": str(tmp_path / "dist"), "store": str(tmp_path / "store")}
    FolderStore(tmp_path / "store")
    for starts in (1, 2):
        done = subprocess.run([sys.executable, "-c", CRASHING.format(**places)], check=False, timeout=60)
        assert done.returncode == 9
        assert json.loads((tmp_path / "store/state.json").read_text())["proofs"][0]["starts"] == starts
    engine = FakeEngine(load_does=raiser(AssertionError("it was loaded a third time")))
    assert start(engine).resolution.model == "small"


def test_a_remembered_model_that_no_longer_loads_is_passed_over(start, tmp_path):
    assert start(FakeEngine()).resolution.model == "large"
    found = start(FakeEngine(load_does=raiser(MemoryError())))
    assert (found.resolution.model, [event.code for event in found.events]) == ("small", ["proof_failed", "switched"])
    assert results(tmp_path) == [("cpu", "out_of_memory"), ("cpu", "passed")]


def test_if_no_model_runs_the_error_says_why(start):
    with pytest.raises(LaunchError, match=r"large|small.*: there is too little memory"):
        start(FakeEngine(model="", load_does=raiser(MemoryError())))


def test_a_store_that_cannot_be_written_before_the_proof_does_not_risk_a_crash_loop(start, tmp_path):
    store = FolderStore(tmp_path / "store")
    store.write_state = raiser(StoreError("the store cannot be written: full"))
    engine = FakeEngine()
    with pytest.raises(LaunchError, match="full"):
        start(engine, store)
    assert engine.loaded == []


def test_a_store_that_cannot_be_written_at_the_end_does_not_stop_a_proven_model(start, tmp_path):
    start(FakeEngine())
    store = FolderStore(tmp_path / "store")
    store.write_state = raiser(StoreError("the store cannot be written: full"))
    found = start(FakeEngine(), store, policy={"policy_version": "1.0", "critical": [], "revoked": []})
    assert (found.running.proof, [event.code for event in found.events]) == ("remembered", ["quota"])


def test_a_store_that_cannot_be_changed_runs_the_active_model(start, tmp_path):
    start(FakeEngine(model=""))
    small = {"available_memory_bytes": 1, "free_disk_bytes": 1 << 40}
    assert start(FakeEngine(), **small).slot == "b"
    store = FolderStore(tmp_path / "store")
    store.remove = raiser(StoreError("the store cannot be written: read-only"))
    found = start(FakeEngine(), store)
    assert (found.resolution.model, found.slot, found.running.proof) == ("small", "b", "remembered")
    assert [event.code for event in found.events] == ["quota", "quota"]


def test_another_launch_is_waited_for_and_then_an_error(start, tmp_path, monkeypatch):
    monkeypatch.setattr("exports.client.python.launch.LOCK_SECONDS", 0.2)
    monkeypatch.setattr("exports.client.python.launch.launch.__kwdefaults__", {"timeout": 0.1})
    with FolderStore(tmp_path / "store").lock(1), pytest.raises(LaunchError, match="another launch"):
        start(FakeEngine())


def test_onnx_runtime_reports_a_unit_that_it_lacks(tmp_path):
    family = make_family()
    path = tmp_path / "model.onnx"
    path.write_bytes(family.files[family.model_file("small")])
    engine = OnnxRuntimeEngine()
    for unit in ("imaginary", "coreml"):
        with pytest.raises(EngineRefusedError, match=unit):
            engine.load([path], unit)
    path.write_bytes(with_nan(path.read_bytes()))
    assert np.isnan(engine.load([path], "cpu").run(np.zeros((1, 8, 8, 3), np.uint8))).all()
