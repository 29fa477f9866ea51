"""The contract of exports/client/README.md for every client: broken or hostile servers, manifests and files."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable

import pytest
from hostile_server import ENDLESS
from launching import App, expect_model, in_languages
from small_family import BLOCK, Family, make_family

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
