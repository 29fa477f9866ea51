"""How well does fake quantisation predict the held-out accuracy of an int8 file, and what does it cost?

    python benchmarks/fake_quantisation.py --config PATH/factory.yaml --subnets 8

For every subnet of a finished family, and for some random subnets of its space, on the same held-out images: accuracy
of the network in float32, of the network with fake quantisation, and of its int8 file in ONNX Runtime.
`error_points` is the mean over the subnets of |accuracy with fake quantisation - accuracy of the file|, in percentage
points, `bias_points` the mean without the absolute value, and `agreement` the share of images for which both predict
the same class. `time_ratio` is the CPU time of a score with fake quantisation, calibration of ranges included, over
that of a score in float32; both without recalibration, on one thread.

`--quick` builds the digits family with little training and measures its subnets alone.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import environment, log, make_parser, measured, parse_options
from family import make_run
from numpy.typing import NDArray

from exports.engines import get_engine
from exports.family.manifest import read_manifest
from exports.family.metric_change import paired_difference
from factory_base.errors import FactoryError
from model_factory.build import build
from model_factory.console import Console
from model_factory.run import Run, open_run
from model_factory.stages.calibrate import calibrate_stage
from model_factory.stages.materials import CALIBRATION_IMAGES, Materials
from model_factory.stages.train import finished_training
from supernet.data.examples import ExampleInputs
from supernet.evaluation.calibration import seeded_rows
from supernet.evaluation.evaluation import predict
from supernet.quantisation.fake import fake_quantised
from supernet.space import SubnetConfig

POINTS = 100
"""Percentage points in an accuracy of 1."""


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if the family cannot be read or built."""
    options = parse(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the `factory` command does
    result = measured(measure, options)
    if result is None:
        return 1
    print_markdown(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--config", type=Path, help="the config of a finished build; by default the digits are built")
    parser.add_argument("--subnets", type=int, default=0, help="random subnets beside those of the family")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random subnets")
    parser.add_argument(
        "--calibration", type=int, default=CALIBRATION_IMAGES, help="training images from which ranges are found"
    )
    options = parse_options(parser, arguments, {})
    if options.quick and options.config:
        parser.error("--quick has a config of its own, so it cannot be combined with --config; leave one of them out")
    return options


def measure(options: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Score every subnet in float32, with fake quantisation, and as a file. Raises `FactoryError`."""
    console = Console()
    run = open_run(options.config, options.config.resolve().parent) if options.config else built(options, temporary)
    trained = finished_training(run, console, may_train=False)
    if trained is None:
        raise FactoryError(f"{run.origin}: has no finished build; run `factory build` first")
    materials = Materials(run, console, trained.data)
    images = calibrate_stage(run, materials, console, trained)
    space, rng = materials.model_space.space, random.Random(options.seed)
    _ = materials.splits
    torch.set_num_threads(1)  # after the model space and the images, which set the threads of the config
    chosen = [space.subnet(model.subnet.values) for model in read_manifest(run.family_folder).models.values()]
    chosen += [space.sample(rng) for _ in range(options.subnets)]
    rows = []
    for subnet in dict.fromkeys(chosen):
        log(f"subnet {subnet.id}")
        rows.append(row(materials, subnet, images, options, temporary))
    errors = np.array([r["fake_points"] - r["file_points"] for r in rows])
    drops = np.array([r["fp32_points"] - r["file_points"] for r in rows])
    return {
        "benchmark": "fake_quantisation",
        "quick": options.quick,
        "subnets": rows,
        "images": len(materials.splits.heldout),
        "error_points": round(float(np.abs(errors).mean()), 3),
        "largest_error_points": round(float(np.abs(errors).max()), 3),
        "bias_points": round(float(errors.mean()), 3),
        "mean_drop_points": round(float(drops.mean()), 3),
        "agreement": round(float(np.mean([r["agreement"] for r in rows])), 4),
        "time_ratio": round(float(np.median([r["fake_seconds"] / r["fp32_seconds"] for r in rows])), 3),
        **environment(options.seed),
    }


def built(options: argparse.Namespace, temporary: Path) -> Run:
    """The digits family, built in a temporary folder. Raises `FactoryError`."""
    run = make_run(argparse.Namespace(**vars(options), folder=None), temporary)
    build(run, Console())
    return run


def row(
    materials: Materials, subnet: SubnetConfig, images: int, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """The scores of one subnet on the held-out images, in percent, and their durations."""
    shape = materials.model_space.input_shape(subnet)
    heldout = ExampleInputs(materials.examples(materials.splits.heldout), shape)
    labels = materials.splits.heldout.labels
    module = materials.calibrated(subnet, images)
    calibration = training_inputs(materials, subnet, options.calibration, options.seed)
    exact, exact_seconds = timed(lambda: predict(module, heldout))
    fake, fake_seconds = timed(lambda: predict(fake_quantised(module, calibration), heldout))
    of_file = file_predictions(module, calibration[:].numpy(), heldout, folder / "int8.onnx")
    change = paired_difference(of_file == labels, fake == labels)
    return {
        "subnet": subnet.id,
        "fp32_points": points(exact == labels),
        "fake_points": points(fake == labels),
        "file_points": points(of_file == labels),
        "error_low": round(POINTS * change.low, 3),
        "error_high": round(POINTS * change.high, 3),
        "agreement": round(float((fake == of_file).mean()), 4),
        "fp32_agreement": round(float((exact == of_file).mean()), 4),
        "fp32_seconds": round(exact_seconds, 3),
        "fake_seconds": round(fake_seconds, 3),
    }


def training_inputs(materials: Materials, subnet: SubnetConfig, count: int, seed: int) -> ExampleInputs:
    """`count` random training images as inputs of the subnet, without augmentation."""
    train = materials.examples(materials.splits.train)
    return ExampleInputs(train, materials.model_space.input_shape(subnet), seeded_rows(len(train), count, seed))


def file_predictions(
    module: torch.nn.Module, calibration: NDArray[np.float32], inputs: ExampleInputs, path: Path
) -> NDArray[np.int64]:
    """The classes that the int8 file of `module` predicts."""
    engine = get_engine("onnxruntime")
    engine.convert(module, calibration.shape[1:], path, precision="int8", calibration=calibration)
    session = engine.load(path, 1)
    batches = (inputs[start : start + 256].numpy() for start in range(0, len(inputs), 256))
    return np.concatenate([session.run(np.ascontiguousarray(batch)) for batch in batches]).argmax(1)


def timed(compute: Callable[[], NDArray[np.int64]]) -> tuple[NDArray[np.int64], float]:
    """A result and the CPU seconds that it took, which other work on the machine changes less than wall-clock time."""
    started = time.process_time()
    result = compute()
    return result, time.process_time() - started


def points(correct: NDArray[np.bool_]) -> float:
    """An accuracy in percent."""
    return round(POINTS * float(correct.mean()), 3)


def print_markdown(result: dict[str, Any]) -> None:
    """The table for `benchmarks/README.md`."""
    print("| subnet | float32 | fake | file | fake - file | agreement | seconds: float32 | fake |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for r in result["subnets"]:
        error = f"{r['fake_points'] - r['file_points']:+.2f} ({r['error_low']:+.2f} to {r['error_high']:+.2f})"
        scores = f"{r['fp32_points']:.2f} %", f"{r['fake_points']:.2f} %", f"{r['file_points']:.2f} %"
        cells = r["subnet"], *scores, error, f"{r['agreement']:.2%}", r["fp32_seconds"], r["fake_seconds"]
        print(f"| {' | '.join(map(str, cells))} |")
    print()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
