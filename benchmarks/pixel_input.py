"""What files that take pixels cost: accuracy by resizing in integers, and time by the preprocessing in the graph.

    python benchmarks/pixel_input.py --folder /tmp/cifar10   # a finished build of configs/cifar10.yaml
    python benchmarks/pixel_input.py --quick                 # the time alone, in a few seconds

With `--quick`, 5 rounds instead of 40, and accuracies only if a folder is named.

The subnets are the models of the family, each at every resolution of the space that needs resizing, with the supernet's
weights. One column resizes as the training does, in float32, the other as apps do, in integers (`exports.resize`); the
network is the same. The time is that of one convolution with pixels as its input, less that of the same convolution
with a tensor, in ONNX Runtime with one thread: the median over rounds in which both run in turn.

Standard output ends with two Markdown tables and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import environment, log, make_parser, parse_options
from torch import nn

from exports.engines import get_engine
from exports.family.manifest import read_manifest
from exports.family.metric_change import paired_difference
from model_factory.console import Console
from model_factory.run import open_run
from model_factory.stages.materials import Materials
from supernet.data.types import LabelledImages
from supernet.pixels import PixelInput
from supernet.space import SubnetConfig

SIZES = (32, 64, 96, 128, 160, 224)
ROUNDS, RUNS = 40, 10
BATCH = 250
CALIBRATION_IMAGES = 2000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    torch.set_num_threads(1)
    times = [time_of(size, options.rounds) for size in SIZES]
    accuracies = [] if options.folder is None else accuracies_of(options)
    print_markdown(times, accuracies)
    print(json.dumps({"time": times, "accuracy": accuracies, "environment": environment(0)}))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--folder", type=Path, help="a folder with the finished build of a config `factory.yaml`")
    parser.add_argument("--models", type=int, help="use the first models of the family only")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of the timing")
    options = parse_options(parser, arguments, {"rounds": 5})
    if options.folder is None and not options.quick:
        parser.error("name the folder of a finished build with --folder, or use --quick")
    return options


def time_of(size: int, rounds: int) -> dict[str, Any]:
    """Microseconds that the preprocessing adds to a convolution of an image of `size`."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.Flatten()).eval()
    engine, generator = get_engine("onnxruntime"), np.random.default_rng(0)
    pixels = generator.integers(0, 256, (1, size, size, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        with_pixels, with_tensor = Path(folder) / "pixels.onnx", Path(folder) / "tensor.onnx"
        engine.convert(PixelInput(network, MEAN, STD), (size, size, 3), with_pixels, input_type="uint8")
        engine.convert(network, (3, size, size), with_tensor)
        tensor = generator.normal(size=(1, 3, size, size)).astype(np.float32)
        forms = [(engine.load(with_pixels, 1), pixels), (engine.load(with_tensor, 1), tensor)]
        rows = [[once_us(session, batch) for session, batch in forms] for _ in range(rounds)]
    added = [first - second for first, second in rows]
    quartiles = statistics.quantiles(added, n=4)
    return {"size": size, "tensor_us": statistics.median(row[1] for row in rows), "added_us": quartiles[1],
            "added_us_quartiles": [quartiles[0], quartiles[2]]}  # fmt: skip


def once_us(session: Any, batch: Any) -> float:
    """Microseconds of a run, over `RUNS` of them."""
    start = time.perf_counter_ns()
    for _ in range(RUNS):
        session.run(batch)
    return (time.perf_counter_ns() - start) / 1e3 / RUNS


def accuracies_of(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The accuracy of every model of the family at every resolution, with both kinds of resizing."""
    run = open_run(options.folder / "factory.yaml", options.folder)
    materials = Materials(run, Console(), None)
    manifest = read_manifest(run.family_folder)
    values = {name: dict(model.subnet.values) for name, model in manifest.models.items()}
    (resolutions,) = [choice.options for choice in materials.model_space.space if choice.name == "resolution"]
    found = []
    for name, own in list(values.items())[: options.models]:
        for resolution in (size for size in resolutions if size != run.config.data.image_size):
            subnet = materials.model_space.space.subnet({**own, "resolution": resolution})
            network = materials.calibrated(subnet, CALIBRATION_IMAGES)
            for split, images in (("held-out", materials.splits.heldout), ("test", materials.splits.test)):
                row = compared(materials, network, subnet, images)
                log(f"{name} at {resolution}, {split}: {row}")
                found.append({"model": name, "resolution": resolution, "own": own["resolution"] == resolution,
                              "split": split, **row})  # fmt: skip
    return found


def compared(materials: Materials, network: nn.Module, subnet: SubnetConfig, split: LabelledImages) -> dict[str, Any]:
    """Predictions with both kinds of resizing on one split."""
    from supernet.data.examples import ExampleInputs

    tensors = ExampleInputs(materials.examples(split), materials.model_space.input_shape(subnet))
    pixels = materials.pixels(split, subnet)
    wrapped = PixelInput(network, materials.splits.mean, materials.splits.std)
    parts = [slice(start, start + BATCH) for start in range(0, len(split), BATCH)]
    with torch.inference_mode():
        by_float = torch.cat([network(tensors[part]).argmax(1) for part in parts]).numpy()
        by_integers = torch.cat([wrapped(torch.from_numpy(pixels[part])).argmax(1) for part in parts]).numpy()
    change = paired_difference(by_float == split.labels, by_integers == split.labels)
    return {
        "accuracy": float((by_float == split.labels).mean()),
        "change": change.mean,
        "interval": [change.low, change.high],
        "agreement": float((by_float == by_integers).mean()),
    }


def print_markdown(times: list[dict[str, Any]], accuracies: list[dict[str, Any]]) -> None:
    """Print both tables."""
    print("| pixels | convolution with a tensor | added by the preprocessing (quartiles) |\n|---|---|---|")
    for row in times:
        low, high = row["added_us_quartiles"]
        print(f"| {row['size']} | {row['tensor_us']:.1f} us | {row['added_us']:.1f} us ({low:.1f} to {high:.1f}) |")
    print("\n| model | resolution | images | accuracy in float32 | change in integers | same class |")
    print("|---|---|---|---|---|---|")
    for row in accuracies:
        low, high = (f"{100 * value:+.2f}" for value in row["interval"])
        print(
            f"| {row['model']}{'' if row['own'] else ' (moved)'} | {row['resolution']} | {row['split']} | "
            f"{100 * row['accuracy']:.2f} % | {100 * row['change']:+.2f} points ({low} to {high}) | "
            f"{100 * row['agreement']:.2f} % |"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
