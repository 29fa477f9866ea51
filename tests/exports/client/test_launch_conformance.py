"""The contract of exports/client/README.md for every client: launches that succeed, releases and slots."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from client_programs import Client
from hostile_server import serving
from launching import App, expect_model, in_languages
from small_family import BLOCK, LABELS, make_family


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
