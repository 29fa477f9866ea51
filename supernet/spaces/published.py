"""Model spaces around one published network each, EfficientNet-Lite0 or MobileNetV3-Large, as plain static networks.

The largest network is exactly the published one; `supernet.weights.layouts` reads its published weights. Smaller ones
have fewer blocks in a stage, fewer hidden channels, the centre of a depthwise kernel, or smaller images. The widths
between blocks are fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from supernet.chain import Link
from supernet.data.image_form import SQUARE, ImageForm
from supernet.sharing.importance import SortGroup
from supernet.space import SearchSpace, SubnetConfig
from supernet.spaces.blocks import ACTIVATIONS, BlockShape, ConvNorm, InvertedResidual, initialise
from supernet.spaces.ofa_config import make_divisible
from supernet.spaces.parts import numbered_blocks
from supernet.spaces.published_config import PublishedConfig, links, search_space
from supernet.spaces.sorting import inverted_residual_groups


class PublishedSpace:
    """The model space of a `PublishedConfig` for `classes` classes and images of the channels and proportions given."""

    def __init__(self, config: PublishedConfig, classes: int, images: ImageForm = SQUARE) -> None:
        self._config = config
        self._classes = classes
        self._images = images
        self._space = search_space(config)

    @property
    def space(self) -> SearchSpace:
        """The named choices: `resolution`, per stage `depth`, per block `kernel` and `expand`."""
        return self._space

    @property
    def sortable(self) -> tuple[SortGroup, ...]:
        """The hidden channels of every block that has an expansion. Widths are fixed. See `SortableModelSpace`."""
        return tuple(
            group
            for i, stage in enumerate(self._config.network.stages)
            for j, expand in enumerate(stage.expands)
            if expand > 1
            for group in inverted_residual_groups(f"stages.{i}.{j}", squeeze_excite=stage.squeeze_excite)
        )

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
        return PublishedNet(self._config, subnet, self._classes, self._images.channels)

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """(channels, resolution, width); of square images, the width is the resolution, too."""
        return self._images.input_shape(int(subnet["resolution"]))

    def for_images(self, images: ImageForm) -> PublishedSpace:
        """See `ImageModelSpace`."""
        return PublishedSpace(self._config, self._classes, images)


class PublishedNet(nn.Module):
    """A static network. `stages.<i>.<j>` is block `j` of stage `i`, present if the stage is deep enough."""

    def __init__(self, config: PublishedConfig, subnet: SubnetConfig, classes: int, inputs: int) -> None:
        super().__init__()
        network, eps = config.network, config.norm_eps
        self.stem = ConvNorm(inputs, network.stem_width, 3, eps, stride=2, same=config.padding == "same")
        self.stem_activation = ACTIVATIONS[network.activation]()
        shapes = _block_shapes(config, subnet)
        self.stages = nn.ModuleList(
            nn.ModuleList(InvertedResidual(next(shapes)) for _ in range(int(subnet[f"stages.{i}.depth"])))
            for i in range(len(network.stages))
        )
        self.head = ConvNorm(network.stages[-1].width, network.head_width, 1, eps)
        self.head_activation = ACTIVATIONS[network.activation]()
        mixed = network.mix_width
        self.mix = nn.Conv2d(network.head_width, mixed, 1) if mixed else None
        self.mix_activation = ACTIVATIONS[network.activation]() if mixed else None
        self.classifier = nn.Linear(mixed or network.head_width, classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:  # (batch, inputs, height, width) -> (batch, classes)
        """Logits of a batch of images."""
        x = self.stem_activation(self.stem(x))
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
        return _classified(self, x)


class _Head(nn.Module):
    """The last part of the chain, made of the layers of `network`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.head, self.head_activation = network.head, network.head_activation
        self.mix, self.mix_activation = network.mix, network.mix_activation
        self.classifier = network.classifier

    def forward(self, x: Tensor) -> Tensor:  # (batch, channels, height, width) -> (batch, classes)
        return _classified(self, x)


def _classified(layers: nn.Module, x: Tensor) -> Tensor:  # (batch, channels, height, width) -> (batch, classes)
    """The layers after the last block."""
    x = layers.head_activation(layers.head(x)).mean((2, 3), keepdim=True)  # type: ignore[operator]
    if layers.mix is not None:
        x = layers.mix_activation(layers.mix(x))  # type: ignore[operator]
    return layers.classifier(x.flatten(1))  # type: ignore[operator,no-any-return]


def _block_shapes(config: PublishedConfig, subnet: SubnetConfig) -> Iterator[BlockShape]:
    """The shapes of all blocks that `subnet` has, in order."""
    network, values = config.network, subnet.to_dict()
    channels = network.stem_width
    for i, stage in enumerate(network.stages):
        for j in range(int(values[f"stages.{i}.depth"])):
            stride = stage.stride if j == 0 else 1
            expand = values[f"stages.{i}.blocks.{j}.expand"]
            yield BlockShape(
                inputs=channels,
                hidden=make_divisible(channels * expand),
                outputs=stage.width,
                kernel=int(values[f"stages.{i}.blocks.{j}.kernel"]),
                stride=stride,
                activation=stage.activation,
                norm_eps=config.norm_eps,
                shortcut=stride == 1 and channels == stage.width,
                expands=stage.expands[j] > 1,
                squeeze_excite=stage.squeeze_excite,
                same=config.padding == "same",
            )
            channels = stage.width
