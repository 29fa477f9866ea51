"""The page in a real browser: first launch, offline, damage of every kind, two tabs, a full disk, no threads."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from headless_chromium import PROGRAM, Chromium

from exports.family.family import write_family
from exports.family.records import Selector
from exports.family.specs import Publish, TierSpec
from exports.page.server import SiteServer
from exports.page.site import Site, make_site

sys.path.insert(0, str(Path(__file__).parents[1] / "client"))
from small_family import Family
from small_family import make_family as make_small_family

DIST = os.environ.get("MODEL_FACTORY_ONNXRUNTIME_WEB")
pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(
        PROGRAM is None or not DIST,
        reason="needs the Debian package chromium, and MODEL_FACTORY_ONNXRUNTIME_WEB=.../onnxruntime-web/dist from npm",
    ),
]
DONE = "window.measured && (window.measured.launched !== null || window.measured.error !== null)"
DRAW = """(() => {
  const canvas = document.getElementById("canvas");
  canvas.setPointerCapture = () => undefined;
  const box = canvas.getBoundingClientRect();
  const send = (type, x, y) => canvas.dispatchEvent(
    new PointerEvent(type, {pointerId: 1, clientX: box.left + x, clientY: box.top + y, bubbles: true}));
  send("pointerdown", 140, 40);
  for (let y = 50; y <= 240; y += 10) send("pointermove", 140, y);
  send("pointerup", 140, 240);
})()"""
DROP = """(async () => {
  const canvas = new OffscreenCanvas(40, 30);
  canvas.getContext("2d").fillRect(0, 0, 20, 30);
  const transfer = new DataTransfer();
  transfer.items.add(new File([await canvas.convertToBlob()], "picture.png", {type: "image/png"}));
  document.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
})()"""


@dataclass
class FaultySite:
    """A site whose files a test may change; `faults` gets a file's content and how often it was asked for before."""

    site: Site
    files: dict[str, bytes]
    faults: dict[str, Callable[[bytes, int], bytes | None]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def content(self, name: str) -> bytes | None:
        found = self.files.get(name.removeprefix("family/")) if name.startswith("family/") else self.site.content(name)
        self.asked[name] += 1
        fault = self.faults.get(name.removeprefix("family/"))
        return found if fault is None or found is None else fault(found, self.asked[name] - 1)


@pytest.fixture(scope="module")
def shell(tmp_path_factory, built) -> Site:
    """The page itself; tests bring a family of their own."""
    folder = tmp_path_factory.mktemp("family")
    write_family(folder, built[1], source=built[0])
    return make_site(folder, Path(DIST or ""))


@pytest.fixture
def family() -> Family:
    made = make_small_family(samples="tensors")
    made.manifest["task"]["labels"] = ["0", "1", "2", "3"]
    made.manifest["tiers"].append(
        {"id": "web", "platform": "web", "rank": 1, "match": [{"cores_min": 1}], "models": ["large"]}
    )
    for model in made.manifest["models"].values():
        model["quality"] = {"value_ppm": 900_000, "images": 100, "basis": "measured"}
    return made


@pytest.fixture
def site(shell, family) -> FaultySite:
    return FaultySite(shell, {**family.files, "manifest.json": json.dumps(family.manifest).encode()})


@pytest.fixture
def browser(tmp_path) -> Iterator[Chromium]:
    made = Chromium(tmp_path / "browser")
    yield made
    made.kill()


@pytest.fixture
def serve(site) -> Iterator[Callable[..., SiteServer]]:
    servers: list[SiteServer] = []

    def start(**options: Any) -> SiteServer:
        servers.append(SiteServer(site, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def launched(browser: Chromium, url: str | None = None) -> dict[str, Any]:
    """What the page says of its launch, after opening or reloading it."""
    if url is None:
        browser.reload()
        browser.wait_for("window.measured === undefined || window.measured.launched === null")
    else:
        browser.open(url)
    browser.wait_for(DONE, 60)
    found = json.loads(browser.evaluate("JSON.stringify(window.measured)"))
    return found["launched"] or {"error": found["error"]}


@pytest.mark.smoke
def test_the_first_launch_downloads_and_proves_and_the_second_works_offline(browser, serve, family):
    server = serve()
    found = launched(browser, server.url)
    assert (found["tier"], found["model"], found["proof"], found["unit"]) == ("web", "large", "passed", "wasm")
    assert found["downloaded"] == family.bytes_for("large")
    assert found["threads"] == min(4, os.cpu_count() or 1)
    browser.wait_for("navigator.serviceWorker.controller !== null")
    server.close()
    again = launched(browser)
    assert (again["model"], again["proof"], again["downloaded"], again["events"]) == (
        "large",
        "remembered",
        0,
        ["offline"],
    )


@pytest.mark.parametrize("models", ["built", "built_for_pixels"])
def test_a_family_as_the_factory_writes_it_by_default_is_proven_and_classifies(browser, request, tmp_path, models):
    folder, spec = request.getfixturevalue(models)
    web = TierSpec(id="web", platform="web", selectors=(Selector(cores_min=1),), model_id="large")
    write_family(tmp_path / "dist", replace(spec, tiers=(web,), publish=Publish()), source=folder)
    server = SiteServer(make_site(tmp_path / "dist", Path(DIST or "")))
    try:
        found = launched(browser, server.url)
        assert (found["tier"], found["model"], found["proof"], found["events"]) == (
            "web",
            "large",
            "passed",
            ["switched"],
        )
        browser.evaluate(DROP)
        browser.wait_for("document.getElementById('answer').textContent.includes('%')")
        assert any(label in browser.evaluate("document.getElementById('answer').textContent") for label in spec.labels)
    finally:
        server.close()


def test_a_drawing_and_a_dropped_picture_get_a_label(browser, serve):
    launched(browser, serve().url)
    browser.evaluate(DRAW)
    browser.wait_for("document.getElementById('answer').textContent.includes('%')")
    assert browser.evaluate("document.getElementById('answer').textContent")[0] in "0123"
    browser.evaluate("document.getElementById('answer').textContent = ''")
    browser.evaluate(DROP)
    browser.wait_for("document.getElementById('answer').textContent.includes('%')")
    assert browser.evaluate("document.getElementById('seen').hidden") is False


def test_the_keyboard_alone_draws_and_asks_about_another_device(browser, serve):
    launched(browser, serve().url)
    browser.evaluate("document.getElementById('canvas').focus()")
    for key in (" ", "ArrowDown", "ArrowDown", "ArrowDown", " "):
        browser.press(key)
    browser.wait_for("document.getElementById('answer').textContent.includes('%')")
    browser.evaluate("document.getElementById('field-cores').focus()")
    browser.press("Enter")
    browser.wait_for("document.getElementById('pretended').textContent.includes('Tier floor')")
    assert "cores_min" in browser.evaluate("document.getElementById('pretended-why').textContent")


def test_the_model_of_another_device_can_be_run_here(browser, serve):
    launched(browser, serve().url)
    browser.evaluate("document.getElementById('pretend').requestSubmit()")
    browser.evaluate("window.measured.launched = null; document.getElementById('run-pretended').click()")
    browser.wait_for(DONE)
    assert json.loads(browser.evaluate("JSON.stringify(window.measured.launched)"))["model"] == "small"


def test_a_tampered_model_is_never_run(browser, serve, site, family):
    site.faults[family.model_file("large")] = lambda data, _: data[:-1] + bytes([data[-1] ^ 1])
    found = launched(browser, serve().url)
    assert "its SHA-256 is not that of the manifest" in found["error"]
    assert browser.evaluate("document.getElementById('problem').hidden") is False
    site.faults.clear()
    browser.evaluate("window.measured.error = null; document.getElementById('retry').click()")
    browser.wait_for(DONE)
    assert json.loads(browser.evaluate("JSON.stringify(window.measured.launched)"))["model"] == "large"


def test_a_model_cut_short_on_its_way_arrives_in_the_end(browser, serve, site, family):
    site.faults[family.model_file("large")] = lambda data, times: data[: len(data) // 2] if times == 0 else data
    found = launched(browser, serve().url)
    assert (found["model"], found["proof"]) == ("large", "passed")


def test_a_model_with_a_hole_is_repaired_by_ranges(browser, serve, site, family):
    def hole(data: bytes, times: int) -> bytes:
        return data[:70_000] + bytes(70_000) + data[140_000:] if times == 0 else data

    name = family.model_file("large")
    site.faults[name] = hole
    found = launched(browser, serve().url)
    assert "repaired" in found["events"]
    assert found["downloaded"] < 2 * len(family.files[name])


def test_a_stored_model_that_was_damaged_is_repaired(browser, serve):
    server = serve()
    launched(browser, server.url)
    browser.evaluate(
        """window.hole = null; (() => {
          const opening = indexedDB.open("model-factory//");
          opening.onsuccess = () => {
            const blocks = opening.result.transaction("blocks", "readwrite").objectStore("blocks");
            const cursor = blocks.openCursor();
            cursor.onsuccess = () => {
              if (!cursor.result) return;
              if (cursor.result.value.length < 200000) return void cursor.result.continue();
              cursor.result.value.fill(0, 70000, 140000);
              cursor.result.update(cursor.result.value).onsuccess = () => { opening.result.close(); window.hole = 1; };
            };
          };
        })()"""
    )
    browser.wait_for("window.hole === 1")
    found = launched(browser)
    assert found["events"] == ["damaged", "repaired"]
    assert 0 < found["downloaded"] <= 4 * 65_536


def test_two_tabs_at_once_download_once(browser, serve, family):
    server = serve()
    tabs = [browser.tab(server.url) for _ in range(2)]
    for tab in tabs:
        tab.wait_for(DONE, 60)
    found = [json.loads(tab.evaluate("JSON.stringify(window.measured.launched)")) for tab in tabs]
    assert [each["model"] for each in found] == ["large", "large"]
    assert sorted(each["downloaded"] for each in found) == [0, family.bytes_for("large")]


def test_without_room_for_a_model_the_page_says_so_and_what_to_do(browser, serve):
    url = serve().url
    browser.open(
        f"{url}style.css"
    )  # Chromium remembers the room for some seconds: it must be limited before it is used
    browser.limit_storage(url, 20_000)
    browser.navigate(url)
    browser.wait_for(DONE, 60)
    assert "QuotaExceededError" in browser.evaluate("window.measured.error || ''")
    assert "free space" in browser.text()


def test_without_threads_the_model_runs_on_one(browser, serve):
    found = launched(browser, serve(isolated=False).url)
    assert (found["model"], found["threads"]) == ("large", 1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_small_phone(browser, serve, scheme):
    launched(browser, serve().url)
    browser.emulate(width=390, height=844, scheme=scheme)
    browser.evaluate("document.getElementById('pretend').requestSubmit()")
    assert browser.evaluate("document.documentElement.scrollWidth") == 390


def test_every_control_has_a_name(browser, serve):
    launched(browser, serve().url)
    nameless = browser.evaluate(
        """[...document.querySelectorAll("button, input, select, canvas")].filter((each) =>
          !(each.textContent.trim() || each.getAttribute("aria-label") || each.labels?.length)).length"""
    )
    assert nameless == 0


def test_a_page_without_its_engine_says_so(browser, serve, site):
    site.faults["ort/ort.wasm.min.mjs"] = lambda *_: None
    assert "module" in launched(browser, serve().url)["error"]
    assert "A file of the page is missing on the server" in browser.text()


def test_a_policy_that_is_no_json_is_reported(browser, serve, site):
    site.site = replace(site.site, made={**site.site.made, **with_policy(site, b"{")})
    found = launched(browser, serve().url)
    assert (found["tier"], found["events"][0]) == ("web", "policy_refused")


def test_a_pretended_device_follows_the_policy_and_is_named_as_such(browser, serve, site, family):
    revoked = [{"sha256": file["sha256"]} for file in family.manifest["models"]["large"]["files"]]
    policy = json.dumps({"policy_version": "1.0", "revoked": revoked}).encode()
    site.site = replace(site.site, made={**site.site.made, **with_policy(site, policy)})
    assert launched(browser, serve().url)["model"] == "small"
    browser.evaluate("document.getElementById('field-cores').value = 8")
    browser.evaluate("document.getElementById('pretend').requestSubmit()")
    browser.wait_for("document.getElementById('pretended').textContent.endsWith('model small.')")
    browser.evaluate("document.getElementById('run-pretended').click()")
    browser.wait_for("document.getElementById('whose').textContent.startsWith('What this page pretends to be')")


def with_policy(site: FaultySite, policy: bytes) -> dict[str, bytes]:
    """The files of a site that follows a policy."""
    index = site.site.made["index.html"].replace(b"<!-- policy -->", b'<meta name="policy" content="policy.json">')
    return {"index.html": index, "policy.json": policy}
