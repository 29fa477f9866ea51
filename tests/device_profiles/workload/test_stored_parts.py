"""Traced parts in a file: read back equal, and never used if they may be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.profile import find_profile
from device_profiles.workload import stored
from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads
from factory_base.files import sha256_bytes
from supernet.chain import Link


@pytest.fixture
def traced(chain_space) -> Workloads:
    workloads = Workloads(chain_space)
    workloads.chain.trace_all()
    return workloads


@pytest.fixture
def path(traced, tmp_path: Path) -> Path:
    traced.save(tmp_path / "run" / "parts.json", "mine")
    return tmp_path / "run" / "parts.json"


def test_parts_are_read_back_equal_and_nothing_is_traced_again(traced, path, chain_space, monkeypatch) -> None:
    again = Workloads(chain_space)
    assert again.load(path, "mine")
    monkeypatch.setattr("device_profiles.workload.tracing.trace", lambda *_: pytest.fail("traced"))
    assert again.chain.parts == traced.chain.parts
    assert again.chain.tables() == traced.chain.tables()
    assert again.of_largest() == traced.of_largest()
    device, vectors = find_profile("midrange", Path()), encoded(chain_space.space, [chain_space.space.largest])
    found, expected = (DeviceCosts(w, device) for w in (again, traced))
    assert [arc.latency_us.tolist() for arc in found.arcs()] == [arc.latency_us.tolist() for arc in expected.arcs()]
    assert found.predict(vectors).file_bytes == expected.predict(vectors).file_bytes


def test_what_was_not_traced_is_traced_after_loading(chain_space, tmp_path: Path, traced) -> None:
    few, again = Workloads(chain_space), Workloads(chain_space)
    few.of(chain_space.space.smallest)
    assert few.save(tmp_path / "few.json", "mine")
    assert again.load(tmp_path / "few.json", "mine")
    again.chain.trace_all()
    assert {part.id for part in again.chain.parts} == {part.id for part in traced.chain.parts}
    assert len(again.chain.parts) == len(traced.chain.parts)


def test_parts_of_something_else_are_not_taken(path, chain_space, tiny_space, monkeypatch, tmp_path: Path) -> None:
    other = type(chain_space)()
    other.links = (*chain_space.links[:-1], Link(name="head", choices=("width",)))
    assert not Workloads(other).load(path, "mine")
    assert not Workloads(chain_space).load(path, "another")
    assert not Workloads(tiny_space).load(path, "mine")
    assert not Workloads(tiny_space).save(tmp_path / "none.json", "mine")
    assert not (tmp_path / "none.json").exists()
    monkeypatch.setattr(stored, "_tracing_code", lambda: "of another version")
    assert not Workloads(chain_space).load(path, "mine")


def test_parts_are_not_taken_where_others_have_numbers_already(path, chain_space) -> None:
    workloads = Workloads(chain_space)
    workloads.of(chain_space.space.largest)
    count = len(workloads.chain.parts)
    assert not workloads.load(path, "mine")
    assert len(workloads.chain.parts) == count


def sealed(content: object) -> str:
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    return json.dumps({"content": content, "digest": sha256_bytes(text.encode())})


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda text: text[: len(text) // 2],
        lambda _: "[]",
        lambda _: "{}",
        lambda text: text.replace('"arena_elements":', '"arena_elements":1', 1),
        lambda text: text.replace('"mine"', '"x"').replace('"digest":"', '"digest":"0'),
    ],
)
def test_a_file_that_was_damaged_or_edited_is_not_used(path, chain_space, damage) -> None:
    path.write_text(damage(path.read_text()))
    assert not Workloads(chain_space).load(path, "mine")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("tables", 0, 0), 10**6),
        (("tables", 0, 0), -3),
        (("tables", 0), []),
        (("tables",), []),
        (("parts", 0, "link"), 99),
        (("parts", 0, "taken"), [[0, 77]]),
        (("parts", 0, "workload", "operators"), [10**6]),
        (("parts", 0, "workload", "arena_elements"), -1),
        (("operators", 0, 0), "cube"),
        (("format",), 2),
        (("largest",), None),
    ],
)
def test_content_that_does_not_fit_together_is_not_used(path, chain_space, place, value) -> None:
    content = json.loads(path.read_text())["content"]
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(sealed(content))
    assert not Workloads(chain_space).load(path, "mine")


def test_a_missing_file_and_a_folder_hold_no_parts(chain_space, tmp_path: Path) -> None:
    assert not Workloads(chain_space).load(tmp_path / "none.json", "mine")
    assert not Workloads(chain_space).load(tmp_path, "mine")


def test_an_unedited_file_survives_sealing_again(path, chain_space) -> None:
    path.write_text(sealed(json.loads(path.read_text())["content"]))
    workloads = Workloads(chain_space)
    assert workloads.load(path, "mine")
    assert np.all(workloads.chain.rows(encoded(chain_space.space, [chain_space.space.largest])) >= 0)
