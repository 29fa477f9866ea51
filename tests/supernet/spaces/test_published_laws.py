"""The laws of weight sharing for the spaces around a published network, with a hand-written masking oracle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from factory_base.documents import parse_document
from factory_base.errors import ConfigError
from supernet.conformance import MaskingConformance
from supernet.data.image_form import ImageForm
from supernet.model_space import ModelSpace
from supernet.sharing.macs import count_macs
from supernet.space import SubnetConfig
from supernet.spaces import MODEL_SPACES, make_model_space
from supernet.spaces.ofa_config import make_divisible
from supernet.spaces.published_config import PUBLISHED, PublishedConfig, PublishedNetwork


def section(space: str, **options: Any) -> PublishedConfig:
    config = parse_document({"space": space, **options}, MODEL_SPACES[space].config, "factory.yaml")
    assert isinstance(config, PublishedConfig)
    return config


def narrow(network: PublishedNetwork) -> PublishedNetwork:
    """The same network with a quarter of the widths, which is faster, and rounds less."""
    stages = tuple(replace(stage, width=max(8, stage.width // 4)) for stage in network.stages)
    widths = {name: getattr(network, name) // 4 for name in ("head_width", "mix_width")}
    return replace(network, stages=stages, stem_width=8, **widths)


class PublishedLaws(MaskingConformance):
    random_subnets = 2
    tolerance = 1e-4
    options: ClassVar[dict[str, Any]]

    @pytest.fixture(autouse=True)
    def _narrow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, network in PUBLISHED.items():
            monkeypatch.setitem(PUBLISHED, name, narrow(network))

    def model_space(self) -> ModelSpace:
        return make_model_space(section(resolutions=[40, 64], **self.options), classes=5)

    def mask(self, largest: nn.Module, subnet: SubnetConfig) -> None:
        inputs = len(largest.stem.norm.weight)
        for i, stage in enumerate(largest.stages):
            for j, block in enumerate(stage):
                if j >= subnet[f"stages.{i}.depth"]:
                    _silence(block.project.norm, 0)
                    continue
                hidden = make_divisible(inputs * float(subnet[f"stages.{i}.blocks.{j}.expand"]))
                _mask_channels(block, hidden)
                _mask_rim(block.depthwise.conv.weight, int(subnet[f"stages.{i}.blocks.{j}.kernel"]))
                inputs = len(block.project.norm.weight)


class TestEfficientNetLite0(PublishedLaws):
    options: ClassVar = {"space": "efficientnet_lite0"}


class TestEfficientNetLite0WithSymmetricPadding(PublishedLaws):
    random_subnets = 1
    options: ClassVar = {"space": "efficientnet_lite0", "padding": "symmetric", "min_depth": 2, "expands": [3]}


class TestEfficientNetLite0OfGreyWideImages(PublishedLaws):
    random_subnets = 1
    options: ClassVar = {"space": "efficientnet_lite0"}

    def model_space(self) -> ModelSpace:
        images = ImageForm(height=40, width=60, channels=1)
        space = make_model_space(section("efficientnet_lite0", resolutions=[24, 40]), 5, Path(), images)
        assert space.input_shape(space.space.largest) == (1, 40, 60)
        return space


class TestMobileNetV3Large(PublishedLaws):
    options: ClassVar = {"space": "mobilenetv3_large"}


@pytest.mark.parametrize(
    ("space", "parameters", "macs"),
    # known from the descriptions of the networks: 4.65 million and 385 million, 5.48 million and 217 million
    [("efficientnet_lite0", 4_652_008, 385_187_552), ("mobilenetv3_large", 5_483_032, 216_589_760)],
)
def test_the_largest_network_has_the_published_size(space: str, parameters: int, macs: int) -> None:
    model_space = make_model_space(section(space), 1000)
    largest = model_space.build(model_space.space.largest)
    assert sum(p.numel() for p in largest.parameters()) == parameters
    assert count_macs(model_space, model_space.space.largest) == macs


@pytest.mark.parametrize("options", [{"expands": [2]}, {"kernels": [3]}, {"min_depth": 4}, {"kernels": [7]}])
def test_no_option_changes_the_largest_network(options: dict[str, Any]) -> None:
    def shapes(**options: Any) -> dict[str, torch.Size]:
        model_space = make_model_space(section("efficientnet_lite0", **options), 5)
        with torch.device("meta"):
            return {n: t.shape for n, t in model_space.build(model_space.space.largest).state_dict().items()}

    assert shapes(**options) == shapes()


def test_a_block_has_the_options_up_to_its_own() -> None:
    space = make_model_space(section("mobilenetv3_large"), 5).space
    options = {choice.name: choice.options for choice in space}
    assert options["stages.3.blocks.1.expand"] == (2.0, 2.5)
    assert options["stages.0.blocks.0.expand"] == (1.0,)
    assert options["stages.1.blocks.0.kernel"] == (3,)
    assert options["stages.2.blocks.0.kernel"] == (3, 5)
    assert options["stages.2.depth"] == (1, 2, 3)


@pytest.mark.parametrize("size", [32, 40, 63, 224])
def test_padding_is_that_of_tensorflow(size: int) -> None:
    """Outputs of TensorFlow's `same` at stride 2 are at the positions 0, 2, ... of a convolution of the padded image,
    which starts `total // 2` before it; written here with explicit windows."""
    model_space = make_model_space(section("efficientnet_lite0", resolutions=[size]), 5)
    stem = model_space.build(model_space.space.largest).stem
    image = torch.randn(1, 3, size, size)
    outputs = (size + 1) // 2
    start = ((outputs - 1) * 2 + 3 - size) // 2
    wide = torch.zeros(1, 3, size + 8, size + 8)
    wide[:, :, 4 : 4 + size, 4 : 4 + size] = image
    expected = [
        (wide[0, :, 4 - start + 2 * row :, 4 - start + 2 * column :][:, :3, :3] * stem.conv.weight[0]).sum()
        for row, column in ((0, 0), (outputs - 1, outputs - 1), (0, outputs - 1), (outputs // 2, 1))
    ]
    padded = image if stem.pad is None else stem.pad(image)
    found = stem.conv(padded)[0, 0]
    assert found.shape == (outputs, outputs)
    values = torch.stack([found[0, 0], found[-1, -1], found[0, -1], found[outputs // 2, 1]])
    torch.testing.assert_close(values, torch.stack(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": [2, 3]}, "'kernels': kernel sizes .* must be odd"),
        ({"expands": [3, 2]}, r"'expands': options \[3.0, 2.0\] must be ascending"),
        ({"min_depth": 0}, "'min_depth': must be from 1 to 256, got 0"),
        ({"from": "imagenet"}, "'from': must be 'pretrained'|'from'"),
        ({"form": "pretrained"}, "unknown key 'form'; did you mean 'from'"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        section("efficientnet_lite0", **options)


def _mask_channels(block: Any, hidden: int) -> None:
    if block.expand is not None:
        _silence(block.expand.norm, hidden)
    _silence(block.depthwise.norm, hidden)
    if block.squeeze_excite is not None:
        squeezed = make_divisible(hidden // 4)
        block.squeeze_excite.squeeze.weight[squeezed:] = 0
        block.squeeze_excite.squeeze.bias[squeezed:] = 0


def _mask_rim(weight: torch.Tensor, kernel: int) -> None:
    """Zeros around the centre of the depthwise kernel."""
    rim = (weight.shape[-1] - kernel) // 2
    inner = weight.clone()
    weight.zero_()
    weight[:, :, rim : weight.shape[-1] - rim, rim : weight.shape[-1] - rim] = inner[
        :, :, rim : weight.shape[-1] - rim, rim : weight.shape[-1] - rim
    ]


def _silence(norm: Any, used: int) -> None:
    """Make the output of all channels from `used` on zero for every input."""
    norm.weight[used:] = 0
    norm.bias[used:] = 0
