"""What the benchmarks of subnets share: spaces, paired timing, the facts of the machine. No benchmark by itself."""

from __future__ import annotations

import gc
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch

from model_factory.config import load_config, shipped_configs
from supernet.model_space import ModelSpace
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.spaces import make_model_space
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.spaces.ofa import OfaSpace
from supernet.spaces.ofa_config import OfaMbv3Config

NOISE = 0.1
TINY = {
    "resolutions": [16],
    "stem_width": 8,
    "stem_stride": 2,
    "stages": [{"widths": [8, 16], "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3], "activation": "hard_swish"}],
    "head_width": 32,
}


def ofa_space(resolution: int) -> ModelSpace:
    """The official once-for-all MobileNetV3 space, learned kernel transforms included, for 1000 classes."""
    return OfaSpace(OfaMbv3Config(space="ofa_mbv3", resolutions=(resolution,)), 1000)


def ofa_sized_space(resolution: int) -> ModelSpace:
    """A MobileNet space of the same widths, depths, kernels and expansions, without kernel transforms."""
    options = {"depths": [2, 3, 4], "kernels": [3, 5, 7], "expands": [3, 4, 6]}
    stages = [
        {"widths": [width], "stride": stride, "squeeze_excite": squeeze, "activation": activation, **options}
        for width, stride, squeeze, activation in (
            (24, 2, False, "relu"),
            (40, 2, True, "relu"),
            (80, 2, False, "hard_swish"),
            (112, 1, True, "hard_swish"),
            (160, 2, True, "hard_swish"),
        )
    ]
    section = {"resolutions": [resolution], "stem_width": 16, "stem_stride": 2, "stages": stages, "head_width": 960}
    return MobileNetSpace(MobileNetConfig.model_validate(section), 1000)


def cifar_space() -> ModelSpace:
    """The space of `configs/cifar10.yaml`, for 10 classes."""
    return make_model_space(load_config(shipped_configs() / "cifar10.yaml").model, 10)


def tiny_space() -> ModelSpace:
    """One stage of small layers, for `--quick`."""
    return MobileNetSpace(MobileNetConfig.model_validate(TINY), 10)


def random_supernet(space: ModelSpace, seed: int) -> Supernet:
    """With weights in which nothing is zero, as the last scale of a residual block is at first."""
    supernet = Supernet(space, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(NOISE * torch.randn(parameter.shape, generator=generator))
    return supernet


def random_subnets(space: ModelSpace, count: int, seed: int) -> list[SubnetConfig]:
    """`count` uniformly drawn subnets, all different and none the largest (which is no part of anything)."""
    rng = random.Random(seed)
    found: dict[SubnetConfig, None] = {}
    for _ in range(1000 * count):
        found |= {space.space.sample(rng): None}
        found.pop(space.space.largest, None)
        if len(found) == count:
            break
    return list(found)


def cpu_seconds(sides: Mapping[str, Callable[[], Any]], repeats: int, before: Callable[[], Any]) -> dict[str, float]:
    """The median CPU seconds of each side; all sides in turn, in changing order, `repeats` times after one warm-up.

    CPU time, since a shared machine's wall-clock time is mostly that of others. `before` runs before each, untimed;
    what a side returns is freed untimed.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    for repeat in range(repeats + 1):
        for name in sorted(sides, reverse=bool(repeat % 2)):
            before()
            started = time.process_time()
            result = sides[name]()
            seconds = time.process_time() - started
            del result
            if repeat:
                taken[name].append(seconds)
    return {name: statistics.median(values) for name, values in taken.items()}


def spread(values: list[float]) -> dict[str, float]:
    """Smallest, median and largest."""
    return {"min": round(min(values), 4), "median": round(statistics.median(values), 4), "max": round(max(values), 4)}


def surroundings(seed: int) -> dict[str, Any]:
    """Machine, versions, and when."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "machine": f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seed": seed,
        "date": date.today().isoformat(),
    }
