"""The contract of exports/client/README.md, for the command line of every client, with a server that may be hostile.

Each test is a launch, or several, as an app makes them: in Python everywhere, in the other languages where their tools
are installed (`smoke` ones everywhere, the rest with the marker `engines`).
"""

from __future__ import annotations

import json
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from client_programs import CLIENTS, Client, Outcome, outcome
from hostile_server import ENDLESS, Server, serving
from small_family import BLOCK, LABELS, Family, hanging_model, make_family, with_nan

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


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Client:
    found, fault = CLIENTS[request.param]()
    if found is None:
        pytest.skip(fault)
    return found


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


@pytest.fixture
def app(client: Client, tmp_path: Path) -> Iterator[App]:
    (tmp_path / "dist").mkdir()
    with serving(tmp_path / "dist") as server:
        yield App(client, tmp_path, server)


def expect_model(found: Outcome, model: str, proof: str, *, slot: str = "a", release: int = 1) -> None:
    summary = found.found
    told = {key: summary[key] for key in ("action", "model", "compute_unit", "proof", "slot", "release")}
    assert told == {
        "action": "model", "model": model, "compute_unit": "cpu", "proof": proof, "slot": slot, "release": release,
    }, summary  # fmt: skip


# What works.


@in_languages(smoke=True)
@pytest.mark.parametrize("samples", ["images", "tensors", None])
def test_the_first_launch_downloads_proves_and_classifies(app: App, samples: str | None) -> None:
    family = app.publish(make_family(samples=samples))
    found = app.launch(image=app.folder / "image.png")
    expect_model(found, "large", "passed")
    summary = found.found
    assert (summary["tier"], summary["rank"], summary["reasons"]) == ("high", 2, [["high", "large", "chosen"]])
    assert summary["events"] == ["switched"]
    assert summary["downloaded_bytes"] == family.bytes_for("large")
    assert app.server.bytes_of("/models") + app.server.bytes_of("/samples") == family.bytes_for("large")
    logits = summary["logits_micro"]
    assert summary["label"] == LABELS[logits.index(max(logits))]
    if samples == "images":
        expected = json.loads(family.files[family.manifest["samples"]["expected"]["name"]])["large"]
        assert max(abs(a - b) for a, b in zip(logits, expected["logits_micro"][1], strict=True)) <= 20_000
    assert app.results() == [("cpu", "passed")]


