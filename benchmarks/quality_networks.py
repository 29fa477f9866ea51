"""The networks that `quality_cifar10` trains: the model space, the tiers, further networks to rank, scaled widths.

Not a benchmark itself. Importing it does not import torch.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np

RESOLUTION = 32
"""Pixels of CIFAR-10."""

MODEL: dict[str, Any] = {
    "space": "mobilenet",
    "resolutions": [RESOLUTION],
    "stem_width": 8,
    "stem_stride": 2,
    "stages": [
        {"widths": [8, 16], "depths": [1], "kernels": [3], "expands": [1], "stride": 1},
        {"widths": [16, 24, 32], "depths": [1, 2], "kernels": [3], "expands": [2, 3], "stride": 2},
        {"widths": [24, 32, 48, 64], "depths": [1, 2], "kernels": [3], "expands": [2, 3, 4], "stride": 1},
        {"widths": [32, 48, 64, 96], "depths": [1, 2], "kernels": [3], "expands": [2, 3, 4], "stride": 2},
    ],
    "head_width": 192,
}
"""Small enough to train 27 networks in an hour and a half on two cores, with an 8-fold range of MACs. It has a single
resolution, because elastic resolution cost the large networks most at this size (see the README)."""

CLASSES = 10
LEVEL_SPREAD = 0.5
"""How far a choice is from the level of its subnet at most; the full range is 1."""

TIER_TOLERANCE, BAND_TOLERANCE = 0.05, 0.1
"""Relative difference in MACs from a tier's nominal size, and from the tier at the centre of a band. Tiers are at least
1.6 times apart, so neither overlaps with the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How many networks are trained, and on how many images they are judged.

    Attributes:
        levels: Subnets drawn to name networks among, one for each of as many levels of size.
        tier_shares: MACs of the tiers as shares of the largest network's, largest first.
        bands: The tier shares around which rankings among networks of about the same size are compared.
        per_band: Further networks of each band.
        learning_rates: Learning rates with which each tier is trained alone.
        widths: Factors of the widths of the baseline, the largest network scaled in width.
        picks: Budgets of MACs, each of which gets the best scored subnet.
        scored: Subnets to score.
        calibration_images: Training images for recalibration.
        test_images: Test images, from the first on; None for all.
    """

    levels: int
    tier_shares: tuple[float, ...]
    bands: tuple[float, ...]
    per_band: int
    learning_rates: tuple[float, ...]
    widths: tuple[float, ...]
    picks: int
    scored: int
    calibration_images: int
    test_images: int | None


FULL = Extent(
    levels=1000,
    tier_shares=(1.0, 0.58, 0.34, 0.2, 0.125),
    bands=(0.34, 0.2),
    per_band=3,
    learning_rates=(0.15, 0.3, 0.6),
    widths=(1.0, 0.75, 0.55, 0.4, 0.25),
    picks=10,
    scored=32,
    calibration_images=2000,
    test_images=None,
)
"""Tiers are a factor of 1.7 apart in MACs, over the whole range; widths cover the same range. The best learning rate is
0.3 for most tiers and 0.6 for some small ones."""

QUICK_EXTENT = Extent(
    levels=200,
    tier_shares=(1.0, 0.34),
    bands=(0.34,),
    per_band=2,
    learning_rates=(0.3,),
    widths=(1.0, 0.4),
    picks=2,
    scored=4,
    calibration_images=200,
    test_images=500,
)
"""The fewest of everything with which every metric is still defined: 3 networks in a band, 2 picks and 2 widths."""


def named_networks(space: Any, extent: Extent) -> tuple[list[Any], list[Any]]:
    """The tiers, and further networks within 10 % of the MACs of some tiers, by a seeded rule that looks at sizes only.

    A tier is the network of its size whose choices are closest to one common level.
    """
    rng = random.Random(0)
    pool = sorted({level_subnet(space.space, i / (extent.levels - 1), rng) for i in range(extent.levels)})
    sizes = {subnet: macs(space, subnet) for subnet in pool}
    largest = macs(space, space.space.largest)
    tiers = []
    for share in extent.tier_shares:
        near = [s for s in pool if abs(sizes[s] / (share * largest) - 1) < TIER_TOLERANCE]
        tiers.append(space.space.largest if share == 1 else min(near, key=lambda s: (unevenness(space.space, s), s)))
    others = []
    for band in extent.bands:
        centre = sizes[tiers[extent.tier_shares.index(band)]]
        near = [s for s in pool if abs(sizes[s] / centre - 1) <= BAND_TOLERANCE and s not in tiers and s not in others]
        others += rng.sample(near, extent.per_band)
    return tiers, others


def level_subnet(space: Any, level: float, rng: random.Random) -> Any:
    """A subnet whose choices scatter around `level`, from 0, the smallest options, to 1, the largest."""
    at = {c.name: min(1.0, max(0.0, level + rng.uniform(-LEVEL_SPREAD, LEVEL_SPREAD))) for c in space}
    return space.subnet({c.name: c.options[round(at[c.name] * (len(c.options) - 1))] for c in space})


def unevenness(space: Any, subnet: Any) -> float:
    """The variance of the levels of the choices."""
    indices = space.encode(subnet)
    levels = [i / (len(c.options) - 1) for c, i in zip(space, indices, strict=True) if len(c.options) > 1]
    return float(np.var(levels))


def fixed(model: dict[str, Any], subnet: dict[str, Any] | None = None) -> dict[str, Any]:
    """A network to train alone: its model section and its subnet, by default the largest."""
    return {"section": model, "subnet": subnet}


def scaled(width: float) -> dict[str, Any]:
    """The model section of the largest network with all widths but the input's times `width`, to multiples of 8."""
    stages = [
        {**stage, **{k: [max(8, round(stage[k][-1] * width / 8) * 8)] for k in ["widths"]}} for stage in MODEL["stages"]
    ]
    stages = [
        {**s, "depths": s["depths"][-1:], "kernels": s["kernels"][-1:], "expands": s["expands"][-1:]} for s in stages
    ]
    head, stem = (max(8, round(MODEL[k] * width / 8) * 8) for k in ("head_width", "stem_width"))
    return {**MODEL, "resolutions": [RESOLUTION], "stages": stages, "head_width": head, "stem_width": stem}


