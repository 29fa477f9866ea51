"""What sorting is for: the smaller subnets of a network that was trained alone lose less."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from statistics import mean

import pytest
import torch
from torch.nn import functional

from supernet.data.config import DataConfig
from supernet.data.sources import load_splits
from supernet.sharing.importance import LabelledBatch, reorder, sort_by_importance, sort_groups
from supernet.sharing.supernet import Supernet
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig

STAGE = {"widths": [8, 16, 24, 32], "depths": [1], "expands": [1, 2, 4]}
CONFIG = {"resolutions": [8], "stem_width": 8, "stages": [STAGE, {**STAGE, "stride": 2}], "head_width": 32}


@pytest.fixture(scope="module")
def digits() -> list[LabelledBatch]:
    """All training digits at 8x8 pixels, in batches."""
    splits = load_splits(DataConfig(source="digits", image_size=8), Path(), seed=0)
    images = torch.from_numpy(splits.train.images[:]).float() / 128 - 1
    return list(zip(images.split(256), torch.from_numpy(splits.train.labels).split(256), strict=True))


@pytest.fixture(scope="module")
def trained(digits: list[LabelledBatch]) -> Supernet:
    """The largest network trained alone for eight epochs."""
    supernet = Supernet(MobileNetSpace(MobileNetConfig.model_validate(CONFIG), classes=10), seed=0)
    optimizer = torch.optim.AdamW(supernet.parameters(), lr=1e-2)
    for _ in range(8):
        for images, labels in digits:
            optimizer.zero_grad()
            functional.cross_entropy(supernet.largest(images), labels).backward()
            optimizer.step()
    return supernet.eval()


def mean_loss(supernet: Supernet, batch: LabelledBatch) -> float:
    """The mean loss over twenty random subnets, always the same ones."""
    space, rng = supernet.model_space.space, random.Random(0)
    subnets = [space.sample(rng) for _ in range(20)]
    with torch.no_grad():
        return mean(float(functional.cross_entropy(supernet(batch[0], subnet), batch[1])) for subnet in subnets)


def shuffled(supernet: Supernet, seed: int) -> Supernet:
    """A copy with the units of every group in a random order."""
    copied, generator = copy.deepcopy(supernet), torch.Generator().manual_seed(seed)
    parameters = dict(copied.largest.named_parameters())
    for group in sort_groups(copied.model_space):
        reorder(group, parameters, torch.randperm(group.axes[0].count(parameters), generator=generator))
    return copied


def test_the_smaller_subnets_of_a_trained_network_lose_less_once_it_is_sorted(
    trained: Supernet, digits: list[LabelledBatch]
) -> None:
    arbitrary = mean(mean_loss(shuffled(trained, seed), digits[-2]) for seed in range(4))
    for by_gradient in (False, True):
        ordered = copy.deepcopy(trained)
        sort_by_importance(ordered, digits[:4], by_gradient=by_gradient)
        assert mean_loss(ordered, digits[-2]) < 0.95 * arbitrary
