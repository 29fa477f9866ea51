"""The stores of the client in TypeScript: memory, a folder in Node, and IndexedDB in a real browser."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from headless_chromium import PROGRAM, Chromium
from small_family import make_family
from typescript_client import FOLDER, NODE, needs_node, node

STORE = Path(__file__).parent / "typescript" / "store.mjs"
ENGINE = os.environ.get("MODEL_FACTORY_ONNXRUNTIME_WEB")
WITH_STORES = f"""
const {{ exercise }} = await import({str(STORE)!r});
const {{ FolderStore }} = await import({str(FOLDER / "dist" / "node.js")!r});
"""
FACTS = {
    "platform": "linux",
    "ram_bytes": 8 << 30,
    "compute_units": ["wasm"],
    "probe": None,
    "free_disk_bytes": 1 << 40,
}
PAGE = f"""<!doctype html><script type="module">
import * as client from "./dist/index.js";
import {{ exercise }} from "./store.mjs";
import * as ort from "./ort/ort.wasm.min.mjs";
ort.env.wasm.numThreads = 1;
const engine = new client.OnnxRuntimeEngine(ort);
const noNetwork = () => Promise.reject(new TypeError("no network"));
window.tell = async (work) => {{
  window.found = null;
  window.found = await work().catch((error) => `${{error.constructor.name}}: ${{error.message}}`);
}};
window.launched = async (online) => {{
  const source = new client.HttpSource(new URL("family", location.href).href, 5, online ? undefined : noNetwork);
  const facts = await client.browserFacts(engine, {json.dumps(FACTS).replace("null", "undefined")});
  const {{ running, downloadedBytes, events, slot }} = await client.launch(
    source, new client.IndexedDbStore("pets"), engine, facts,
  );
  const logits = await running.logits({{ width: 2, height: 2, data: new Uint8Array(12).fill(90) }});
  const finite = logits.length === running.labels.length && logits.every(Number.isFinite);
  return {{ proof: running.proof, downloadedBytes, events: events.map((event) => event.code), slot, finite }};
}};
window.stored = () => exercise(new client.IndexedDbStore("x"));
window.ready = true;
</script>"""


@functools.cache
def in_memory() -> list[Any]:
    """What the store in memory answers."""
    return list(json.loads(node(WITH_STORES + "console.log(JSON.stringify(await exercise(new client.MemoryStore())))")))


@needs_node
def test_the_store_in_memory_keeps_what_is_written():
    found = dict(in_memory())
    assert (found["no state"], found["no size"]) == (None, None)
    assert (found["nothing to read"], found["size"], found["the same size"]) == ([0, 0], 650_000, 650_000)
    assert [found[name][0] for name in ("all", "across blocks", "past the end")] == [650_000, 262_160, 10]
    assert [found[name][0] for name in ("cut", "continued", "the other one is gone")] == [1005, 301_005, 301_005]
    assert (found["names"], found["another slot"], found["removed"]) == (["y"], None, [None, 3])
    assert found["locks"] == ["first begins", "StoreError", "first ends", "second begins", "second ends"]


@needs_node
def test_a_store_in_a_folder_does_what_one_in_memory_does(tmp_path):
    script = WITH_STORES + "console.log(JSON.stringify(await exercise(new FolderStore(process.argv[1]))))"
    assert json.loads(node(script, str(tmp_path / "store"))) == in_memory()


LOCK_AND_SAY = WITH_STORES + "await new FolderStore(process.argv[1]).lock(5, async () => console.log('mine'));"


@needs_node
@pytest.mark.parametrize("content", ["", "1"])
def test_a_lock_that_nobody_touches_is_abandoned(content, tmp_path):
    lock = tmp_path / "lock.node"
    lock.write_text(content)  # died while it wrote its id, or its id is that of another process now
    os.utime(lock, (0, time.time() - 301))
    assert node(LOCK_AND_SAY, str(tmp_path)) == "mine\n"
    assert not lock.exists()


@needs_node
def test_the_lock_of_a_process_that_has_ended_is_taken_by_one_of_many(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "lock.node").write_text(str(ended.pid))
    script = f"""import {{ FolderStore }} from {str(FOLDER / "dist" / "node.js")!r};
import {{ appendFileSync }} from "node:fs";
const say = (text) => appendFileSync(process.argv[2], text);
await new FolderStore(process.argv[1]).lock(20, async () => {{
  say("(");
  await new Promise((resolve) => setTimeout(resolve, 30));
  say(")");
}});"""
    told = tmp_path / "told"
    command = [str(NODE), "--input-type=module", "-e", script, str(tmp_path), str(told)]
    started = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(60) for process in started] == [0] * 4
    assert told.read_text() == "()" * 4


@pytest.fixture
def browser(tmp_path) -> Iterator[Chromium]:
    """A browser with the page of this file."""
    if PROGRAM is None or not ENGINE:
        pytest.skip("needs Chromium, and MODEL_FACTORY_ONNXRUNTIME_WEB=... with onnxruntime-web's dist")
    served = tmp_path / "served"
    served.mkdir()
    for name, target in {"dist": FOLDER / "dist", "store.mjs": STORE, "ort": Path(ENGINE)}.items():
        (served / name).symlink_to(target)
    make_family(samples="tensors").write(served / "family")
    (served / "index.html").write_text(PAGE)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Files(*given, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chromium = Chromium(tmp_path)
    try:
        chromium.open(f"http://127.0.0.1:{server.server_port}/index.html")
        chromium.wait_for("window.ready")
        yield chromium
    finally:
        chromium.kill()
        server.shutdown()
        server.server_close()


class Files(http.server.SimpleHTTPRequestHandler):
    """Files with the types that pages insist on."""

    extensions_map: ClassVar = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def told(browser: Chromium, work: str) -> Any:
    """What a function of the page returns."""
    browser.evaluate(f"void tell(() => {work})")
    browser.wait_for("window.found")
    return browser.evaluate("window.found")


@needs_node
@pytest.mark.engines
def test_indexeddb_does_what_the_store_in_memory_does(browser):
    assert told(browser, "stored()") == in_memory()


@pytest.mark.engines
def test_a_browser_launches_and_launches_again_without_a_network(browser):
    first = told(browser, "launched(true)")
    assert first["downloadedBytes"] > 0
    assert first | {"downloadedBytes": 0} == {
        "proof": "passed", "downloadedBytes": 0, "events": ["switched"], "slot": "a", "finite": True
    }  # fmt: skip
    browser.reload()
    browser.wait_for("window.ready")
    again = told(browser, "launched(false)")
    assert again == first | {"proof": "remembered", "downloadedBytes": 0, "events": ["offline"]}
