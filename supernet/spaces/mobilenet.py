"""A MobileNetV3-like model space with elastic resolution, depth, kernel, expansion ratio and width.

The blocks follow Howard et al., "Searching for MobileNetV3" (2019): pointwise expansion, depthwise convolution,
optional squeeze-and-excitation, linear pointwise projection. The first block of a stage changes stride and width and
never has a shortcut, even if its widths are equal, so that its role is the same in every subnet.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from supernet.chain import Link
from supernet.data.image_form import SQUARE, ImageForm
from supernet.sharing.importance import SortGroup, UnitAxis
from supernet.space import SearchSpace, SubnetConfig
from supernet.spaces.mobilenet_config import Activation, MobileNetConfig, StageConfig, links, search_space
from supernet.spaces.parts import numbered_blocks
from supernet.spaces.sorting import inverted_residual_groups, weight_and_bias

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "hard_swish": nn.Hardswish}


class MobileNetSpace:
    """The model space of a `MobileNetConfig` for `classes` classes and images of the channels and proportions given."""

    def __init__(self, config: MobileNetConfig, classes: int, images: ImageForm = SQUARE) -> None:
        self._config = config
        self._classes = classes
        self._images = images
        self._space = search_space(config)

    @property
    def space(self) -> SearchSpace:
        """The named choices: `resolution`, per stage `width` and `depth`, and per block `kernel` and `expand`."""
        return self._space

    @property
    def sortable(self) -> tuple[SortGroup, ...]:
        """The hidden channels of every block, and the channels of every stage. See `SortableModelSpace`."""
        groups = []
        for i, stage in enumerate(self._config.stages):
            blocks = [f"stages.{i}.{j}" for j in range(stage.depths[-1])]
            follower = f"stages.{i + 1}.0.expand" if i + 1 < len(self._config.stages) else "head"
            groups.append(_width_group(blocks, follower))
            for block in blocks:
                groups += inverted_residual_groups(block, squeeze_excite=stage.squeeze_excite)
        return tuple(groups)

    @property
    def links(self) -> tuple[Link, ...]:
        """Stem, blocks, head. See `ChainModelSpace`."""
        return links(self._config)

    def parts(self, network: nn.Module) -> Mapping[str, nn.Module]:
        """See `ChainModelSpace`."""
        stem = nn.Sequential(network.stem, network.stem_activation)  # type: ignore[arg-type]
        return {"stem": stem, **numbered_blocks(network.stages), "head": _Head(network)}  # type: ignore[arg-type]

    def build(self, subnet: SubnetConfig) -> nn.Module:
        """The network of `subnet`: float images (batch, *input_shape(subnet)) -> logits (batch, classes)."""
        return MobileNet(self._config, subnet, self._classes, self._images.channels)

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """(channels, resolution, width); of square images, the width is the resolution, too."""
        return self._images.input_shape(int(subnet["resolution"]))

    def for_images(self, images: ImageForm) -> MobileNetSpace:
        """See `ImageModelSpace`."""
        return MobileNetSpace(self._config, self._classes, images)


class MobileNet(nn.Module):
    """A static network. `stages.<i>.<j>` is block `j` of stage `i`, present if the stage is deep enough."""

    def __init__(self, config: MobileNetConfig, subnet: SubnetConfig, classes: int, inputs: int) -> None:
        super().__init__()
        values = subnet.to_dict()
        self.stem = _ConvNorm(inputs, config.stem_width, 3, config.stem_stride)
        self.stem_activation = _ACTIVATIONS[config.stages[0].activation]()
        self.stages = nn.ModuleList()
        channels = config.stem_width
        for i, stage in enumerate(config.stages):
            width = int(values[f"stages.{i}.width"])
            blocks = nn.ModuleList()
            for j in range(int(values[f"stages.{i}.depth"])):
                kernel = int(values[f"stages.{i}.blocks.{j}.kernel"])
                hidden = _round_channels(channels * values[f"stages.{i}.blocks.{j}.expand"])
                blocks.append(_Block(channels, hidden, width, kernel, stage.stride if j == 0 else 1, j > 0, stage))
                channels = width
            self.stages.append(blocks)
        self.head = _ConvNorm(channels, config.head_width, 1, 1)
        self.head_activation = _ACTIVATIONS[config.stages[-1].activation]()
        self.classifier = nn.Linear(config.head_width, classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:  # (batch, inputs, height, width) -> (batch, classes)
        """Logits of a batch of images."""
        x = self.stem_activation(self.stem(x))
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
        x = self.head_activation(self.head(x))
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]


class _Head(nn.Module):
    """The last part of the chain, made of the layers of `network`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.head, self.head_activation = network.head, network.head_activation
        self.classifier = network.classifier

    def forward(self, x: Tensor) -> Tensor:  # (batch, channels, size, size) -> (batch, classes)
        return self.classifier(self.head_activation(self.head(x)).mean((2, 3)))  # type: ignore[operator,no-any-return]


class _ConvNorm(nn.Module):
    """Convolution without bias, then batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


class _SqueezeExcite(nn.Module):
    """Channel gates from the global mean (Hu et al., 2018), a quarter as wide inside (Howard et al., 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _round_channels(channels / 4)
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gates = torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))
        gates = nn.functional.hardsigmoid(self.excite(gates))
        return x * gates


class _Block(nn.Module):
    """Inverted residual block; a `shortcut` needs stride 1 and equal widths."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, kernel: int, stride: int, shortcut: bool, stage: StageConfig
    ) -> None:
        super().__init__()
        self.expand = _ConvNorm(inputs, hidden, 1, 1)
        self.expand_activation = _ACTIVATIONS[stage.activation]()
        self.depthwise = _ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.depthwise_activation = _ACTIVATIONS[stage.activation]()
        self.squeeze_excite = _SqueezeExcite(hidden) if stage.squeeze_excite else None
        self.project = _ConvNorm(hidden, outputs, 1, 1)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.expand_activation(self.expand(x))
        y = self.depthwise_activation(self.depthwise(y))
        if self.squeeze_excite is not None:
            y = self.squeeze_excite(y)
        y = self.project(y)
        return x + y if self.shortcut else y


def _width_group(blocks: list[str], follower: str) -> SortGroup:
    """The output channels of a stage, which its blocks after the first and the next layer, `follower`, read."""
    readers = [*(f"{block}.expand" for block in blocks[1:]), follower]
    return SortGroup(
        ranked_by=tuple(UnitAxis(f"{reader}.conv.weight", 1) for reader in readers),
        along=tuple(
            axis
            for block in blocks
            for axis in (UnitAxis(f"{block}.project.conv.weight"), *weight_and_bias(f"{block}.project.norm"))
        ),
    )


def _round_channels(channels: float) -> int:
    """The nearest multiple of 8, the number of channels that mobile kernels process together, and at least 8."""
    return max(8, round(channels / 8) * 8)


def _initialise(module: nn.Module) -> None:
    """Fresh weights for one layer: He initialisation (He et al., 2015) for convolutions."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, _Block) and module.shortcut:
        nn.init.zeros_(module.project.norm.weight)  # a residual block starts as the identity (Goyal et al., 2017)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)  # the classifier, as in Goyal et al., 2017
        nn.init.zeros_(module.bias)