@in_languages(smoke=True)
def test_the_second_launch_works_offline_and_remembers_the_proof(client: Client, tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    with serving(tmp_path / "dist") as server:
        app = App(client, tmp_path, server)
        app.publish(make_family())
        app.launch()
    before = app.state()
    found = app.launch(image=tmp_path / "image.png")
    expect_model(found, "large", "remembered")
    assert (found.events, found.found["downloaded_bytes"], found.found["label"] in LABELS) == (["offline"], 0, True)
    assert app.state() == before


@in_languages()
def test_offline_a_stored_model_runs_even_in_little_memory(client: Client, tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    with serving(tmp_path / "dist") as server:
        app = App(client, tmp_path, server)
        app.publish(make_family())
        app.launch()
    found = app.launch({"available_memory_bytes": 1000, "free_disk_bytes": 1000})
    expect_model(found, "large", "remembered")
    assert found.events == ["offline"]


@in_languages()
def test_online_little_memory_leads_to_a_lower_tier(app: App) -> None:
    family = make_family()
    family.manifest["models"]["large"]["needs"]["peak_memory_bytes"] = 1 << 30
    app.publish(family)
    app.launch()
    found = app.launch({"available_memory_bytes": 1 << 29})
    expect_model(found, "small", "passed", slot="b")
    assert ["high", "large", "memory"] in found.found["reasons"]


@in_languages()
def test_a_second_launch_online_asks_for_the_manifest_alone(app: App) -> None:
    app.publish(make_family())
    app.launch()
    app.server.forget()
    expect_model(app.launch(), "large", "remembered")
    assert list(app.server.ranges) == ["/manifest.json"]


@in_languages()
def test_a_proof_is_repeated_after_an_update_of_the_engine_or_the_system(app: App) -> None:
    app.publish(make_family())
    expect_model(app.launch(), "large", "passed")
    expect_model(app.launch({"engine_version": "99.0"}), "large", "passed")
    expect_model(app.launch({"engine_version": "99.0", "os_version": "15"}), "large", "passed")
    expect_model(app.launch({"engine_version": "99.0", "os_version": "15"}), "large", "remembered")
    assert app.launch().found["proof"] == "remembered"
    assert app.results() == [("cpu", "passed")] * 3


@in_languages()
def test_a_local_folder_is_a_source_too(app: App) -> None:
    app.publish(make_family())
    found = app.launch(url=app.published)
    expect_model(found, "large", "passed")
    assert app.server.ranges == {}


@in_languages()
def test_labels_come_from_a_file_of_their_own(app: App) -> None:
    family = make_family()
    family.add_labels_file([f"the {label}" for label in LABELS])
    app.publish(family)
    assert app.launch(image=app.folder / "image.png").found["label"].startswith("the ")


# Releases and slots.


@in_languages(smoke=True)
def test_a_new_release_takes_the_other_slot_and_downloads_only_what_changed(app: App) -> None:
    old = app.publish(make_family(shared=True))
    app.launch()
    new = app.publish(make_family(shared=True, release=2, seed=5))
    weights = new.model_file("large", 1)
    assert weights == old.model_file("large", 1)
    app.server.forget()
    found = app.launch()
    expect_model(found, "large", "passed", slot="b", release=2)
    assert found.events == ["switched"]
    assert new.model_file("large") in app.server.files()
    assert weights not in app.server.files()
    assert found.found["downloaded_bytes"] < new.bytes_for("large") - (BLOCK * 4)
    assert app.stored("a", old.model_file("large")).read_bytes() == old.files[old.model_file("large")]
    assert app.stored("b", weights).read_bytes() == new.files[weights]


@in_languages()
def test_a_release_with_the_same_files_is_installed_without_a_download(app: App) -> None:
    app.publish(make_family())
    app.launch()
    app.publish(make_family(release=2))
    app.server.forget()
    expect_model(app.launch(), "large", "remembered", slot="b", release=2)
    assert (app.server.files(), app.state()["release"]) == (set(), 2)


@in_languages()
def test_the_first_launch_asks_for_the_manifest_three_times_and_later_ones_once(app: App) -> None:
    app.publish(make_family())
    app.server.faults["manifest.json"] = ["broken", "broken"]
    expect_model(app.launch(timeout="1"), "large", "passed")
    app.server.faults["manifest.json"] = ["broken"]
    assert app.launch().events == ["manifest_refused"]


@in_languages()
def test_samples_of_an_unknown_kind_leave_the_last_release(app: App) -> None:
    app.publish(make_family())
    app.launch()
    family = make_family(release=2)
    family.manifest["samples"]["kind"] = "sounds"
    app.publish(family)
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == ["manifest_refused"]


@in_languages()
def test_a_third_release_replaces_the_first_one(app: App) -> None:
    families = [make_family(release=number, seed=number) for number in (1, 2, 3)]
    for family in families:
        app.publish(family)
        app.launch()
    assert (app.state()["slot"], app.state()["release"]) == ("a", 3)
    for family, slot, there in zip(families, "aba", [False, True, True], strict=True):
        assert app.stored(slot, family.model_file("large")).exists() == there


@in_languages()
def test_a_slot_that_is_being_filled_has_no_manifest(app: App) -> None:
    for number in (1, 2):
        app.publish(make_family(release=number, seed=number))
        app.launch()
    new = app.publish(make_family(release=3, seed=3))
    app.server.faults[new.model_file("large")] = "missing"
    found = app.launch()
    expect_model(found, "large", "remembered", slot="b", release=2)
    assert not app.stored("a", "manifest.json").exists()
    assert app.stored("b", "manifest.json").exists()


@in_languages()
def test_an_older_release_is_not_installed(app: App) -> None:
    app.publish(make_family(release=2, seed=2))
    app.launch()
    app.publish(make_family(release=1, seed=1))
    found = app.launch()
    expect_model(found, "large", "remembered", release=2)
    assert found.events == ["older_release"]


@in_languages()
def test_another_family_is_not_installed_over_this_one(app: App) -> None:
    app.publish(make_family())
    app.launch()
    other = make_family(release=9, seed=3)
    other.manifest["family_id"] = "plants"
    app.publish(other)
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == ["manifest_refused"]


# Hostile and broken manifests.

MANIFESTS: dict[str, Callable[[Family], bytes]] = {
    "newer major": lambda family: json.dumps(family.manifest | {"manifest_version": "2.0"}).encode(),
    "unknown critical feature": lambda family: json.dumps(family.manifest | {"critical": ["telepathy"]}).encode(),
    "ten megabytes": lambda family: json.dumps(family.manifest | {"notes": "x" * 10_000_000}).encode(),
    "a repeated key": lambda family: json.dumps(family.manifest).encode()[:-1] + b', "release": 3}',
    "no release": lambda family: json.dumps({k: v for k, v in family.manifest.items() if k != "release"}).encode(),
    "half of it": lambda family: json.dumps(family.manifest).encode()[:500],
}
NAMES = [
    "../../../escaped.onnx",
    "/tmp/escaped.onnx",
    "models/../../../../escaped.onnx",
    "a\\..\\escaped.onnx",
    "x.part",
    "manifest.json",
]


@in_languages()
@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_manifest_that_cannot_be_used_leaves_the_last_good_one(app: App, kind: str) -> None:
    app.publish(make_family())
    app.launch()
    (app.published / "manifest.json").write_bytes(MANIFESTS[kind](make_family(release=2, seed=2)))
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == ["manifest_refused"]
    shutil.rmtree(app.store)
    app.fails()


@in_languages()
@pytest.mark.parametrize("fault", ["html", "other_length", "half", "missing", "broken", "endless", "redirect_for_ever"])
def test_a_server_that_sends_something_else_leaves_the_last_good_manifest(app: App, fault: str) -> None:
    app.publish(make_family())
    app.launch()
    app.publish(make_family(release=2, seed=2))
    app.server.faults["manifest.json"] = fault
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events in (["manifest_refused"], ["offline"])  # platforms report a body cut short in either way
    assert app.server.bytes_of("manifest.json") < ENDLESS // 2


@in_languages()
@pytest.mark.parametrize("fault", ["silent", "stalls", "drips", "drips_header"])
def test_a_server_that_never_answers_leaves_the_last_good_manifest(app: App, fault: str) -> None:
    app.publish(make_family())
    app.launch()
    app.server.faults["manifest.json"] = fault
    start = time.monotonic()
    found = app.launch(timeout="0.3")
    expect_model(found, "large", "remembered")
    assert found.events == ["offline"]
    assert time.monotonic() - start < 10


@in_languages()
@pytest.mark.parametrize("name", NAMES)
def test_a_model_name_that_leaves_the_folder_is_refused(app: App, name: str) -> None:
    family = make_family()
    family.manifest["models"]["large"]["files"][0]["name"] = name
    app.publish(family)
    app.fails()
    written = {path.name for path in app.folder.rglob("*") if path.is_file()} - {"facts.json", "image.png"}
    assert not [found for found in written if "escaped" in found or found.endswith(".part.part")]
    assert not app.server.files()


@in_languages()
def test_one_name_for_two_contents_is_refused(app: App) -> None:
    family = make_family(shared=True)
    first, second = family.manifest["models"]["large"]["files"]
    second["name"] = first["name"]
    app.publish(family)
    app.fails()
    assert not app.server.files()


# Hostile and broken files.


@in_languages(smoke=True)
def test_a_tampered_model_is_never_used(app: App) -> None:
    family = app.publish(make_family(blocks=False))
    name = family.model_file("large")
    data = bytearray(family.files[name])
    data[1000] ^= 1
    (app.published / name).write_bytes(data)
    app.fails(timeout="1")
    assert not app.stored("a", name).exists()


FATAL = ["endless", "html", "other_length", "longer", "half", "missing", "broken", "damaged", "redirect_for_ever"]


@in_languages()
@pytest.mark.parametrize("fault", FATAL)
def test_an_update_that_does_not_arrive_leaves_the_last_release(app: App, fault: str) -> None:
    app.publish(make_family())
    app.launch()
    new = app.publish(make_family(release=2, seed=2, blocks=False))
    app.server.faults[new.model_file("large")] = fault
    found = app.launch(timeout="1")
    expect_model(found, "large", "remembered")
    assert "download_failed" in found.events
    assert "switched" not in found.events
    assert app.server.bytes_of(new.model_file("large")) < ENDLESS // 2
    app.server.faults.clear()
    expect_model(app.launch(), "large", "passed", slot="b", release=2)


@in_languages()
@pytest.mark.parametrize("fault", ["silent", "stalls", "drips_header"])
def test_a_download_that_stops_leaves_the_last_release(app: App, fault: str) -> None:
    app.publish(make_family())
    app.launch()
    new = app.publish(make_family(release=2, seed=2))
    app.server.faults[new.model_file("large")] = fault
    start = time.monotonic()
    found = app.launch(timeout="0.3")
    expect_model(found, "large", "remembered")
    assert "download_failed" in found.events
    assert time.monotonic() - start < 15


@in_languages()
def test_a_body_that_ends_too_early_without_a_length_is_continued(app: App) -> None:
    family = app.publish(make_family(blocks=False))
    app.server.faults[family.model_file("large")] = ["half_unsaid"] + ["properly"] * 3
    found = app.launch(timeout="1")
    expect_model(found, "large", "passed")
    assert found.events == ["resumed", "switched"]
    assert found.found["downloaded_bytes"] == family.bytes_for("large")


@in_languages()
def test_a_server_that_packs_files_never_spoils_them(app: App) -> None:
    family = app.publish(make_family())
    app.server.faults["/models"] = "gzip"
    found = app.client.launch(*app.arguments(timeout="1"))
    stored = app.stored("a", family.model_file("large"))
    assert (found.code == 0) == stored.exists()
    true = family.files[family.model_file("large")]
    assert not stored.exists() or stored.read_bytes() == true
    part = stored.with_name(f"{stored.name}.part")
    assert not part.exists() or true.startswith(part.read_bytes())


@in_languages()
def test_a_redirect_is_followed(app: App) -> None:
    app.publish(make_family())
    app.server.faults["/"] = "redirect"
    expect_model(app.launch(), "large", "passed")


@in_languages(smoke=True)
def test_a_download_that_was_cut_off_is_continued(app: App) -> None:
    family = app.publish(make_family())
    name = family.model_file("large")
    app.server.faults[name] = ["half"]
    found = app.launch()
    expect_model(found, "large", "passed")
    assert found.events == ["resumed", "switched"]
    half = len(family.files[name]) // 2
    assert app.server.ranges[f"/{name}"] == ["", f"bytes={half}-"]
    assert app.server.bytes_of(name) == len(family.files[name])


@in_languages()
def test_the_next_launch_continues_a_download(app: App) -> None:
    family = app.publish(make_family())
    name = family.model_file("large")
    app.server.faults[name] = ["stalls", "silent", "silent"]
    app.fails(timeout="0.3")
    app.server.forget()
    found = app.launch()
    expect_model(found, "large", "passed")
    assert "resumed" in found.events
    assert app.server.bytes_of(name) == len(family.files[name]) - len(family.files[name]) // 2


@in_languages()
@pytest.mark.parametrize("fault", ["without_ranges", "other_range"])
def test_a_server_without_ranges_sends_the_file_again(app: App, fault: str) -> None:
    family = app.publish(make_family())
    name = family.model_file("large")
    app.server.faults[name] = ["half", fault]
    found = app.launch(timeout="1")
    expect_model(found, "large", "passed")
    assert "resumed" not in found.events
    assert app.stored("a", name).read_bytes() == family.files[name]


@in_languages()
def test_a_damaged_download_is_repaired_by_ranges(app: App) -> None:
    family = app.publish(make_family())
    name = family.model_file("large")
    app.server.faults[name] = ["damaged"]
    found = app.launch()
    expect_model(found, "large", "passed")
    assert "repaired" in found.events
    assert app.server.bytes_of(name) <= len(family.files[name]) + 2 * BLOCK


# Damage in the store.


def punch(path: Path, start: int = BLOCK + 100, size: int = BLOCK // 2) -> None:
    """Fill a part of a file with zeros, as a crash of the system can."""
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)
    path.write_bytes(data)


@in_languages(smoke=True)
def test_a_hole_in_a_stored_file_is_repaired_by_ranges(app: App) -> None:
    family = app.publish(make_family())
    name = family.model_file("large")
    app.launch()
    punch(app.stored("a", name))
    app.server.forget()
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == ["damaged", "repaired"]
    assert app.server.ranges[f"/{name}"] == [f"bytes={BLOCK}-{2 * BLOCK - 1}"]
    assert found.found["downloaded_bytes"] == app.server.bytes_of(name) == BLOCK
    assert app.stored("a", name).read_bytes() == family.files[name]


@in_languages()
def test_adjacent_blocks_are_one_range_and_the_last_block_is_shorter(app: App) -> None:
    family = app.publish(make_family())
    name = family.model_file("large")
    size = len(family.files[name])
    app.launch()
    punch(app.stored("a", name), BLOCK // 2, BLOCK)
    punch(app.stored("a", name), size - 100, 100)
    app.server.forget()
    assert app.launch().events == ["damaged", "repaired"]
    last = size // BLOCK * BLOCK
    assert app.server.ranges[f"/{name}"] == [f"bytes=0-{2 * BLOCK - 1}", f"bytes={last}-{size - 1}"]


@in_languages()
def test_a_hole_without_blocks_costs_the_whole_file(app: App) -> None:
    family = app.publish(make_family(blocks=False))
    name = family.model_file("large")
    app.launch()
    punch(app.stored("a", name))
    app.server.forget()
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert "damaged" in found.events
    assert app.server.bytes_of(name) == len(family.files[name])


@in_languages()
@pytest.mark.parametrize("fault", ["without_ranges", "other_range", "missing", "half"])
def test_a_hole_is_filled_or_the_model_is_not_used_if_ranges_fail(app: App, fault: str) -> None:
    family = app.publish(make_family())
    path = app.stored("a", family.model_file("large"))
    app.launch()
    punch(path)
    app.server.faults[family.model_file("large")] = [fault] * (9 if fault == "missing" else 1)
    found = app.launch(timeout="1") if fault != "missing" else app.fails(timeout="1")
    assert path.exists() == (fault != "missing")
    if not isinstance(found, str):
        expect_model(found, "large", "remembered")
        assert path.read_bytes() == family.files[family.model_file("large")]


@in_languages()
def test_a_holed_model_does_not_run_offline(client: Client, tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    with serving(tmp_path / "dist") as server:
        app = App(client, tmp_path, server)
        family = app.publish(make_family())
        app.launch()
    punch(app.stored("a", family.model_file("large")))
    app.fails()


@in_languages()
def test_a_model_that_cannot_be_repaired_gives_way_to_one_in_the_other_slot(app: App) -> None:
    family = make_family()
    family.manifest["models"]["large"]["needs"]["peak_memory_bytes"] = 1 << 30
    app.publish(family)
    app.launch({"available_memory_bytes": 1 << 29})
    expect_model(app.launch(), "large", "passed", slot="b")
    punch(app.stored("b", family.model_file("large")))
    app.server.faults["/models/large"] = "missing"
    found = app.launch()
    expect_model(found, "small", "remembered")
    assert found.events == ["damaged", "download_failed", "switched"]
    assert family.manifest["models"]["large"]["files"][0]["sha256"] not in app.state()["installed"]


@in_languages()
def test_a_hole_is_filled_from_the_other_slot(app: App) -> None:
    family = app.publish(make_family(shared=True))
    app.launch()
    app.publish(make_family(shared=True, release=2, seed=5))
    app.launch()
    punch(app.stored("b", family.model_file("large", 1)))
    app.server.forget()
    found = app.launch()
    expect_model(found, "large", "remembered", slot="b", release=2)
    assert found.events == ["damaged"]
    assert not app.server.files()


@in_languages()
def test_a_stored_file_that_lost_its_end_is_continued(app: App) -> None:
    family = app.publish(make_family())
    path = app.stored("a", family.model_file("large"))
    app.launch()
    path.write_bytes(path.read_bytes()[:100_000])
    app.server.forget()
    assert app.launch().events == ["damaged", "resumed"]
    assert app.server.bytes_of("/models") == len(family.files[family.model_file("large")]) - 100_000


@in_languages()
@pytest.mark.parametrize("content", [b"", bytes(500), b'{"state_version": 2}', b'{"slot": "a", "slot": "b"}'])
def test_a_damaged_state_costs_a_proof_and_no_download(app: App, content: bytes) -> None:
    app.publish(make_family())
    app.launch()
    (app.store / "state.json").write_bytes(content)
    app.server.forget()
    found = app.launch()
    expect_model(found, "large", "passed")
    assert (found.events, app.server.files()) == (["state_lost"], set())
    assert app.launch().events == []


@in_languages()
def test_nonsense_in_a_readable_state_is_left_out(app: App) -> None:
    app.publish(make_family())
    app.launch()
    app.server.forget()
    app.change_state(slot=7, release="x", installed={}, blacklist=[[], {"sha256": 1}], proofs=[None, {"files": 3}])
    found = app.launch()
    expect_model(found, "large", "passed")
    assert (found.events, app.server.files()) == ([], set())


@in_languages()
def test_a_damaged_state_does_not_open_the_way_back(client: Client, tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    with serving(tmp_path / "dist") as server:
        app = App(client, tmp_path, server)
        app.publish(make_family(release=2, seed=2))
        app.launch()
        (app.store / "state.json").write_bytes(b"?")
        app.publish(make_family(release=1))
        found = app.launch()
        expect_model(found, "large", "passed", release=2)
        assert found.events == ["state_lost", "older_release"]
    (app.store / "state.json").write_bytes(b"?")
    assert app.launch().events == ["state_lost", "offline"]


# The proof.


def with_wrong_outputs(family: Family, model: str) -> Family:
    """The family, whose expected outputs of a model are others than it computes."""
    name = family.manifest["samples"]["expected"]["name"]
    expected = json.loads(family.files[name])
    expected[model]["logits_micro"][2][1] += 40_000
    family.replace(name, json.dumps(expected).encode())
    return family


@in_languages(smoke=True)
@pytest.mark.parametrize("samples", ["images", "tensors"])
def test_wrong_outputs_lead_to_the_next_unit_then_to_the_next_tier(app: App, samples: str) -> None:
    app.publish(with_wrong_outputs(make_family(samples=samples), "large"))
    units = {"compute_units": ["imaginary", "cpu"]}
    found = app.launch(units)
    expect_model(found, "small", "passed")
    assert found.found["tier"] == "low"
    assert ["high", "large", "proof_failed"] in found.found["reasons"]
    assert found.events == ["proof_failed", "proof_failed", "proof_failed", "switched"]
    assert app.results() == [("imaginary", "refused"), ("cpu", "wrong"), ("imaginary", "refused"), ("cpu", "passed")]
    app.server.forget()
    again = app.launch(units)
    expect_model(again, "small", "remembered")
    assert (again.events, app.server.files()) == ([], set())


EXPECTED: dict[str, Any] = {
    "no object": [],
    "no model": {"small": {"logits_micro": [[0] * 4] * 3, "tolerance_micro": 1}},
    "too few samples": {"large": {"logits_micro": [[0] * 4] * 2, "tolerance_micro": 1}},
    "too few logits": {"large": {"logits_micro": [[0] * 3] * 3, "tolerance_micro": 1}},
    "texts": {"large": {"logits_micro": [["0"] * 4] * 3, "tolerance_micro": 1}},
    "no tolerance": {"large": {"logits_micro": [[0] * 4] * 3}},
}


@in_languages()
@pytest.mark.parametrize("content", EXPECTED)
def test_samples_that_do_not_fit_leave_the_last_release(app: App, content: str) -> None:
    app.publish(make_family())
    app.launch()
    family = make_family(release=2, seed=2)
    name = family.manifest["samples"]["expected"]["name"]
    family.replace(name, json.dumps(EXPECTED[content]).encode())
    app.publish(family)
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == ["manifest_refused"]


@in_languages()
@pytest.mark.parametrize("samples", ["images", "tensors"])
def test_sample_inputs_that_are_none_leave_the_last_release(app: App, samples: str) -> None:
    app.publish(make_family())
    app.launch()
    family = make_family(release=2, seed=2, samples=samples)
    family.replace(family.manifest["samples"]["inputs"][0]["name"], b"These are no pixels.")
    app.publish(family)
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == ["manifest_refused"]


@in_languages()
def test_an_update_may_cure_a_model(app: App) -> None:
    app.publish(with_wrong_outputs(make_family(), "large"))
    expect_model(app.launch(), "small", "passed")
    app.server.forget()
    found = app.launch({"engine_version": "99.0"})
    assert found.events[0] == "proof_failed"
    assert found.found["model"] == "small"


@in_languages()
def test_a_release_of_which_nothing_runs_leaves_the_last_one(app: App) -> None:
    app.publish(make_family())
    app.launch()
    app.publish(with_wrong_outputs(with_wrong_outputs(make_family(release=2, seed=2), "large"), "small"))
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == ["proof_failed", "proof_failed", "nothing_runs"]


@in_languages()
def test_a_file_that_is_no_model_is_refused(app: App) -> None:
    family = make_family()
    family.replace(family.model_file("large"), b"This is not ONNX. " * 100)
    app.publish(family)
    expect_model(app.launch(), "small", "passed")
    assert app.results() == [("cpu", "refused"), ("cpu", "passed")]


@in_languages()
def test_without_samples_the_outputs_must_be_finite(app: App) -> None:
    family = make_family(samples=None)
    name = family.model_file("large")
    family.replace(name, with_nan(family.files[name]))
    app.publish(family)
    expect_model(app.launch(), "small", "passed")
    assert app.results() == [("cpu", "wrong"), ("cpu", "passed")]


@in_languages()
def test_a_model_that_kills_the_app_twice_is_passed_over(app: App) -> None:
    family = make_family()
    family.replace(family.model_file("large"), hanging_model())
    app.publish(family)
    for starts in (1, 2):
        with app.client.started(*app.arguments()):
            wait_for(lambda starts=starts: recorded(app) == ("started", starts))
    found = app.launch()
    expect_model(found, "small", "passed")
    assert ["high", "large", "proof_failed"] in found.found["reasons"]


def recorded(app: App) -> tuple[str, int] | None:
    """The result of the first proof and its starts; None before there is one."""
    proofs = app.state()["proofs"] if (app.store / "state.json").exists() else []
    return (proofs[0]["result"], proofs[0]["starts"]) if proofs else None


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


@in_languages()
@pytest.mark.parametrize("action", ["cloud", "off"])
def test_a_floor_without_a_model_ends_the_launch(app: App, action: str) -> None:
    family = make_family()
    family.manifest["floors"] = [{"platform": "ios", "action": action}]
    app.publish(family)
    found = app.launch({"platform": "ios"}, image=app.folder / "image.png").found
    told = {key: found[key] for key in ("action", "model", "compute_unit", "slot", "proof", "label", "logits_micro")}
    assert told.pop("action") == action
    assert set(told.values()) == {None}
    assert (app.server.files(), found["downloaded_bytes"]) == (set(), 0)


@in_languages()
def test_a_floor_names_its_model(app: App) -> None:
    family = make_family()
    family.manifest["floors"] = [{"platform": "ios", "action": "model", "models": ["large"]}]
    app.publish(family)
    expect_model(app.launch({"platform": "ios"}), "large", "passed")


# Blacklist, policy, full disk, two at once.


@in_languages()
def test_a_blacklisted_model_is_passed_over_until_its_time_is_over(app: App) -> None:
    family = app.publish(make_family())
    app.launch()
    digest = family.manifest["models"]["large"]["files"][0]["sha256"]
    app.change_state(blacklist=[{"sha256": digest, "until": NOW + 10}])
    found = app.launch()
    expect_model(found, "small", "passed", slot="b")
    assert ["high", "large", "blacklisted"] in found.found["reasons"]
    expect_model(app.launch(now=NOW + 10), "large", "remembered", slot="a")


@in_languages()
def test_a_revoked_model_stays_revoked_without_the_policy(app: App) -> None:
    family = app.publish(make_family())
    app.launch()
    digest = family.manifest["models"]["large"]["files"][0]["sha256"]
    policy = {"policy_version": "1.0", "critical": [], "revoked": [{"sha256": digest}]}
    expect_model(app.launch(policy=policy), "small", "passed", slot="b")
    found = app.launch()
    expect_model(found, "small", "remembered", slot="b")
    assert ["high", "large", "revoked"] in found.found["reasons"]
    found = app.launch(policy={"policy_version": "2.0"})
    expect_model(found, "small", "remembered", slot="b")
    assert found.events == ["policy_refused"]


@in_languages()
def test_a_long_and_deep_policy_does_not_make_the_state_unreadable(app: App) -> None:
    app.publish(make_family())
    deep: list[Any] = []
    for _ in range(14):  # with the policy and this list, 16 levels: the most that a policy may have
        deep = [deep]
    revoked = [{"sha256": f"{number:064x}"} for number in range(3200)]  # just below 256 KiB, the limit of a policy
    app.launch(policy={"policy_version": "1.0", "critical": [], "revoked": revoked, "later": deep})
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == []


@in_languages()
def test_a_remembered_policy_that_is_not_usable_does_not_stop_the_app(app: App) -> None:
    app.publish(make_family())
    app.launch()
    app.change_state(policy={"policy_version": "2.0"})
    expect_model(app.launch(), "large", "remembered")


@in_languages()
def test_a_full_disk_leaves_the_last_release(app: App) -> None:
    app.publish(make_family())
    app.launch()
    app.publish(make_family(release=2, seed=2))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing reports an error, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK, BLOCK))

    found = app.client.launch(*app.arguments(), preexec_fn=limit)
    assert found.code == 0, found.error
    expect_model(found, "large", "remembered")
    assert "quota" in found.events
    expect_model(app.launch(), "large", "passed", slot="b", release=2)


@in_languages()
def test_two_launches_at_once_download_once(app: App) -> None:
    family = app.publish(make_family())
    with app.client.started(*app.arguments()) as one, app.client.started(*app.arguments()) as other:
        texts = [process.communicate(timeout=60) for process in (one, other)]
    found = [outcome(process.returncode, *text) for process, text in zip((one, other), texts, strict=True)]
    assert [each.code for each in found] == [0, 0], [each.error for each in found]
    assert sorted(each.found["proof"] for each in found) == ["passed", "remembered"]
    assert app.server.bytes_of("/models") == len(family.files[family.model_file("large")])


@in_languages()
def test_a_launch_that_died_holds_no_lock(app: App) -> None:
    family = app.publish(make_family())
    app.server.faults[family.model_file("large")] = ["stalls"]
    with app.client.started(*app.arguments()):
        wait_for(lambda: app.server.bytes_of("/models") > 0)
    expect_model(app.launch(), "large", "passed")


@in_languages()
@pytest.mark.parametrize(
    "facts", [{"platform": ""}, {"ram_bytes": -5, "soc_maker": "", "os_version": "9" * 5000}, {"compute_units": 5}]
)
def test_nonsense_facts_get_a_model_all_the_same(app: App, facts: dict[str, Any]) -> None:
    app.publish(make_family())
    assert app.launch(facts).found["model"] in ("large", "small")


@in_languages()
def test_wrong_arguments_are_one_line(client: Client, tmp_path: Path) -> None:
    for arguments in (
        [],
        ["--url", str(tmp_path), "--store", str(tmp_path / "s"), "--image", str(tmp_path / "no.png")],
    ):
        found = client.launch(*arguments)
        assert found.code == 1
        assert [line for line in found.error.splitlines() if line.startswith("launch: ")]
