"""Multiply-accumulate operations, compared with formulas for the layers that a network really runs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from supernet.model_space import ModelSpace
from supernet.sharing.macs import count_macs
from supernet.sharing.meta_calls import run_on_meta
from supernet.space import SubnetConfig
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig, StageConfig
from supernet.spaces.ofa import OfaSpace
from supernet.spaces.ofa_config import OfaMbv3Config, OfaProxylessConfig
from supernet.spaces.published import PublishedSpace
from supernet.spaces.published_config import EfficientNetLite0Config
from supernet.spaces.transformer import SelfAttention
from supernet.spaces.transformer_config import VisionTransformerConfig
from supernet.spaces.vit import VisionTransformerSpace

ATEN = torch.ops.aten


def mobilenet() -> ModelSpace:
    stage = StageConfig(widths=(8, 16), depths=(1, 2), expands=(2.0,), squeeze_excite=True, activation="hard_swish")
    config = MobileNetConfig(resolutions=(16, 24), stem_width=8, stem_stride=2, stages=(stage,), head_width=16)
    return MobileNetSpace(config, classes=4)


def vit() -> ModelSpace:
    config = VisionTransformerConfig(resolutions=(16, 32), patch=8, widths=(16, 32), depths=(1, 2), heads=(1, 2))
    return VisionTransformerSpace(config, classes=4)


SPACES: dict[str, Callable[[], ModelSpace]] = {
    "efficientnet_lite0": lambda: PublishedSpace(EfficientNetLite0Config(resolutions=(40,)), 10),
    "mobilenet": mobilenet,
    "ofa_mbv3": lambda: OfaSpace(OfaMbv3Config(resolutions=(32, 64), width_mult=0.25), 10),
    "ofa_proxyless": lambda: OfaSpace(OfaProxylessConfig(resolutions=(32,), width_mult=0.25), 10),
    "vit": vit,
}


def of_layers(space: ModelSpace, subnet: SubnetConfig) -> int:
    """The sum over layers as they run: outputs times inputs per output; attention is two products for each head."""
    total = 0

    def add(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, SelfAttention):
            total += 2 * layer.heads * layer.head_dim * inputs[0].shape[1] ** 2
        else:
            total += output.numel() * layer.weight[0].numel()

    module = space.build(subnet).eval()
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear, SelfAttention)):
            layer.register_forward_hook(add)
    with torch.no_grad():
        module(torch.zeros(1, *space.input_shape(subnet)))
    return total


@pytest.mark.parametrize("name", SPACES)
def test_macs_are_the_sum_over_the_layers(name: str) -> None:
    space = SPACES[name]()
    small, large = (count_macs(space, subnet) for subnet in (space.space.smallest, space.space.largest))
    assert (small, large) == (of_layers(space, space.space.smallest), of_layers(space, space.space.largest))
    assert 0 < small < large


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(1, 1, 0, 1), (3, 2, 1, 1), (5, 1, 2, 2)])
def test_a_convolution_has_the_shape_that_torch_gives(
    transposed: bool, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(4, 8, kernel, stride, padding, dilation=dilation, groups=2)
    image = torch.zeros(2, 4, 12, 11)
    spans = [[value, value] for value in (stride, padding, dilation)]
    args = (image, layer.weight, layer.bias, *spans, transposed, [0, 0], 2)
    assert run_on_meta(ATEN.convolution.default, args, {}).shape == layer(image).shape


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float32), (torch.int64, torch.float32)])
def test_a_sum_has_the_shape_and_type_that_torch_gives(dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    left, right = torch.zeros(2, 1, 3, dtype=dtypes[0]), torch.zeros(5, 1, dtype=dtypes[1])
    for function in (ATEN.add.Tensor, ATEN.mul.Tensor):
        found = run_on_meta(function, (left.to("meta"), right.to("meta")), {})
        assert (found.shape, found.dtype, found.is_meta) == ((2, 5, 3), (left + right).dtype, True)


def test_other_functions_are_left_to_torch() -> None:
    image = torch.empty(2, 3, 4, device="meta")
    assert run_on_meta(ATEN.mean.dim, (image, [1]), {}).shape == (2, 4)
    assert run_on_meta(ATEN.add.Tensor, (image, 1), {}).shape == image.shape
    assert run_on_meta(ATEN.relu_.default, (image,), {}) is image
    assert math.prod(run_on_meta(ATEN.permute.default, (image, [2, 0, 1]), {}).shape) == 24
