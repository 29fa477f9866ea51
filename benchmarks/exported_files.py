"""Measure the exported files of a family: parity, what int8 costs, what precision as a choice gains, time and latency.

    python benchmarks/exported_files.py --config DIR/factory.yaml
    python benchmarks/exported_files.py --config DIR/factory.yaml --hard-swish DIR2/factory.yaml --profile HOST.yaml

The configs name finished builds on images; that of `--hard-swish` has a space with hard-swish and squeeze-excite. The
tiers of a build are recalibrated, exported in each precision, and compared on the test images with their PyTorch
modules (fp32, fp16) or in pairs with their fp32 files (int8, with the remedies that held-out images call for, but
without fine-tuning). The last line is a JSON object with, for the worst tier unless it says otherwise:

`fp32`, `fp16`    `max_difference` of a logit to PyTorch over the range of the logits, and `agreement` of the top-1
                  class
`int8`            `mean_drop` over the tiers and `worst_drop` in points, with its 95 % interval; `hard_swish` likewise
`latency_ratio`   our fp32 file over the file that plain `torch.onnx.export` writes of the same module, interleaved in
                  one process: median over the tiers, with the extremes
`export_seconds`  from the module to a proven file, without its accuracy on held-out and test images: largest, by
                  precision
`gain_points`     mean test accuracy of the files if the search may choose int8, fp16 and fp32, minus that if it has
                  fp32 alone; targets with the latencies of the tiers in fp32 as budgets. Only with `--profile`, a
                  profile of this machine that was measured in fp32 and int8 for this space. Nothing is trained

`--quick` measures one tier on 200 images in 5 rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import environment, log, make_parser, measured, parse_options
from exported_gain import measure_gain
from numpy.typing import NDArray

from device_profiles.engine import ModelInput, Precision
from exports.engines import get_engine
from exports.exporters import get_exporter
from exports.family.manifest import read_manifest
from exports.family.metric_change import paired_difference
from model_factory.console import Console
from model_factory.run import Run, open_run
from model_factory.stages.files import convert_options
from model_factory.stages.materials import Materials
from search.variant import Variant
from supernet.space import SubnetConfig

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

PROOF_IMAGES = 128
"""Held-out images of a proof, as in a build."""

RUNS_PER_VISIT = 20
"""Runs of a session before the other one's turn: some ms, in which the load of the machine hardly changes."""

