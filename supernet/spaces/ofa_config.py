"""The `model` sections of the official once-for-all spaces, their widths and choices. Imports no torch.

All numbers are from Cai et al., "Once-for-All" (2020), and the layout of its published supernets. The layout was
checked with synthetic checkpoints made from its description, not with a downloaded file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from supernet.chain import Link
from supernet.space import Choice, SearchSpace
from supernet.spaces.config import SpaceConfig
from supernet.spaces.options import Resolutions, Sizes

Activation = Literal["relu", "relu6", "hard_swish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfaStage:
    """A stage of a family, before the width multiplier.

    Attributes:
        width: Output channels of every block.
        stride: Stride of the first block.
        activation: Activation in the blocks.
        squeeze_excite: Whether blocks re-weight their hidden channels.
        blocks: Largest number of blocks.
    """

    width: int
    stride: int
    activation: Activation
    squeeze_excite: bool = False
    blocks: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OfaFamily:
    """The properties of all networks of a family, before the width multiplier.

    Attributes:
        activation: Activation of the stem and of the layers after the stages.
        stem_width: Output channels of the first convolution.
        first_width: Output channels of the fixed first block.
        first_activation: Activation in the fixed first block.
        stages: The elastic stages.
        expand_width: Output channels of the convolution before pooling; 0 if the family has no such layer.
        mix_width: Input channels of the classifier.
        norm_eps: Added to the variance in batch normalisation.
    """

    activation: Activation
    stem_width: int
    first_width: int
    first_activation: Activation
    stages: tuple[OfaStage, ...]
    expand_width: int
    mix_width: int
    norm_eps: float


MOBILENET_V3 = OfaFamily(
    activation="hard_swish",
    stem_width=16,
    first_width=16,
    first_activation="relu",
    stages=(
        OfaStage(width=24, stride=2, activation="relu"),
        OfaStage(width=40, stride=2, activation="relu", squeeze_excite=True),
        OfaStage(width=80, stride=2, activation="hard_swish"),
        OfaStage(width=112, stride=1, activation="hard_swish", squeeze_excite=True),
        OfaStage(width=160, stride=2, activation="hard_swish", squeeze_excite=True),
    ),
    expand_width=960,
    mix_width=1280,
    norm_eps=1e-5,
)

PROXYLESS = OfaFamily(
    activation="relu6",
    stem_width=32,
    first_width=16,
    first_activation="relu6",
    stages=(
        OfaStage(width=24, stride=2, activation="relu6"),
        OfaStage(width=40, stride=2, activation="relu6"),
        OfaStage(width=80, stride=2, activation="relu6"),
        OfaStage(width=96, stride=1, activation="relu6"),
        OfaStage(width=192, stride=2, activation="relu6"),
        OfaStage(width=320, stride=1, activation="relu6", blocks=1),
    ),
    expand_width=0,
    mix_width=1280,
    norm_eps=1e-3,
)


def _among(*allowed: int) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    def check(options: tuple[int, ...]) -> tuple[int, ...]:
        if not set(options) <= set(allowed):
            raise ValueError(f"options {list(options)} must be among {list(allowed)}")
        return options

    return check


class OfaConfig(SpaceConfig):
    """The options of both families. To load official weights, keep the largest option of every choice.

    The upper limit of `width_mult` only catches typing errors.
    """

    resolutions: Resolutions = (128, 160, 192, 224)
    """Sides of the square input in pixels, at most the data set's `image_size`."""
    width_mult: float = Field(default=1.0, gt=0, le=4)
    """Factor on all widths, fixed within a supernet."""
    depths: Annotated[Sizes, AfterValidator(_among(2, 3, 4))] = (2, 3, 4)
    """Numbers of blocks, chosen per stage."""
    kernels: Annotated[Sizes, AfterValidator(_among(3, 5, 7))] = (3, 5, 7)
    """Sizes of the depthwise kernel, chosen per block."""
    expands: Annotated[Sizes, AfterValidator(_among(3, 4, 6))] = (3, 4, 6)
    """Ratios of hidden to input channels, chosen per block."""

    @property
    def largest_resolution(self) -> int:
        """See `SpaceConfig`."""
        return self.resolutions[-1]

    @property
    def family(self) -> OfaFamily:
        """The properties of all networks of the space."""
        return OFA_FAMILIES[self.space].family

    def width(self, channels: int) -> int:
        """`channels` times the multiplier, rounded by `make_divisible`."""
        return make_divisible(channels * self.width_mult)


class OfaMbv3Config(OfaConfig):
    """The options of the space `ofa_mbv3` (MobileNetV3), published with `width_mult` 1.0 and 1.2."""

    space: Literal["ofa_mbv3"] = "ofa_mbv3"


class OfaProxylessConfig(OfaConfig):
    """The options of the space `ofa_proxyless` (ProxylessNAS), published with `width_mult` 1.3."""

    space: Literal["ofa_proxyless"] = "ofa_proxyless"
    width_mult: float = Field(default=1.3, gt=0, le=4)
    """Factor on all widths, fixed within a supernet."""


@dataclass(frozen=True, slots=True)
class OfaEntry:
    """A family and the class of its `model` section."""

    family: OfaFamily
    config: type[OfaMbv3Config] | type[OfaProxylessConfig]


OFA_FAMILIES: dict[str, OfaEntry] = {
    "ofa_mbv3": OfaEntry(MOBILENET_V3, OfaMbv3Config),
    "ofa_proxyless": OfaEntry(PROXYLESS, OfaProxylessConfig),
}
"""Name of the space -> family and class of its `model` section."""


def make_divisible(channels: float) -> int:
    """The nearest multiple of 8 that is at least 8 and at least 0.9 of `channels` (18 becomes 24, not 16).

    The rule of the MobileNet code, which the published supernets follow.
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def search_space(config: OfaConfig) -> SearchSpace:
    """The named choices: `resolution`, per stage `depth`, per block `kernel` and `expand`."""
    choices = [Choice(name="resolution", options=config.resolutions)]
    for i, stage in enumerate(config.family.stages):
        depths = tuple(depth for depth in config.depths if depth <= stage.blocks) or (stage.blocks,)
        choices.append(Choice(name=f"stages.{i}.depth", options=depths))
        for j in range(depths[-1]):
            for name, options in (("kernel", config.kernels), ("expand", config.expands)):
                place: dict[str, Any] = {"depth_choice": f"stages.{i}.depth", "exists_from": j + 1}
                choices.append(Choice(name=f"stages.{i}.blocks.{j}.{name}", options=options, **place))
    return SearchSpace(tuple(choices))


def links(config: OfaConfig) -> tuple[Link, ...]:
    """Stem, every elastic block, tail. Widths are fixed."""
    found = [Link(name="stem", choices=("resolution",))]
    depths = {c.name: c.options for c in search_space(config) if c.name.endswith(".depth")}
    for i in range(len(config.family.stages)):
        depth = f"stages.{i}.depth"
        for j in range(int(depths[depth][-1])):
            inside = tuple(f"stages.{i}.blocks.{j}.{name}" for name in ("kernel", "expand"))
            found.append(
                Link(name=f"stages.{i}.{j}", choices=("resolution", *inside), depth_choice=depth, exists_from=j + 1)
            )
    return (*found, Link(name="tail", choices=("resolution",)))
