"""A MobileNet space, a phone, and an accuracy that is known for every subnet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from small_space import Everything, everything_of_the_space

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.profile import find_profile
from device_profiles.workload.workloads import Workloads
from search.archive import Evaluate
from search.design import shared_subnets
from search.scored import Scored
from supernet.space import SearchSpace, SubnetConfig
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig

torch.set_num_threads(1)

_STAGE = {"widths": [8, 16, 24], "depths": [1, 2], "kernels": [3, 5], "expands": [1, 2, 4]}
_MODEL = {"resolutions": [16, 24], "stem_width": 8, "stages": [_STAGE, {**_STAGE, "stride": 2}], "head_width": 32}
_MODEL_SPACE = MobileNetSpace(MobileNetConfig.model_validate(_MODEL), classes=4)
_WORKLOADS = Workloads(_MODEL_SPACE)


def _accuracy(subnet: SubnetConfig) -> float:
    """A sum over the choices of the present blocks: the truth that a predictor has to find."""
    space = _MODEL_SPACE.space
    values = subnet.to_dict()
    shares = [c.options.index(values[c.name]) / (len(c.options) - 1) for c in space if space.exists(c, values)]
    return round(0.5 + 0.4 * sum(shares) / len(space.choices), 4)


_IMAGES = 10_000


def _results(accuracy: float, rows: range) -> list[bool]:
    """Results for a range of 10,000 images. A better subnet has all images of a worse one right.

    The images are of all difficulties in turn, so every start is representative, and `accuracy`, in steps of 1e-4, is
    exact for all of them together.
    """
    return [image * 6181 % _IMAGES < round(accuracy * _IMAGES) for image in rows]  # 6181: the golden ratio, and coprime


def _scored(subnet: SubnetConfig, accuracy: float, images: int = _IMAGES) -> Scored:
    return Scored.of(subnet, _results(accuracy, range(images)))


@pytest.fixture
def everything() -> Everything:
    """All subnets of `small_space`."""
    return everything_of_the_space()


@pytest.fixture
def space() -> SearchSpace:
    return _MODEL_SPACE.space


@pytest.fixture
def workloads() -> Workloads:
    """Shared by all tests, because tracing is slow."""
    return _WORKLOADS


@pytest.fixture
def phone(workloads) -> DeviceCosts:
    """The costs of subnets on a phone."""
    return DeviceCosts(workloads, find_profile("midrange", Path()))


@pytest.fixture
def truth() -> Callable[[SubnetConfig], float]:
    return _accuracy


@pytest.fixture
def score() -> Callable[[Sequence[SubnetConfig]], list[Scored]]:
    return lambda subnets: [_scored(subnet, _accuracy(subnet)) for subnet in subnets]


@pytest.fixture
def scored() -> Callable[..., Scored]:
    """`scored(subnet, accuracy, images=10_000)`: a subnet of this accuracy, scored on the first `images` images."""
    return _scored


@pytest.fixture
def evaluate() -> Evaluate:
    """Evaluates a subnet on a range of at most 10,000 images."""
    return lambda subnet, rows: _results(_accuracy(subnet), rows)


@pytest.fixture
def shared(space, workloads, score) -> list[Scored]:
    """20 scored subnets of all sizes."""
    return score(shared_subnets(space, workloads, 20, seed=0))
