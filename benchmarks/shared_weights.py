"""Measure one weights file for all tiers of a family against a file for each tier.

    python benchmarks/shared_weights.py --config DIR/factory.yaml

The config names a finished build. Its picks are extracted, recalibrated and exported in fp32 and int8, both as separate
files and as one weights file with a graph for each tier. The last line is a JSON object that has, for each precision:

`bytes_ratio`     the weights file and all graphs together, over the separate file of the largest tier;
                  `compact_ratio` is over what the largest tier takes in the shared form if it is alone
`max_difference`  largest difference of a logit on the test images between the two forms, over the range of the tier's
                  logits; the worst tier
`latency_ratio`   shared over separate, interleaved in one process: median over the tiers, with the extremes
`load_ratio`      the same for the time from a file to a session that is ready
`switch_bytes`    bytes of weights that an app with the weights file downloads to change from any tier to any other:
                  the sizes of all other external files that a graph reads. The graphs, which `bytes_ratio` counts,
                  are not weights; an app that fetches them one by one downloads the size in `graph_bytes`
`drop_points`     for int8: loss of test accuracy against the fp32 file, in points, of the separate and the shared file

`--quick` measures two tiers on 200 images in 5 rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import environment, log, make_parser, measured, parse_options
from numpy.typing import NDArray

from device_profiles.engine import ModelInput, Session
from exports.engines import get_engine
from exports.family.manifest import read_manifest
from exports.onnx.onnx_file import export_onnx, read_onnx
from exports.onnx.quantising.precision import convert_precision
from exports.onnx.shared_weights import SharedFiles, SharedTier, share_weights, supernet_values, tier_plans
from model_factory.console import Console
from model_factory.run import Run, open_run
from model_factory.stages.materials import CALIBRATION_IMAGES, Materials
from supernet.space import SubnetConfig

PRECISIONS = ("fp32", "int8")

RUNS_PER_VISIT = 20
"""Runs of a session before the other one's turn: some ms, in which the load of the machine hardly changes."""

