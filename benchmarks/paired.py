"""What the benchmarks of subnets share: model spaces, random subnets, paired timing. Not a benchmark itself."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
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
"""Standard deviation of what is added to fresh weights: about that of the weights themselves, so no layer dominates."""

DRAWS_PER_SUBNET = 1000
"""Draws after which `random_subnets` gives up, per subnet: the spaces used here repeat a subnet far less often."""

TINY = {
    "resolutions": [16],
    "stem_width": 8,
    "stem_stride": 2,
    "stages": [{"widths": [8, 16], "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3], "activation": "hard_swish"}],
    "head_width": 32,
}
"""As small as a space with every kind of choice can be, so that tests take little time."""


def ofa_space(resolution: int) -> ModelSpace:
    """The official once-for-all MobileNetV3 space with its learned kernel transforms, for 1000 classes."""
    return OfaSpace(OfaMbv3Config(space="ofa_mbv3", resolutions=(resolution,)), 1000)


def ofa_sized_space(resolution: int) -> ModelSpace:
    """A MobileNet space with the same widths, depths, kernels and expansions, but no kernel transforms."""
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
    """One stage of small layers, for tests."""
    return MobileNetSpace(MobileNetConfig.model_validate(TINY), 10)


def wide_space() -> MobileNetSpace:
    """A MobileNet space with elastic resolution, width, depth, kernel and expansion: 45 choices, 2,076 different parts.

    Widths and stages are of the size of MobileNetV3; it has 1000 classes.
    """
    return _mobilenet(_wide_section())


def wide_space_of_extremes() -> MobileNetSpace:
    """The wide space with only the smallest and the largest option of each choice: 45 choices, 250 different parts."""
    section = _wide_section()
    stages = [
        {key: _ends(value) if isinstance(value, list) else value for key, value in stage.items()}
        for stage in section["stages"]
    ]
    return _mobilenet({**section, "resolutions": _ends(section["resolutions"]), "stages": stages})


def short_wide_space() -> MobileNetSpace:
    """The wide space with shorter networks, which convert in less than a second: 5,120 subnets, 64 different parts.

    It lacks the fifth stage, and has only the smallest and the largest option of resolution, kernel and expansion.
    Depth (1 or 2) and width are elastic in the last stage only; the others are one block deep and as wide as possible.
    """
    section = _wide_section()
    stages = [
        stage
        | {"widths": stage["widths"][-1:], "depths": [1]}
        | {key: _ends(stage[key]) for key in ("kernels", "expands")}
        for stage in (*section["stages"][:-2], section["stages"][-1])
    ]
    stages[-1] |= {"widths": _ends(section["stages"][-1]["widths"]), "depths": [1, 2]}
    return _mobilenet({**section, "resolutions": _ends(section["resolutions"]), "stages": stages})


def _wide_section() -> dict[str, Any]:
    options: dict[str, Any] = {"depths": [1, 2, 3], "kernels": [3, 5, 7], "expands": [3, 4, 6]}
    stages: list[dict[str, Any]] = [
        {"widths": [16, 24], "depths": [1], "kernels": [3], "expands": [1]},
        {"widths": [16, 24, 32], "stride": 2, **options},
        {"widths": [24, 40, 56], "stride": 2, "squeeze_excite": True, **options},
        {"widths": [48, 80, 112], "stride": 2, "activation": "hard_swish", **options},
        {"widths": [64, 112, 160], "squeeze_excite": True, "activation": "hard_swish", **options},
        {"widths": [96, 160, 224], "stride": 2, "squeeze_excite": True, "activation": "hard_swish", **options},
    ]
    return {
        "resolutions": [128, 160, 192, 224],
        "stem_width": 16,
        "stem_stride": 2,
        "stages": stages,
        "head_width": 960,
    }


def _ends(options: list[int]) -> list[int]:
    return sorted({options[0], options[-1]})


def _mobilenet(section: dict[str, Any]) -> MobileNetSpace:
    return MobileNetSpace(MobileNetConfig.model_validate(section), 1000)


def random_supernet(space: ModelSpace, seed: int) -> Supernet:
    """A supernet with random weights, none of them zero; fresh weights have zeros, as in the last scale of a block."""
    supernet = Supernet(space, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(NOISE * torch.randn(parameter.shape, generator=generator))
    return supernet


def random_subnets(space: ModelSpace, count: int, seed: int) -> list[SubnetConfig]:
    """`count` uniformly drawn subnets, all different, without the largest, whose weights need no slicing."""
    rng = random.Random(seed)
    found: dict[SubnetConfig, None] = {}
    for _ in range(DRAWS_PER_SUBNET * count):
        found |= {space.space.sample(rng): None}
        found.pop(space.space.largest, None)
        if len(found) == count:
            break
    return list(found)


def cpu_seconds(sides: Mapping[str, Callable[[], Any]], repeats: int, before: Callable[[], Any]) -> dict[str, float]:
    """The median CPU seconds of each side. All sides take turns, in changing order, after one warm-up of each.

    CPU time is measured because the wall-clock time of a shared machine mostly depends on other work.

    Args:
        sides: The functions to time, by name. What they return is freed outside the timed part.
        repeats: Timed calls of each side.
        before: Called before every call, outside the timed part.
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
    """Smallest, median and largest value."""
    return {"min": round(min(values), 4), "median": round(statistics.median(values), 4), "max": round(max(values), 4)}
