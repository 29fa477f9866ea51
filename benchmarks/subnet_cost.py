"""What one subnet costs: extraction, recalibration of batch normalisation, scoring; each against plain PyTorch.

    python benchmarks/subnet_cost.py
    python benchmarks/subnet_cost.py --parts extract --subnets 10

Networks belong to the once-for-all MobileNetV3 space at 64 pixels, with random weights, on one thread, in float32. Both
sides take turns in one process on the same images, which are in memory, resized and normalised; preparing them is not
timed. `--space ofa_sized` leaves out the official supernets' learned kernel transforms, which an extraction computes.

* `extract_ratio`: `extract(s)` over `[p.clone() for p in parameters]`, with cold caches, as they are between scorings.
  `extract_ratio_hot` is measured back to back; for `first_extract_ratio` the structure of the subnet is built too.
* `recalibrate_ratio`: over `module.train()` with a cumulative mean, channels first, with hard-swish composed of its
  parts, in batches of 100, as other once-for-all libraries do.
* `score_ratio`: over `module.eval()` of the same network. `equal_predictions` is the share of images that get the same
  label on both sides, given the same statistics.

Times are CPU seconds; a ratio is the median over subnets.

`--quick` takes 2 subnets instead of 5, one timed run of each side instead of 3, and recalibrates on 200 images instead
of 2,000 and scores 500 instead of 5,000.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported

import torch
from common import environment, log, make_parser, parse_options
from paired import (
    cpu_seconds,
    ofa_sized_space,
    ofa_space,
    random_subnets,
    random_supernet,
    spread,
    tiny_space,
)
from torch import Tensor, nn
from torch.nn import functional

from supernet.evaluation.evaluation import predict, recalibrate
from supernet.model_space import ModelSpace
from supernet.planning.memory import keep_freed_memory
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig

PARTS = ("extract", "recalibrate", "score")
SPACES: dict[str, Callable[[], ModelSpace]] = {
    "ofa": lambda: ofa_space(64),
    "ofa_sized": lambda: ofa_sized_space(64),
    "tiny": tiny_space,
}
"""At 64 pixels, since at 224 each part would take minutes."""

CACHE_FLOATS = 1 << 24
"""64 MiB of float32: touching them all evicts what a processor's caches hold."""

EXTRACTION_REPEATS = 5
"""Timed extractions for each timed run of the other parts: they take milliseconds, and scatter more."""

COARSE_SIDE = 8
"""Height and width of the random patterns that images are interpolated from, so that they are smooth, as photos are."""

QUICK = {"subnets": 2, "repeats": 1, "recalibrated": 200, "scored": 500}


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    supernet = random_supernet(SPACES[options.space](), options.seed)
    subnets = random_subnets(supernet.model_space, options.subnets, options.seed)
    found: dict[str, list[float]] = {}
    for part in options.parts:
        for done, subnet in enumerate(subnets, 1):
            for key, value in MEASURES[part](supernet, subnet, options).items():
                found.setdefault(key, []).append(value)
            log(f"{part}: {done}/{len(subnets)} subnets")
    spreads = {key: spread(values) for key, values in found.items()}
    result = {
        "benchmark": "subnet_cost",
        "quick": options.quick,
        "space": options.space,
        **{key: value["median"] for key, value in spreads.items()},
        "spread": spreads,
        "subnets": options.subnets,
        "repeats": options.repeats,
        "recalibrated_images": options.recalibrated,
        "scored_images": options.scored,
        **environment(options.seed),
    }
    print_markdown(spreads)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--space", choices=[*SPACES], default="ofa")
    parser.add_argument("--subnets", type=int, default=5, help="random subnets")
    parser.add_argument(
        "--repeats", type=int, default=3, help="timed runs of each side; five times as many of extraction"
    )
    parser.add_argument("--recalibrated", type=int, default=2000, help="images to recalibrate on")
    parser.add_argument("--scored", type=int, default=5000, help="images to score")
    parser.add_argument("--plain-batch", type=int, default=100, help="images in a batch of the plain side")
    parser.add_argument("--seed", type=int, default=0)
    options = parse_options(parser, arguments, QUICK)
    if min(options.subnets, options.repeats, options.plain_batch) < 1 or min(options.recalibrated, options.scored) < 2:
        parser.error(
            "--subnets, --repeats and --plain-batch must be at least 1, --recalibrated and --scored at least 2"
        )
    return options


@dataclass(frozen=True, slots=True)
class Images:
    """Network inputs in memory. The tensor is channels first; slices are channels last, as the product's inputs are."""

    tensor: Tensor

    @staticmethod
    def random(count: int, shape: tuple[int, ...], seed: int) -> Images:
        """Smooth patterns with different brightness and contrast, (count, *shape)."""
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randn(count, shape[0], COARSE_SIDE, COARSE_SIDE, generator=generator)
        levels, contrasts = torch.randn(2, count, shape[0], 1, 1, generator=generator)
        return Images(functional.interpolate(coarse * contrasts.abs() + levels, size=shape[1:], mode="bilinear"))

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, rows: slice) -> Tensor:
        return self.tensor[rows].contiguous(memory_format=torch.channels_last)


