"""What weight sharing costs: a training step of `supernet(x, subnet)` over one of the plain module of the same shape.

    python benchmarks/sharing_overhead.py
    python benchmarks/sharing_overhead.py --spaces ofa --subnets 5

Both sides take turns in one process and run as in training: channels last, batch statistics, fast depthwise gradients,
float32. For `ratio`, the structure of the subnet is known from an earlier step; for `first_use_ratio`, it is built in
the timed step. Each is the median over random subnets, in the space where it is worst. Times are CPU seconds.

`--quick` takes 2 random subnets per space instead of 20, and 2 timed steps of each side instead of 7.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported

import torch
from common import environment, log, make_parser, parse_options
from paired import (
    cifar_space,
    cpu_seconds,
    ofa_sized_space,
    ofa_space,
    random_subnets,
    random_supernet,
    spread,
    tiny_space,
)
from torch import nn
from torch.nn import functional

from supernet.model_space import ModelSpace
from supernet.planning.memory import keep_freed_memory
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.training.depthwise import FastDepthwise

SPACES: dict[str, Callable[[], ModelSpace]] = {
    "cifar10": cifar_space,
    "ofa": lambda: ofa_space(64),
    "ofa_sized": lambda: ofa_sized_space(64),
    "tiny": tiny_space,
}
"""The once-for-all spaces are measured at 64 pixels, since at 224 a step of batch 64 would take several seconds."""

RATIOS = ("ratio", "first_use_ratio")
QUICK = {"subnets": 2, "repeats": 2}


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    found = {name: measure_space(name, options) for name in options.spaces}
    result = {
        "benchmark": "sharing_overhead",
        "quick": options.quick,
        "ratio": max(space["ratio"]["median"] for space in found.values()),
        "first_use_ratio": max(space["first_use_ratio"]["median"] for space in found.values()),
        "batch": options.batch,
        "subnets": options.subnets,
        "repeats": options.repeats,
        "spaces": found,
        **environment(options.seed),
    }
    print_markdown(found)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--spaces", nargs="+", choices=[*SPACES], default=["cifar10", "ofa", "ofa_sized"])
    parser.add_argument("--subnets", type=int, default=20, help="random subnets per space")
    parser.add_argument("--repeats", type=int, default=7, help="timed steps of each side per subnet")
    parser.add_argument("--batch", type=int, default=64, help="images of a step")
    parser.add_argument("--seed", type=int, default=0)
    options = parse_options(parser, arguments, QUICK)
    if min(options.subnets, options.repeats) < 1 or options.batch < 2:
        parser.error("--subnets and --repeats must be at least 1, --batch at least 2")
    return options


def measure_space(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The ratios in one space: smallest, median and largest over its subnets."""
    space = SPACES[name]()
    supernet = random_supernet(space, options.seed).train().to(memory_format=torch.channels_last)
    ratios: dict[str, list[float]] = {"ratio": [], "first_use_ratio": [], "plain_ms": []}
    for subnet in random_subnets(space, options.subnets, options.seed):
        seconds = measure_subnet(supernet, subnet, options)
        ratios["ratio"].append(seconds["shared"] / seconds["plain"])
        ratios["first_use_ratio"].append(seconds["first"] / seconds["plain"])
        ratios["plain_ms"].append(1000 * seconds["plain"])
        medians = ", ".join(f"{key} {statistics.median(values):.3f}" for key, values in ratios.items())
        log(f"{name}: {len(ratios['ratio'])}/{options.subnets} subnets, {medians}")
    return {key: spread(values) for key, values in ratios.items()}


def measure_subnet(supernet: Supernet, subnet: SubnetConfig, options: argparse.Namespace) -> dict[str, float]:
    """Median CPU seconds of a step: `plain`, `shared`, and `first`, which also builds the structure of the subnet."""
    generator = torch.Generator().manual_seed(options.seed)
    x = torch.randn(options.batch, *supernet.model_space.input_shape(subnet), generator=generator)
    x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(options.batch) % 10
    module = supernet.extract(subnet).train().to(memory_format=torch.channels_last)

    def first() -> None:
        supernet._skeletons.clear()
        step(supernet, x, labels, subnet)

    sides = {
        "plain": lambda: step(module, x, labels),
        "shared": lambda: step(supernet, x, labels, subnet),
        "first": first,
    }
    return cpu_seconds(sides, options.repeats, before=lambda: None)


def step(module: nn.Module, x: torch.Tensor, labels: torch.Tensor, *subnet: SubnetConfig) -> None:
    """A forward and a backward pass with fresh gradients."""
    module.zero_grad(set_to_none=True)
    with FastDepthwise():
        functional.cross_entropy(module(x, *subnet), labels).backward()


def print_markdown(found: dict[str, dict[str, Any]]) -> None:
    """The table for `benchmarks/README.md`."""
    print("| space | plain step | ratio, median (range) | first use, median (range) |")
    print("|---|--:|--:|--:|")
    for name, space in found.items():
        cells = [f"{space[key]['median']:.3f} ({space[key]['min']:.3f}-{space[key]['max']:.3f})" for key in RATIOS]
        print(f"| {name} | {space['plain_ms']['median']:.0f} ms | {' | '.join(cells)} |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