WARM_UP_RUNS = 5
"""Runs before the timed ones of a visit, which find the caches filled with the other session's data."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tier:
    """A model of the family.

    Attributes:
        name: The id of the model in the manifest.
        subnet: Its subnet.
        module: What its file computes: the recalibrated network, with the preprocessing if files take pixels.
        images: Test images as inputs of its file, (n, *input_shape).
        labels: Their classes, (n,).
    """

    name: str
    subnet: SubnetConfig
    module: Any
    images: ModelInput
    labels: NDArray[np.integer]


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if a build cannot be read or a file cannot be made."""
    options = parse(arguments)
    result = measured(measure, options)
    if result is None:
        return 1
    print_markdown(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the config of a finished build")
    parser.add_argument("--hard-swish", type=Path, help="the config of a finished build with hard-swish")
    parser.add_argument("--profile", type=Path, help="a profile of this machine with tables for fp32 and int8")
    parser.add_argument("--tiers", type=int, default=5, help="number of tiers, the largest ones (default 5)")
    parser.add_argument("--images", type=int, default=10_000, help="number of test images (default 10000)")
    parser.add_argument("--rounds", type=int, default=100, help="rounds of interleaved timing (default 100)")
    return parse_options(parser, arguments, {"tiers": 1, "images": 200, "rounds": 5})


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure everything. Raises `FactoryError`."""
    import torch

    torch.set_num_threads(1)
    run = open_run(options.config, options.config.resolve().parent)
    result = {
        "benchmark": "exported_files",
        "quick": options.quick,
        **measure_family(run, options, folder / "family", timed=True),
    }
    if options.hard_swish:
        other = open_run(options.hard_swish, options.hard_swish.resolve().parent)
        result["hard_swish"] = measure_family(other, options, folder / "hard_swish", timed=False)["int8"]
    if options.profile:
        result |= measure_gain(run, options.profile, folder / "gain", options.tiers)
    return {**result, **environment(run.config.seed)}


def measure_family(run: Run, options: argparse.Namespace, folder: Path, *, timed: bool) -> dict[str, Any]:
    """Parity and losses of the tiers of one build, and with `timed` their latency. Raises `FactoryError`."""
    folder.mkdir(parents=True)
    materials = Materials(run, Console())
    rows = [measure_tier(tier, run, materials, options, folder, timed) for tier in tiers_of(run, materials, options)]
    result: dict[str, Any] = {
        "tiers": rows,
        "images": rows[0]["images"],
        **{precision: worst_parity(rows, precision) for precision in ("fp32", "fp16")},
        "int8": losses(rows),
        "export_seconds": {p: max(row["export_seconds"][p] for row in rows) for p in PRECISIONS},
    }
    if timed:
        result["latency_ratio"] = spread([row["latency_ratio"] for row in rows])
    return result


def tiers_of(run: Run, materials: Materials, options: argparse.Namespace) -> list[Tier]:
    """The models of the family, the largest first. Raises `FactoryError`."""
    models = sorted(read_manifest(run.family_folder).models.items(), key=lambda item: -item[1].subnet.macs)
    tiers = []
    for name, model in models[: options.tiers]:
        subnet = materials.model_space.space.subnet(model.subnet.values)
        tiers.append(
            Tier(
                name=name,
                subnet=subnet,
                module=materials.file_module(materials.calibrated(subnet, run.config.search.calibration_images)),
                images=materials.inputs(materials.splits.test, subnet)[: options.images],
                labels=materials.splits.test.labels[: options.images],
            )
        )
    return tiers


def measure_tier(
    tier: Tier, run: Run, materials: Materials, options: argparse.Namespace, folder: Path, timed: bool
) -> dict[str, Any]:
    """All figures of one tier."""
    log(f"measure {tier.name}")
    exporter = get_exporter("onnxruntime", **run.config.export.engine_options())
    shape = materials.file_input_shape(tier.subnet)
    proof_images = materials.heldout_inputs(tier.subnet)[0][:PROOF_IMAGES]
    paths = {precision: folder / f"{tier.name}-{precision}.onnx" for precision in PRECISIONS}
    seconds, attempts = {}, {}
    for precision, path in paths.items():
        wanted = convert_options(run, materials, Variant(subnet=tier.subnet, precision=precision))
        start = time.perf_counter()
        exporter.convert(tier.module, shape, path, replace(wanted, check=None))
        exporter.prove(tier.module, path, precision, proof_images, 1)
        seconds[precision] = round(time.perf_counter() - start, 2)
        if wanted.check is not None:  # the accuracy on held-out images, and remedies
            attempts[precision] = len(exporter.convert(tier.module, shape, path, wanted).attempts)
    logits = {precision: outputs(path, tier.images) for precision, path in paths.items()}
    row: dict[str, Any] = {
        "tier": tier.name,
        "images": len(tier.images),
        "bytes": {precision: path.stat().st_size for precision, path in paths.items()},
        "accuracy": {p: round(float((found.argmax(1) == tier.labels).mean()), 5) for p, found in logits.items()},
        "export_seconds": seconds,
        "attempts": attempts["int8"],
        "drop": drop(logits["fp32"], logits["int8"], tier.labels),
        **parities(tier, logits),
    }
    if timed:
        plain = folder / f"{tier.name}-plain.onnx"
        export_plainly(tier, plain)
        row["latency_ratio"] = latency_ratio(paths["fp32"], plain, tier.images[:1], options.rounds)
    return row


def parities(tier: Tier, logits: dict[Precision, NDArray[np.float32]]) -> dict[str, Any]:
    """The float files compared with PyTorch."""
    import torch

    parts = np.array_split(tier.images, max(1, len(tier.images) // 256))
    with torch.inference_mode():
        reference = np.concatenate([tier.module(torch.from_numpy(part)).numpy() for part in parts])
    span = float(reference.max() - reference.min())
    return {
        precision: {
            "max_difference": float(np.abs(logits[precision] - reference).max()) / span,
            "agreement": float((logits[precision].argmax(1) == reference.argmax(1)).mean()),
        }
        for precision in ("fp32", "fp16")
    }


def drop(reference: NDArray[np.float32], found: NDArray[np.float32], labels: NDArray[np.integer]) -> dict[str, float]:
    """How many points fewer the second file labels correctly, with the 95 % interval of the paired difference."""
    change = paired_difference(reference.argmax(1) == labels, found.argmax(1) == labels)
    return {
        name: round(-100 * value, 3) for name, value in zip(POINTS, (change.mean, change.high, change.low), strict=True)
    }


POINTS = ("points", "low", "high")


def losses(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean and the worst loss of accuracy of int8 over all tiers."""
    worst = max((row["drop"] for row in rows), key=lambda found: found["points"])
    return {
        "mean_drop": round(statistics.mean(row["drop"]["points"] for row in rows), 3),
        "worst_drop": worst["points"],
        "worst_low": worst["low"],
        "worst_high": worst["high"],
        "drops": [row["drop"]["points"] for row in rows],
        "attempts": [row["attempts"] for row in rows],
    }


def worst_parity(rows: Sequence[dict[str, Any]], precision: Precision) -> dict[str, float]:
    """The largest difference and the lowest agreement over all tiers."""
    return {
        "max_difference": max(row[precision]["max_difference"] for row in rows),
        "agreement": min(row[precision]["agreement"] for row in rows),
    }


def outputs(path: Path, images: ModelInput) -> NDArray[np.float32]:
    """The logits of a file, (n, classes)."""
    return get_engine("onnxruntime").load(path, 1).run(images)


def export_plainly(tier: Tier, path: Path) -> None:
    """Write the file that PyTorch's exporter writes by default."""
    import torch

    from exports.onnx.onnx_file import quiet

    with quiet():
        torch.onnx.export(
            tier.module, (torch.from_numpy(tier.images[:1]),), path, dynamo=True, verbose=False, input_names=["image"]
        )


def latency_ratio(ours: Path, plain: Path, image: ModelInput, rounds: int) -> float:
    """The median over the rounds of the latency of our file over that of the plain one; they take turns."""
    sessions = {name: get_engine("onnxruntime").load(path, 1) for name, path in (("ours", ours), ("plain", plain))}
    ratios = []
    for number in range(rounds):
        names = sorted(sessions, reverse=bool(number % 2))
        taken = {name: visit(lambda name=name: sessions[name].run(image)) for name in names}
        ratios.append(taken["ours"] / taken["plain"])
    return round(statistics.median(ratios), 4)


def visit(run: Callable[[], Any]) -> float:
    """The median seconds of a run in one visit."""
    seconds = []
    for number in range(WARM_UP_RUNS + RUNS_PER_VISIT):
        start = time.perf_counter()
        run()
        if number >= WARM_UP_RUNS:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Smallest, median and largest value."""
    return {"min": min(values), "median": round(statistics.median(values), 4), "max": max(values)}


def print_markdown(result: dict[str, Any]) -> None:
    """The table for `benchmarks/README.md`."""
    print("| tier | fp32 | int8 | accuracy | int8 drop in points (95 % interval) | fp16 difference | latency ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for row in result["tiers"]:
        found = row["drop"]
        cells = (
            row["tier"], f"{row['bytes']['fp32'] / 1e3:.0f} kB", f"{row['bytes']['int8'] / 1e3:.0f} kB",
            f"{row['accuracy']['fp32']:.2%}", f"{found['points']:+.2f} ({found['low']:+.2f} to {found['high']:+.2f})",
            f"{row['fp16']['max_difference']:.1e}", f"{row.get('latency_ratio', 0):.3f}",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |")
    print()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