class ComposedHardSwish(nn.Module):
    """x * relu6(x + 3) / 6, as it was written before libraries had a function for it."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to each element of a tensor of any shape."""
        return x * functional.relu6(x + 3.0, inplace=True) / 6.0


def composed(module: nn.Module) -> nn.Module:
    """`module`, changed in place, with every hard-swish composed of its parts."""
    for name, child in module.named_children():
        if isinstance(child, nn.Hardswish):
            setattr(module, name, ComposedHardSwish())
        else:
            composed(child)
    return module


def measure_extraction(supernet: Supernet, subnet: SubnetConfig, options: argparse.Namespace) -> dict[str, float]:
    """Ratios and milliseconds of an extraction."""
    parameters = [p.detach() for p in supernet.extract(subnet).parameters()]
    other_work = torch.zeros(CACHE_FLOATS)

    def first() -> nn.Module:
        supernet._skeletons.clear()
        return supernet.extract(subnet)

    sides: dict[str, Callable[[], Any]] = {
        "copy": lambda: [parameter.clone() for parameter in parameters],
        "extract": lambda: supernet.extract(subnet),
    }
    repeats = EXTRACTION_REPEATS * options.repeats
    hot = cpu_seconds(sides, repeats, before=lambda: supernet.extract(subnet))
    cold = cpu_seconds(sides, repeats, before=lambda: other_work.add_(1))
    new = cpu_seconds({"first": first}, repeats, before=lambda: other_work.add_(1))
    return {
        "extract_ratio": cold["extract"] / cold["copy"],
        "extract_ratio_hot": hot["extract"] / hot["copy"],
        "first_extract_ratio": new["first"] / cold["copy"],
        "copy_ms": 1000 * cold["copy"],
        "extract_ms": 1000 * cold["extract"],
        "first_extract_ms": 1000 * new["first"],
    }


def measure_recalibration(supernet: Supernet, subnet: SubnetConfig, options: argparse.Namespace) -> dict[str, float]:
    """The ratio, both times in seconds, and the share of equal predictions afterwards."""
    images = Images.random(options.recalibrated, supernet.model_space.input_shape(subnet), options.seed)
    plain, ours = composed(supernet.extract(subnet)), supernet.extract(subnet)
    sides = {
        "plain": lambda: plain_recalibrate(plain, images.tensor, options.plain_batch),
        "ours": lambda: recalibrate(ours, images),
    }
    seconds = cpu_seconds(sides, options.repeats, before=lambda: None)
    theirs = plain_predict(plain, images.tensor, options.plain_batch)
    return {
        "recalibrate_ratio": seconds["ours"] / seconds["plain"],
        "plain_recalibrate_s": seconds["plain"],
        "recalibrate_s": seconds["ours"],
        "equal_after_recalibration": (theirs == torch.from_numpy(predict(ours, images))).double().mean().item(),
    }


def measure_scoring(supernet: Supernet, subnet: SubnetConfig, options: argparse.Namespace) -> dict[str, float]:
    """The ratio, both times in seconds, the share of equal predictions, and the number of predicted classes."""
    images = Images.random(options.scored, supernet.model_space.input_shape(subnet), options.seed)
    ours = recalibrate(supernet.extract(subnet), Images(images.tensor[: options.recalibrated]))
    plain = supernet.extract(subnet)
    plain.load_state_dict(ours.state_dict())
    composed(plain)
    sides = {
        "plain": lambda: plain_predict(plain, images.tensor, options.plain_batch),
        "ours": lambda: predict(ours, images),
    }
    seconds = cpu_seconds(sides, options.repeats, before=lambda: None)
    found, expected = torch.from_numpy(predict(ours, images)), sides["plain"]()
    return {
        "score_ratio": seconds["ours"] / seconds["plain"],
        "plain_score_s": seconds["plain"],
        "score_s": seconds["ours"],
        "equal_predictions": (found == torch.as_tensor(expected)).double().mean().item(),
        "predicted_classes": float(len(found.unique())),
    }


def plain_recalibrate(module: nn.Module, images: Tensor, batch: int) -> None:
    """Set the running statistics to the cumulative mean over batches of `batch` images."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    module.train()
    with torch.no_grad():
        for part in images.split(batch):
            module(part)


def plain_predict(module: nn.Module, images: Tensor, batch: int) -> Tensor:
    """Predicted classes, (n,)."""
    module.eval()
    with torch.no_grad():
        return torch.cat([module(part).argmax(1) for part in images.split(batch)])


MEASURES = {"extract": measure_extraction, "recalibrate": measure_recalibration, "score": measure_scoring}


def print_markdown(spreads: dict[str, dict[str, float]]) -> None:
    """The table for `benchmarks/README.md`."""
    print("| metric | median | range over subnets |")
    print("|---|--:|--:|")
    for key, value in spreads.items():
        print(f"| {key} | {value['median']:g} | {value['min']:g} to {value['max']:g} |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
