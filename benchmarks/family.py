"""Build a family, or read one, and print its table: costs, and accuracy of every exported file on the test images.

    python benchmarks/family.py
    python benchmarks/family.py --config configs/cifar10.yaml --folder /tmp/cifar10
    python benchmarks/family.py --family dist/digits

`--quick` builds the digits family with 1 epoch instead of 25, 8 scored subnets instead of 24, 1 trial instead of 3 per
target, and 3 targets instead of 8. Its accuracies are those of a model that is hardly trained.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from common import log, make_parser, parse_options, processor

from exports.family.evaluations import default_stores, evaluation_of
from exports.family.manifest import read_manifest
from exports.family.metric_change import paired_difference
from exports.family.records import Manifest, Model, Tier
from exports.family.verify import verify_family
from factory_base.errors import FactoryError, ManifestError
from factory_base.processors import usable_cores
from model_factory.build import build
from model_factory.config import shipped_configs
from model_factory.console import Console
from model_factory.run import DIGITS_CONFIG, Run, open_run
from model_factory.stages.cached import library_version

PPM = 1_000_000
"""The manifest states accuracies in parts per million."""

QUICK_TARGETS = ("speaker", "lowend_1gb", "flagship")
"""The smallest and the largest phone, and a device on another platform, so that the manifest has two platforms."""

LIBRARIES = ("torch", "onnxruntime", "optuna", "numpy")


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if the family cannot be built or fails `verify`."""
    options = parse(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the `factory` command does, before torch is imported
    try:
        with tempfile.TemporaryDirectory() as temporary:
            result = measure(options, Path(temporary))
    except FactoryError as error:
        log(f"error: {error}")
        return 1
    print_markdown(result)
    print(json.dumps(result))
    return 0 if result["verify_ok"] else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--config", type=Path, help="a config; default is the shipped config of the embedded digits")
    parser.add_argument("--family", type=Path, help="read this finished family instead of building one")
    parser.add_argument("--folder", type=Path, help="build in this folder and keep it; default is a temporary one")
    parser.add_argument("--seed", type=int, help="replace the config's seed, to see the spread")
    options = parse_options(parser, arguments, {})
    if options.family and (options.config or options.quick or options.folder or options.seed is not None):
        parser.error("--family reads a finished family, so it cannot be combined with other options; leave them out")
    if options.quick and options.config:
        parser.error("--quick has a config of its own, so it cannot be combined with --config; leave one of them out")
    return options


def measure(options: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Build or read a family, and collect all metrics. Raises `FactoryError`."""
    if options.family:
        family: Path = options.family
        built: dict[str, Any] = {"config": None, "seed": None, "threads": None, "seconds": None}
    else:
        run = make_run(options, temporary)
        seconds = build(run, Console()).seconds
        family = run.family_folder
        built = {
            "config": run.origin.name,
            "seed": run.config.seed,
            "threads": run.config.threads,
            "seconds": round(seconds, 1),
        }
    return {"benchmark": "family", "quick": options.quick, **built, **metrics(family), **environment()}


def make_run(options: argparse.Namespace, temporary: Path) -> Run:
    """The run of the chosen config, with `runs/` and `dist/` in `--folder` or in `temporary`. Raises `ConfigError`."""
    config: Path = options.config or shipped_configs() / DIGITS_CONFIG
    if options.quick:
        config = quick_config(config, temporary)
    run = open_run(config, config.resolve().parent)
    if options.seed is not None:
        run = replace(run, config=run.config.model_copy(update={"seed": options.seed}))
    base: Path = (options.folder or temporary).resolve()
    name = run.config.name
    return replace(run, base=base, folder=base / "runs" / name, family_folder=base / "dist" / name)


def quick_config(source: Path, folder: Path) -> Path:
    """Write the digits config with little training, few subnets and three targets into `folder`; its path."""
    value = yaml.safe_load(source.read_text(encoding="utf-8"))
    value["name"] = "digits-quick"
    # As little as leaves every stage something to do: 15 steps, and subnets of different sizes to choose among.
    value["training"]["epochs"] = 1
    value["search"] |= {"shared_subnets": 8, "trials_per_target": 1, "rounds": 1, "finalists": 2}
    value["targets"] = [target for target in value["targets"] if target["device"] in QUICK_TARGETS]
    path = folder / "quick.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path


def metrics(family: Path) -> dict[str, Any]:
    """Metrics from the files of the family. Raises `ManifestError`."""
    manifest = read_manifest(family)
    models = sorted(manifest.models.items(), key=lambda item: item[1].subnet.macs)
    (first, smallest), (last, largest) = models[0], models[-1]
    folder = family if family.is_dir() else family.parent
    found = evaluation_of(folder, manifest, default_stores(folder))
    if found is None:
        raise ManifestError(f"{folder}: has no evaluation, neither published nor in the run beside it")
    labels = found.labels
    correct = {name: found.predictions[name] == labels for name in (first, last)}
    change = asdict(paired_difference(correct[first], correct[last]))
    return {
        "family_id": manifest.family_id,
        "tiers": [row(manifest, tier) for tier in manifest.tiers if tier.rank],
        "distinct_models": len(models),
        "macs_ratio": round(largest.subnet.macs / smallest.subnet.macs, 2),
        "smallest_accuracy": accuracy(smallest),
        "largest_accuracy": accuracy(largest),
        "smallest_to_largest": {name: round(value, 5) for name, value in change.items()},
        "test_images": len(labels),
        "verify_ok": verify_family(family).ok,
    }


def row(manifest: Manifest, tier: Tier) -> dict[str, Any]:
    """The row of one tier, with the latency on its own device."""
    model = manifest.models[tier.models[0]]
    perf = next(perf for perf in model.perf if perf.device == tier.id)
    return {
        "tier": tier.id,
        "platform": tier.platform,
        "model": tier.models[0],
        "macs": model.subnet.macs,
        "test_accuracy": accuracy(model),
        "latency_us": perf.latency_us,
        "latency_basis": perf.basis,
        "peak_memory_bytes": model.needs.peak_memory_bytes,
        "file_bytes": sum(file.bytes for file in model.files),
    }


def accuracy(model: Model) -> float:
    """Accuracy of the exported file on the test images, in [0, 1]."""
    return model.quality.value_ppm / PPM


def environment() -> dict[str, Any]:
    """Machine and versions."""
    return {
        "cpu": processor(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "versions": {name: library_version(name) for name in LIBRARIES},
    }


def print_markdown(result: dict[str, Any]) -> None:
    """The table for `benchmarks/README.md`."""
    print("| tier | platform | MMACs | test accuracy | latency | peak memory | file | model |")
    print("|---|---|--:|--:|--:|--:|--:|---|")
    for tier in result["tiers"]:
        latency = f"{tier['latency_us'] / 1000:.2f} ms ({tier['latency_basis']})"
        memory, file = f"{tier['peak_memory_bytes'] / 2**20:.2f} MiB", f"{tier['file_bytes'] / 2**10:.0f} KiB"
        cells = tier["tier"], tier["platform"], f"{tier['macs'] / 1e6:.2f}", f"{tier['test_accuracy']:.2%}", latency
        print(f"| {' | '.join((*cells, memory, file, tier['model']))} |")
    change = result["smallest_to_largest"]
    print(
        f"\n{result['distinct_models']} distinct models, {result['macs_ratio']}x apart in MACs; smallest to largest "
        f"{change['mean']:+.2%} (95 % interval {change['low']:+.2%} to {change['high']:+.2%}, paired, "
        f"{result['test_images']} test images)\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
