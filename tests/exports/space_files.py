"""The smallest subnet of each shipped model space as an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from exports.onnx.onnx_file import export_onnx
from supernet.chain import ChainModelSpace
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig, StageConfig
from supernet.spaces.ofa import OfaSpace
from supernet.spaces.ofa_config import OfaMbv3Config, OfaProxylessConfig
from supernet.spaces.published import PublishedSpace
from supernet.spaces.published_config import EfficientNetLite0Config, MobileNetV3LargeConfig
from supernet.spaces.transformer_config import VisionTransformerConfig
from supernet.spaces.vit import VisionTransformerSpace


def _mobilenet() -> ChainModelSpace:
    stages = (
        StageConfig(widths=(8,), depths=(2,), expands=(2.0,), stride=2),
        StageConfig(widths=(16,), depths=(1,), expands=(3.0,), squeeze_excite=True, activation="hard_swish"),
        StageConfig(widths=(136,), depths=(1,), kernels=(5,), expands=(9.0,), squeeze_excite=True),
    )
    config = MobileNetConfig(resolutions=(16,), stem_width=8, stages=stages, head_width=1280)
    return MobileNetSpace(config, classes=130)


def _vit() -> ChainModelSpace:
    config = VisionTransformerConfig(resolutions=(32,), patch=8, widths=(64,), depths=(2,), heads=(2,))
    return VisionTransformerSpace(config, classes=10)


SPACES: dict[str, Callable[[], ChainModelSpace]] = {
    "efficientnet_lite0": lambda: PublishedSpace(EfficientNetLite0Config(resolutions=(40,)), 10),
    "mobilenet": _mobilenet,
    "mobilenetv3_large": lambda: PublishedSpace(MobileNetV3LargeConfig(resolutions=(32,)), 10),
    "ofa_mbv3": lambda: OfaSpace(OfaMbv3Config(resolutions=(32,), depths=(2,), width_mult=0.5), 10),
    "ofa_proxyless": lambda: OfaSpace(OfaProxylessConfig(resolutions=(32,), depths=(2,)), 10),
    "vit": _vit,
}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The smallest subnet of a space, and its float32 file."""

    name: str
    space: ChainModelSpace
    module: nn.Module
    shape: tuple[int, ...]
    path: Path


def as_trained(module: nn.Module) -> nn.Module:
    """In evaluation mode, with no two constants alike and no bias of zeros, which the exporter would leave out."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values, low, high in (
                (layer.weight, 0.8, 1.2), (layer.bias, -0.2, 0.2), (layer.running_mean, -0.2, 0.2),
                (layer.running_var, 0.8, 1.2),
            ):  # fmt: skip
                nn.init.uniform_(values, low, high)
    for values in module.parameters():
        if values.ndim < 2 and (values == values[:1]).all():
            nn.init.uniform_(values, 0.1, 0.2)
    return module.eval()


def export_space(name: str, path: Path) -> Exported:
    """Export the smallest subnet of the space `name` to `path`."""
    torch.manual_seed(0)
    space = SPACES[name]()
    subnet = space.space.smallest
    module, shape = as_trained(space.build(subnet)), space.input_shape(subnet)
    export_onnx(module, shape, path)
    return Exported(name=name, space=space, module=module, shape=shape, path=path)
