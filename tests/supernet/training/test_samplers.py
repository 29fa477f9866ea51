"""Which random subnets are trained."""

from __future__ import annotations

import math
import random

import torch
from torch import nn

from factory_base.progress import silent
from supernet.sharing.macs import count_macs
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.training.sampling import SAMPLERS, MacsSampler, UniformSampler


def test_macs_are_those_of_the_layers(small_space: MobileNetSpace) -> None:
    class Linear:
        space = small_space.space

        def build(self, _subnet) -> nn.Module:
            return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(8 * 16, 5))

        def input_shape(self, _subnet) -> tuple[int, ...]:
            return (3, 4, 4)

    assert count_macs(Linear(), small_space.space.smallest) == 3 * 8 * 9 * 16 + 8 * 16 * 5


def test_counting_macs_leaves_the_global_random_generator_alone(small_space: MobileNetSpace) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    count_macs(small_space, small_space.space.largest)
    assert torch.equal(torch.rand(1), expected)


def test_the_stratified_sampler_draws_from_both_ends_far_more_often(small_space: MobileNetSpace) -> None:
    space = small_space.space
    low, high = (math.log(count_macs(small_space, s)) for s in (space.smallest, space.largest))

    def share_at_the_ends(sampler) -> float:
        rng = random.Random(0)
        sizes = [math.log(count_macs(small_space, sampler.sample(rng, i))) for i in range(80)]
        return sum(not low + (high - low) / 4 < size < high - (high - low) / 8 for size in sizes) / len(sizes)

    stratified, uniform = MacsSampler(small_space, 0), UniformSampler(small_space, 0)
    assert share_at_the_ends(stratified) > 1.5 * share_at_the_ends(uniform)


def test_samplers_depend_only_on_their_arguments(small_space: MobileNetSpace) -> None:
    for kind in SAMPLERS.values():
        samplers = [kind(small_space, 3, silent) for _ in range(2)]
        first, again = ([sampler.sample(random.Random(i), i) for i in range(5)] for sampler in samplers)
        assert first == again
        assert len(set(first)) > 1


def test_the_coupled_sampler_draws_subnets_whose_choices_are_about_equally_large() -> None:
    stage = {"widths": [8, 16, 24, 32], "depths": [1], "kernels": [3, 5, 7], "expands": [1, 2, 3, 4], "stride": 2}
    config = {"resolutions": [8], "stem_width": 8, "stages": [stage, stage], "head_width": 16}
    space = MobileNetSpace(MobileNetConfig.model_validate(config), classes=4)
    choices = [choice for choice in space.space.choices if len(choice.options) > 1]

    def scatter(sampler) -> float:
        drawn = [sampler.sample(random.Random(i), i) for i in range(80)]
        levels = [[c.options.index(s[c.name]) / (len(c.options) - 1) for c in choices] for s in drawn]
        return sum(max(one) - min(one) for one in levels) / len(levels)

    assert scatter(SAMPLERS["coupled"](space, 0, silent)) < 0.7 * scatter(MacsSampler(space, 0))