def scaled_macs(width: float) -> int:
    """MACs of the largest network scaled in width."""
    space = make_space(scaled(width))
    return macs(space, space.space.largest)


def one_network(model: dict[str, Any]) -> Any:
    """A model space with the single subnet of `fixed`."""
    from supernet.training.finetune import OneSubnet

    inner = make_space(model["section"])
    return OneSubnet(inner, inner.space.subnet(model["subnet"] or dict(inner.space.largest.values)))


def make_space(model: dict[str, Any]) -> Any:
    """The model space of a `model` section, for ten classes."""
    from supernet.spaces.mobilenet import MobileNetSpace
    from supernet.spaces.mobilenet_config import MobileNetConfig

    return MobileNetSpace(MobileNetConfig.model_validate(model), CLASSES)


def macs(space: Any, subnet: Any) -> int:
    """Multiply-accumulate operations for one image."""
    from supernet.sharing.macs import count_macs

    return count_macs(space, subnet)


def best_within_budgets(space: Any, scores: dict[Any, float], count: int) -> list[Any]:
    """The best scored subnet within each of `count` budgets of MACs, evenly spread over their logarithm."""
    sizes = {subnet: macs(space, subnet) for subnet in scores}
    budgets = (
        np.geomspace(min(sizes.values()), max(sizes.values()), count) * 1.001
    )  # rounding must not exclude the ends
    picks = [max((s for s in scores if sizes[s] <= budget), key=lambda s: scores[s]) for budget in budgets]
    return sorted(set(picks), key=lambda s: sizes[s])
