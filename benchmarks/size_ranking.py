"""Train a supernet and score random subnets of all sizes and resolutions: do larger ones score better than small ones?

    python benchmarks/size_ranking.py --seeds 0 1 2
    python benchmarks/size_ranking.py --model '{"resolutions": [16]}' --training '{"epochs": 40}'

For every resolution of the space, subnets are drawn at levels that are evenly spread from the smallest to the largest
(`SearchSpace.sample_near`), so that all sizes occur at all resolutions. Each is recalibrated as the search does it, and
scored on training, held-out and test images without augmentation. A low accuracy on training images is not a matter of
generalisation: such subnets were trained too little, or what they need contradicts what other subnets need.

The table has one row per half decade of MACs: the number of subnets, their mean and lowest held-out accuracy, the mean
on training images, and the test accuracy of the subnet that is best on held-out images. `shortfall_points` is how far
the worst of these held-out means is below the smallest network; at or below 0 no size is worse than the smallest.

`--quick` trains one seed for 1 epoch instead of 25 and scores 2 subnets per resolution instead of 12.

Standard output ends with Markdown tables and, as its last line, one JSON object. The seed decides weights, order of the
examples, random subnets and the held-out images; the scored subnets are the same for all seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from common import environment, log, make_parser, parse_options

from factory_base.errors import FactoryError
from model_factory.config import FactoryConfig, load_config, shipped_configs
from model_factory.run import DIGITS_CONFIG
from supernet.data.examples import ExampleInputs
from supernet.data.image_examples import ImageExamples, image_examples
from supernet.data.sources import load_splits
from supernet.data.types import Splits
from supernet.evaluation.calibration import seeded_rows
from supernet.evaluation.evaluation import accuracy, recalibrate
from supernet.planning.memory import keep_freed_memory
from supernet.sharing.macs import count_macs
from supernet.sharing.supernet import Supernet
from supernet.space import SearchSpace, SubnetConfig
from supernet.spaces import make_model_space
from supernet.training.training import train

SECTIONS = ("data", "model", "training")
"""Sections of the config that options may change."""

BANDS_A_DECADE = 2

QUICK = {"seeds": [0], "subnets": 2, "training": {"epochs": 1}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A scored subnet: `accuracies` in [0, 1] by split."""

    seed: int
    resolution: int
    macs: int
    accuracies: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResults:
    """What one training run gives."""

    smallest: Result
    largest: Result
    random: tuple[Result, ...]
    training_cpu_seconds: float


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if the supernet cannot be trained."""
    options = parse(arguments)
    keep_freed_memory()
    try:
        config = changed_config(options)
        torch.set_num_threads(options.threads or config.threads)
        seeds = [measure(config, seed, options) for seed in options.seeds]
    except FactoryError as error:
        log(f"error: {error}")
        return 1
    result = {
        "benchmark": "size_ranking",
        "quick": options.quick,
        "config": options.config.name,
        **{section: getattr(options, section) for section in SECTIONS},
        **summary(seeds),
        **environment(options.seeds[0]),
        "seeds": options.seeds,
    }
    print_markdown(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--config", type=Path, default=shipped_configs() / DIGITS_CONFIG, help="default: the digits")
    for section in SECTIONS:
        parser.add_argument(f"--{section}", type=json.loads, default={}, help="changes to this section, as JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--subnets", type=int, default=12, help="random subnets per resolution")
    parser.add_argument("--threads", type=int, help="default: those of the config")
    options = parse_options(parser, arguments, QUICK)
    if options.subnets < 2 or min(options.seeds) < 0 or (options.threads or 1) < 1:
        parser.error("--subnets must be at least 2, --threads at least 1, --seeds at least 0")
    return options


def changed_config(options: argparse.Namespace) -> FactoryConfig:
    """The config with the changes of the command line. Raises `ConfigError`."""
    changes = {section: getattr(options, section) for section in SECTIONS}
    value = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    for section, change in changes.items():
        value[section] |= change
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / options.config.name
        path.write_text(yaml.safe_dump(value), encoding="utf-8")
        return load_config(path)


def measure(config: FactoryConfig, seed: int, options: argparse.Namespace) -> SeedResults:
    """Train with `seed`, and score the smallest, the largest and random subnets. Raises `FactoryError`."""
    folder = options.config.resolve().parent
    splits = load_splits(config.data, folder, seed)
    model_space = make_model_space(config.model, len(splits.class_names), folder)
    supernet = Supernet(model_space, seed=seed)
    started = time.process_time()
    trained(supernet, config, splits, seed)
    seconds = time.process_time() - started
    score = scorer(supernet, splits, config.search.calibration_images, seed)
    space = model_space.space
    found = SeedResults(
        smallest=score(space.smallest),
        largest=score(space.largest),
        random=tuple(score(subnet) for subnet in random_subnets(space, options.subnets)),
        training_cpu_seconds=seconds,
    )
    log(f"seed {seed}: held-out mean {points(r.accuracies['held-out'] for r in found.random):.2f} %")
    return found


def trained(supernet: Supernet, config: FactoryConfig, splits: Splits, seed: int) -> None:
    """Train `supernet` in place, without checks. Raises `FactoryError`."""
    plain, _, _ = image_examples(splits)
    data = ImageExamples.of(splits.train, plain.normalisation, config.training.augment)
    # An accuracy that never changes cannot be taken for a divergence; the guard on losses stays.
    check: Callable[[SubnetConfig], float] = lambda _: 1.0  # noqa: E731
    with tempfile.TemporaryDirectory() as folder:
        state_file = Path(folder) / "state.safetensors"
        train(supernet, data, config.training, seed=seed, state_file=state_file, key="ranking", check=check)


def scorer(supernet: Supernet, splits: Splits, images: int, seed: int) -> Callable[[SubnetConfig], Result]:
    """A function that recalibrates a subnet on `images` training images and scores it on all splits."""
    named = dict(zip(("training", "held-out", "test"), image_examples(splits), strict=True))
    rows = seeded_rows(len(named["training"]), images, seed)

    def score(subnet: SubnetConfig) -> Result:
        shape = supernet.model_space.input_shape(subnet)
        module = recalibrate(supernet.extract(subnet), ExampleInputs(named["training"], shape, rows))
        return Result(
            seed=seed,
            resolution=shape[-1],
            macs=count_macs(supernet.model_space, subnet),
            accuracies={name: accuracy(module, ExampleInputs(x, shape), x.labels) for name, x in named.items()},
        )

    return score


def random_subnets(space: SearchSpace, count: int) -> list[SubnetConfig]:
    """`count` subnets per resolution, at levels that are evenly spread over [0, 1]."""
    rng = random.Random(0)
    resolutions = [{"resolution": option} for c in space if c.name == "resolution" for option in c.options]
    return [
        space.subnet(space.sample_near(i / (count - 1), rng).to_dict() | resolution)
        for resolution in resolutions or [{}]
        for i in range(count)
    ]


def summary(seeds: Sequence[SeedResults]) -> dict[str, Any]:
    """Means over all seeds, in percent."""
    scored = [result for seed in seeds for result in seed.random]
    bands, resolutions = grouped(scored, band_of), grouped(scored, lambda result: result.resolution)
    smallest = row([seed.smallest for seed in seeds])
    rows = {band: row(results) for band, results in sorted(bands.items())}
    means = [points(r.accuracies["held-out"] for r in seed.random) for seed in seeds]
    return {
        "shortfall_points": round(smallest["held_out"] - min(found["held_out"] for found in rows.values()), 2),
        "held_out_by_seed": [round(mean, 2) for mean in means],
        "smallest": smallest,
        "largest": row([seed.largest for seed in seeds]),
        "random": row(scored),
        "bands": {f"{10 ** (band / BANDS_A_DECADE) / 1e6:.2g}": found for band, found in rows.items()},
        "resolutions": {str(option): row(results) for option, results in sorted(resolutions.items())},
        "training_cpu_seconds": round(statistics.mean(seed.training_cpu_seconds for seed in seeds), 1),
    }


def band_of(result: Result) -> int:
    """The half decade of the MACs."""
    return math.floor(BANDS_A_DECADE * math.log10(result.macs))


def grouped(results: Sequence[Result], key: Callable[[Result], int]) -> dict[int, list[Result]]:
    """The results by `key`."""
    groups: dict[int, list[Result]] = defaultdict(list)
    for result in results:
        groups[key(result)].append(result)
    return groups


def row(results: Sequence[Result]) -> dict[str, float]:
    """Number and accuracies in percent of some subnets; `best_test` is the mean over the seeds."""
    best = [max(of_seed, key=heldout) for of_seed in grouped(results, lambda result: result.seed).values()]
    return {
        "subnets": len(results),
        "held_out": points(map(heldout, results)),
        "lowest_held_out": points([min(map(heldout, results))]),
        "training": points(result.accuracies["training"] for result in results),
        "best_test": points(result.accuracies["test"] for result in best),
    }


def heldout(result: Result) -> float:
    """The held-out accuracy."""
    return result.accuracies["held-out"]


def points(values: Any) -> float:
    """The mean of fractions, in percent."""
    return round(100 * statistics.mean(values), 2)


def print_markdown(result: Mapping[str, Any]) -> None:
    """The tables for `benchmarks/README.md`."""
    print("| | subnets | held-out, mean | lowest | training images | test, of the best on held-out |")
    print("|---|--:|--:|--:|--:|--:|")
    rows = {name: result[name] for name in ("smallest", "largest", "random")}
    rows |= {f"from {name} MMACs": found for name, found in result["bands"].items()}
    rows |= {f"{name} pixels": found for name, found in result["resolutions"].items()}
    for name, found in rows.items():
        cells = [f"{found[key]:.2f} %" for key in ("held_out", "lowest_held_out", "training", "best_test")]
        print(f"| {name} | {found['subnets']} | {' | '.join(cells)} |")
    print()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