WARM_UP_RUNS = 5
"""Runs before the timed ones of a visit, which find the caches filled with the other session's data."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pick:
    """A tier of the family, exported as files of its own.

    Attributes:
        name: Its model in the manifest.
        files: Its file in each precision, with the slices of the supernet that it is.
        images: Test images as its inputs, (n, *input_shape).
        labels: Their classes, (n,).
    """

    name: str
    files: dict[str, SharedTier]
    images: ModelInput
    labels: NDArray[np.integer]


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if the build cannot be read or a file cannot be made."""
    options = parse(arguments)
    result = measured(measure, options)
    if result is None:
        return 1
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the config of a finished build")
    parser.add_argument("--tiers", type=int, default=5, help="number of tiers, the largest ones (default 5)")
    parser.add_argument("--images", type=int, default=10_000, help="number of test images (default 10000)")
    parser.add_argument("--rounds", type=int, default=100, help="rounds of interleaved timing (default 100)")
    return parse_options(parser, arguments, {"tiers": 2, "images": 200, "rounds": 5})


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Export the picks in both forms, and compare them. Raises `FactoryError`."""
    import torch

    torch.set_num_threads(1)
    run = open_run(options.config, options.config.resolve().parent)
    materials = Materials(run, Console())
    picks = export(run, materials, options, folder)
    full = supernet_values(materials.supernet)
    scale, rounds = materials.input_scale, options.rounds
    results = {precision: compare(picks, precision, full, scale, folder, rounds) for precision in PRECISIONS}
    return {
        "benchmark": "shared_weights",
        "quick": options.quick,
        "tiers": len(picks),
        "engine_threads": 1,
        "images": min(len(pick.images) for pick in picks),
        **results,
        **environment(run.config.seed),
    }


def export(run: Run, materials: Materials, options: argparse.Namespace, folder: Path) -> list[Pick]:
    """The picks of the family, the largest first, each exported as files of its own. Raises `FactoryError`."""
    models = sorted(read_manifest(run.family_folder).models.items(), key=lambda item: -item[1].subnet.macs)
    picks = []
    for name, model in models[: options.tiers]:
        log(f"export {name}")
        subnet = materials.model_space.space.subnet(model.subnet.values)
        images = materials.inputs(materials.splits.test, subnet)[: options.images]
        files = export_files(run, materials, subnet, folder / name)
        labels = materials.splits.test.labels[: len(images)]
        picks.append(Pick(name=name, files=files, images=images, labels=labels))
    return picks


def export_files(run: Run, materials: Materials, subnet: SubnetConfig, stem: Path) -> dict[str, SharedTier]:
    """Separate files of a subnet in fp32 and int8."""
    module = materials.file_module(materials.calibrated(subnet, run.config.search.calibration_images))
    shape = materials.file_input_shape(subnet)
    paths = {precision: stem.with_suffix(f".{precision}.onnx") for precision in PRECISIONS}
    export_onnx(module, shape, paths["fp32"], input_type=materials.file_input_type)
    calibration = materials.calibration_inputs(subnet, CALIBRATION_IMAGES)
    convert_precision(paths["fp32"], paths["int8"], "int8", calibration, None)
    plans = tier_plans(materials.supernet, subnet)
    source = {"fp32": None, "int8": paths["fp32"]}
    return {
        precision: SharedTier(name=stem.name, path=path, plans=plans, source=source[precision])
        for precision, path in paths.items()
    }


def compare(
    picks: Sequence[Pick],
    precision: str,
    full: dict[str, NDArray[np.float32]],
    scale: Sequence[float],
    folder: Path,
    rounds: int,
) -> dict[str, Any]:
    """All figures of one precision."""
    tiers = [pick.files[precision] for pick in picks]
    shared = share_weights(tiers, full, folder, scale)
    sizes = [tier.path.stat().st_size for tier in tiers]
    alone = share_weights([tiers[sizes.index(max(sizes))]], full, folder, scale)
    rows = [compare_tier(pick, precision, shared, rounds) for pick in picks]
    result = {
        "bytes_ratio": round(shared.bytes / max(sizes), 4),
        "compact_ratio": round(shared.bytes / alone.bytes, 4),
        "separate_ratio": round(sum(sizes) / max(sizes), 4),
        "separate_bytes": sizes,
        "weights_bytes": shared.weights_bytes,
        "graph_bytes": [shared.graphs[pick.name].bytes for pick in picks],
        "max_difference": max(row["difference"] for row in rows),
        "top1_agreement": min(row["agreement"] for row in rows),
        "latency_ratio": spread([row["latency_ratio"] for row in rows]),
        "load_ratio": spread([row["load_ratio"] for row in rows]),
        "load_ms": [row["load_ms"] for row in rows],
        "switch_bytes": switch_bytes(shared),
        "own_weights": sum(len(graph.own) for graph in shared.graphs.values()),
    }
    return result if precision == "fp32" else {**result, "drop_points": [row["drop_points"] for row in rows]}


def compare_tier(pick: Pick, precision: str, shared: SharedFiles, rounds: int) -> dict[str, Any]:
    """Outputs, latency and load time of one tier in both forms."""
    log(f"compare {pick.name} in {precision}")
    engine = get_engine("onnxruntime")
    paths = pick.files[precision].path, shared.graphs[pick.name].path
    sessions = [engine.load(path, 1) for path in paths]
    reference, *logits = (session.run(pick.images) for session in (engine.load(pick.files["fp32"].path, 1), *sessions))
    latency = interleaved([partial(visit, session, pick.images[:1]) for session in sessions], rounds)
    load = interleaved([partial(timed, partial(engine.load, path, 1)) for path in paths], rounds)
    classes = [output.argmax(axis=1) for output in (reference, *logits)]
    right = [float((found == pick.labels).mean()) for found in classes]
    return {
        "difference": float(np.abs(logits[1] - logits[0]).max() / np.ptp(logits[0])),
        "agreement": float((classes[2] == classes[1]).mean()),
        "drop_points": [round(100 * (right[0] - accuracy), 2) for accuracy in right[1:]],
        "latency_ratio": statistics.median(second / first for first, second in latency),
        "load_ratio": statistics.median(second / first for first, second in load),
        "load_ms": [round(1e3 * statistics.median(times), 2) for times in zip(*load, strict=True)],
    }


def visit(session: Session, image: ModelInput) -> float:
    """Seconds of a run: the median of one visit."""
    for _ in range(WARM_UP_RUNS):
        session.run(image)
    return statistics.median(timed(partial(session.run, image)) for _ in range(RUNS_PER_VISIT))


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleaved(measures: Sequence[Callable[[], float]], rounds: int) -> list[tuple[float, float]]:
    """Times of two sides, one pair per round; the sides take turns in being first."""
    pairs = []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        times = {side: measures[side]() for side in order}
        pairs.append((times[0], times[1]))
    return pairs


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median of the tiers and the extremes."""
    figures = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(value, 3) for name, value in figures.items()}


def switch_bytes(shared: SharedFiles) -> int:
    """Bytes of external files that a graph reads and that an app with the weights file does not have."""
    locations = {
        entry.value
        for graph in shared.graphs.values()
        for tensor in read_onnx(graph.path).graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sum((shared.weights.parent / name).stat().st_size for name in locations - {shared.weights.name})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
