"""ONNX Runtime Web takes graphs over a shared weights file, and computes what the separate files compute."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from headless_chromium import PROGRAM, Chromium
from page_client import DIST

from device_profiles.measuring.runners.browser import ENGINE_FILES
from exports.engines import get_engine
from exports.onnx.quantising.precision import convert_precision
from exports.onnx.shared_weights import SharedFiles, SharedTier, share_weights, supernet_values, tier_plans
from supernet.evaluation.evaluation import recalibrate
from supernet.sharing.supernet import Supernet
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(
        PROGRAM is None or not DIST,
        reason="needs the Debian package chromium, and MODEL_FACTORY_ONNXRUNTIME_WEB=.../onnxruntime-web/dist from npm",
    ),
]

SHAPE = (3, 16, 16)
KINDS = {"html": "text/html", "mjs": "text/javascript", "wasm": "application/wasm"}
PAGE = """<!doctype html><body><script type="module">
import * as ort from "./ort.wasm.min.mjs";
const url = (name) => new URL(name, location.href).href;
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = {mjs: url("ort-wasm-simd-threaded.mjs"), wasm: url("ort-wasm-simd-threaded.wasm")};
const bytes = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
window.run = async (graph, weights) => {
  const externalData = weights === null ? [] : [{path: weights, data: await bytes(weights)}];
  const session = await ort.InferenceSession.create(await bytes(graph), {executionProviders: ["wasm"], externalData});
  const image = new ort.Tensor("float32", new Float32Array((await bytes("image")).buffer), [1, 3, 16, 16]);
  return Array.from((await session.run({image})).logits.data);
};
window.start = (graph, weights) => {
  window.answer = null;
  run(graph, weights).then((numbers) => window.answer = {numbers}, (error) => window.answer = {error: String(error)});
};
window.ready = true;
</script></body>"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> tuple[dict[str, SharedTier], SharedFiles]:
    """The smallest and the largest subnet of a space, in int8, as separate files and shared."""
    folder = tmp_path_factory.mktemp("networks")
    stage = {"widths": [8, 16], "depths": [1, 2], "kernels": [3, 5], "expands": [2, 4]}
    config = MobileNetConfig.model_validate({"resolutions": [16], "stem_width": 8, "stages": [stage], "head_width": 32})
    supernet = Supernet(MobileNetSpace(config, 4), seed=1)
    generator = torch.Generator().manual_seed(4)
    for parameter in supernet.parameters():  # a new network has blocks that return 0, which int8 cannot represent
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter.data, 0.5, 1.5, generator=generator)
    images = torch.rand(32, *SHAPE, generator=torch.Generator().manual_seed(2))
    engine, space, tiers = get_engine("onnxruntime"), supernet.model_space.space, {}
    for name, subnet in (("small", space.smallest), ("large", space.largest)):
        module, plans = recalibrate(supernet.extract(subnet), images), tier_plans(supernet, subnet)
        source, path = folder / f"{name}-float.onnx", folder / f"{name}.onnx"
        engine.convert(module, SHAPE, source)
        convert_precision(source, path, "int8", images.numpy(), None)
        tiers[name] = SharedTier(name=name, path=path, plans=plans, source=source)
        tiers[f"{name}-float"] = SharedTier(name=f"{name}-float", path=source, plans=plans)
    (folder / "shared").mkdir()
    return tiers, share_weights(list(tiers.values()), supernet_values(supernet), folder / "shared")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(3).random((1, *SHAPE), np.float32)


@pytest.fixture(scope="module")
def page(networks, image, tmp_path_factory) -> Iterator[Chromium]:
    """A page with the function `start`, and a server of all files."""
    tiers, shared = networks
    paths = [tier.path for tier in tiers.values()] + list(shared.weights.parent.iterdir())
    files = {path.name: path.read_bytes() for path in [*paths, *(Path(DIST) / name for name in ENGINE_FILES)]}
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), handler(files | {"image": image.tobytes(), "index.html": PAGE.encode()})
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = Chromium(tmp_path_factory.mktemp("browser"))
    browser.open(f"http://127.0.0.1:{server.server_port}/index.html")
    browser.wait_for("window.ready === true")
    yield browser
    browser.kill()
    server.shutdown()
    server.server_close()


def handler(files: dict[str, bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path.removeprefix("/"))
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Type", KINDS.get(self.path.rpartition(".")[2], "application/octet-stream"))
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def answer(page: Chromium, graph: Path, weights: Path | None) -> dict[str, object]:
    arguments = json.dumps([graph.name, weights and weights.name])
    page.evaluate(f"start(...{arguments})")
    page.wait_for("window.answer !== null")
    return json.loads(page.evaluate("JSON.stringify(window.answer)"))


@pytest.mark.parametrize("name", ["small-float", "large-float", "small", "large"])
def test_a_page_computes_what_the_engine_on_this_machine_computes(networks, page, image, name):
    _, shared = networks
    graph = shared.graphs[name].path
    expected = get_engine("onnxruntime").load(graph, 1).run(image)[0]
    found = np.array(answer(page, graph, shared.weights)["numbers"])
    tolerance = 1e-5 if name.endswith("float") else 0.05  # integers round differently on another kind of processor
    assert np.abs(found - expected).max() <= tolerance * np.ptp(expected)


def test_a_page_refuses_a_graph_without_its_weights(networks, page):
    _, shared = networks
    assert "external" in str(answer(page, shared.graphs["small"].path, None)["error"]).lower()
