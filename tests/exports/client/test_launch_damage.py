"""The contract of exports/client/README.md for every client: holes and other damage in the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from client_programs import Client
from hostile_server import serving
from launching import App, expect_model, in_languages
from small_family import BLOCK, make_family


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
