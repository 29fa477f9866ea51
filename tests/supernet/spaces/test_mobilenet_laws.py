"""The laws of weight sharing for the MobileNet space, with a hand-written masking oracle."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from supernet.conformance import MaskingConformance
from supernet.model_space import ModelSpace
from supernet.space import SubnetConfig
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig

_STEM = 8


class MobileNetLaws(MaskingConformance):
    random_subnets = 16
    squeeze_excite: ClassVar[bool]
    activation: ClassVar[str]

    def model_space(self) -> ModelSpace:
        shared = {"squeeze_excite": self.squeeze_excite, "activation": self.activation, "depths": [1, 2, 3]}
        stages = [
            {**shared, "widths": [8, 16], "kernels": [3, 5, 7], "expands": [1, 2.5, 6], "stride": 1},
            {**shared, "widths": [8, 24], "kernels": [3, 7], "expands": [2, 4], "stride": 2},
        ]
        config = {"resolutions": [9, 12, 16], "stem_width": _STEM, "stem_stride": 2, "stages": stages, "head_width": 24}
        return MobileNetSpace(MobileNetConfig.model_validate(config), classes=5)

    def mask(self, largest: nn.Module, subnet: SubnetConfig) -> None:
        inputs = _STEM
        for i, stage in enumerate(largest.stages):
            width = subnet[f"stages.{i}.width"]
            for j, block in enumerate(stage):
                if j >= subnet[f"stages.{i}.depth"]:
                    _silence(block.project.norm, 0)
                    continue
                hidden = _multiple_of_8(inputs * subnet[f"stages.{i}.blocks.{j}.expand"])
                _mask_block(block, hidden, width, subnet[f"stages.{i}.blocks.{j}.kernel"])
                inputs = width


class TestReluWithoutSqueezeExcite(MobileNetLaws):
    squeeze_excite, activation = False, "relu"


class TestHardSwishWithoutSqueezeExcite(MobileNetLaws):
    squeeze_excite, activation = False, "hard_swish"


class TestReluWithSqueezeExcite(MobileNetLaws):
    squeeze_excite, activation = True, "relu"


class TestHardSwishWithSqueezeExcite(MobileNetLaws):
    squeeze_excite, activation = True, "hard_swish"


def test_the_subnets_checked_differ_in_every_choice() -> None:
    suite = TestReluWithSqueezeExcite()
    seen = [subnet.to_dict() for subnet in suite.subnets()]
    for choice in suite.model_space().space:
        assert {values[choice.name] for values in seen} == set(choice.options), choice.name


def test_residual_blocks_start_as_the_identity(small_space: MobileNetSpace) -> None:
    block = small_space.build(small_space.space.largest).stages[0][1]
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(block(x), x)


def _mask_block(block: Any, hidden: int, width: int, kernel: int) -> None:
    _silence(block.expand.norm, hidden)
    _silence(block.depthwise.norm, hidden)
    _silence(block.project.norm, width)
    weight = block.depthwise.conv.weight
    rim = (weight.shape[-1] - kernel) // 2
    centre = torch.zeros_like(weight)
    centre[:, :, rim : rim + kernel, rim : rim + kernel] = 1
    weight.mul_(centre)
    if block.squeeze_excite is not None:
        squeezed = _multiple_of_8(hidden / 4)
        block.squeeze_excite.squeeze.weight[squeezed:] = 0
        block.squeeze_excite.squeeze.bias[squeezed:] = 0


def _silence(norm: Any, used: int) -> None:
    """Make the output of all channels from `used` on zero for every input."""
    norm.weight[used:] = 0
    norm.bias[used:] = 0


def _multiple_of_8(channels: float) -> int:
    return max(8, 8 * round(channels / 8))
