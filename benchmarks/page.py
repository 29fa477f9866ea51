"""How long a family's page takes from its start to the first result, in headless Chromium over loopback.

    python benchmarks/page.py dist/digits --ort node_modules/onnxruntime-web/dist

Every repeat has a new browser with an empty profile. The first launch downloads the page, ONNX Runtime Web and the
model, and proves the model; the second launch opens the page again after the server has stopped. Times are the page's
own, from the start of its navigation to the logits of its first input. `--megabytes 1` serves every model with that
many bytes: unused ones in a field of the ONNX file that engines ignore, with size and digest stated anew.

`--quick` starts 2 browsers instead of 9. Needs Chromium and ONNX Runtime Web, as the tests of the page do. Standard
output ends with one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
from common import environment, log, make_parser, parse_options

from exports.page.server import SiteServer
from exports.page.site import make_site
from model_factory.commands.serve import engine_folder

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from headless_chromium import Chromium

DONE = "window.measured && (window.measured.launched !== null || window.measured.error !== null)"


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        family = padded(options.family, Path(folder) / "family", round(options.megabytes * 1e6))
        times = [launches(family, options, Path(folder) / str(number)) for number in range(options.repeats)]
    first, second = ([pair[place] for pair in times] for place in (0, 1))
    result = {"first_launch_s": spread(first), "offline_launch_s": spread(second), "megabytes": options.megabytes}
    print(json.dumps({**result, "quick": options.quick, "environment": environment(0)}))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("family", type=Path, help="a family's folder")
    parser.add_argument("--ort", type=Path, help="the folder onnxruntime-web/dist")
    parser.add_argument("--repeats", type=int, default=9, help="browsers that are started")
    parser.add_argument("--megabytes", type=float, default=1.0, help="size of the model that is served; 0 leaves it")
    return parse_options(parser, arguments, {"repeats": 2})


def padded(source: Path, target: Path, size: int) -> Path:
    """A copy of a family whose models have at least `size` bytes."""
    shutil.copytree(source, target)
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    for model in manifest["models"].values():
        file, path = model["files"][0], target / model["files"][0]["name"]
        proto = onnx.load(path)
        proto.doc_string = "x" * max(0, size - path.stat().st_size)
        data = proto.SerializeToString()
        path.write_bytes(data)
        file |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        file.pop("blocks", None)
        model["needs"]["disk_bytes"] = sum(file["bytes"] for file in model["files"])
    (target / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return target


def launches(family: Path, options: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """Seconds of the first launch and of an offline one."""
    server = SiteServer(make_site(family, engine_folder(options.ort)))
    browser = Chromium(folder)
    try:
        browser.open(server.url)
        first, _ = ready_after(browser)
        browser.wait_for("navigator.serviceWorker.controller !== null", 60)
        server.close()
        browser.open(server.url)
        second, events = ready_after(browser)
    finally:
        browser.kill()
    if events != ["offline"]:
        raise RuntimeError(f"the second launch was not offline: {events}")
    log(f"first launch {first:.2f} s, offline {second:.2f} s")
    return first, second


def ready_after(browser: Chromium) -> tuple[float, list[str]]:
    """Seconds from the start of the navigation to the first result, and what happened, as the page states them."""
    browser.wait_for(DONE, 60)
    found = json.loads(browser.evaluate("JSON.stringify(window.measured)"))
    if found["error"]:
        raise RuntimeError(found["error"])
    return float(found["firstInference"]), found["launched"]["events"]


def spread(values: list[float]) -> dict[str, Any]:
    """The median and the range."""
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
