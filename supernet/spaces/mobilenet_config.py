"""The `model` section of the space `mobilenet`, and its choices. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from factory_base.documents import Document
from supernet.chain import Link
from supernet.space import Choice, Option, SearchSpace
from supernet.spaces.config import SpaceConfig
from supernet.spaces.options import Depths, Kernels, Ratios, Resolutions, Size, Sizes

Activation = Literal["relu", "hard_swish"]


def odd_sizes(options: tuple[int, ...]) -> tuple[int, ...]:
    """`options`, sides of kernels. Raises `ValueError` if one is even."""
    if any(size % 2 == 0 for size in options):
        raise ValueError(f"kernel sizes {list(options)} must be odd, so that a smaller kernel has the same centre")
    return options


class StageConfig(Document):
    """The options of one stage: consecutive blocks of equal resolution and width."""

    widths: Sizes
    """Output channels of every block."""
    depths: Depths
    """Numbers of blocks."""
    kernels: Annotated[Kernels, AfterValidator(odd_sizes)] = (3,)
    """Sizes of the depthwise kernel, chosen per block; odd numbers."""
    expands: Ratios = (4.0,)
    """Ratios of hidden to input channels, chosen per block."""
    stride: Literal[1, 2] = 1
    """Stride of the first block."""
    squeeze_excite: bool = False
    """Whether blocks re-weight their hidden channels; it costs accuracy in int8."""
    activation: Activation = "relu"
    """Activation in the blocks; that of the first stage also follows the stem, that of the last the head."""


class MobileNetConfig(SpaceConfig):
    """The options of the space `mobilenet`."""

    space: Literal["mobilenet"] = "mobilenet"
    resolutions: Resolutions
    """Sides of the square input in pixels, at most the data set's `image_size`."""
    stem_width: Size
    """Output channels of the first convolution (3x3)."""
    stem_stride: Literal[1, 2] = 1
    """Stride of the first convolution."""
    stages: tuple[StageConfig, ...] = Field(min_length=1, max_length=64)
    """The stages, in order."""
    head_width: Size
    """Output channels of the last convolution (1x1), which global pooling reads."""

    @property
    def largest_resolution(self) -> int:
        """See `SpaceConfig`."""
        return self.resolutions[-1]


def search_space(config: MobileNetConfig) -> SearchSpace:
    """The named choices: `resolution`, per stage `width` and `depth`, per block `kernel` and `expand`."""
    return SearchSpace(tuple(_choices(config)))


def links(config: MobileNetConfig) -> tuple[Link, ...]:
    """Stem, every block of every stage, head. The first block of a stage also depends on the previous stage's width."""
    found = [Link(name="stem", choices=("resolution",))]
    width = ""
    for i, stage in enumerate(config.stages):
        for j in range(stage.depths[-1]):
            before = width if j == 0 else ""
            around = ("resolution", *([before] if before else []), f"stages.{i}.width")
            inside = (f"stages.{i}.blocks.{j}.kernel", f"stages.{i}.blocks.{j}.expand")
            place = Link(
                name=f"stages.{i}.{j}",
                choices=(*around, *inside),
                depth_choice=f"stages.{i}.depth",
                exists_from=j + 1,
            )
            found.append(place)
        width = f"stages.{i}.width"
    return (*found, Link(name="head", choices=("resolution", width)))


def _choices(config: MobileNetConfig) -> list[Choice]:
    choices = [Choice(name="resolution", options=config.resolutions)]
    for i, stage in enumerate(config.stages):
        choices.append(Choice(name=f"stages.{i}.width", options=stage.widths))
        choices.append(Choice(name=f"stages.{i}.depth", options=stage.depths))
        for j in range(stage.depths[-1]):
            for name, options in (("kernel", stage.kernels), ("expand", stage.expands)):
                choices.append(_block_choice(i, j, name, options))
    return choices


def _block_choice(stage: int, block: int, name: str, options: tuple[Option, ...]) -> Choice:
    return Choice(
        name=f"stages.{stage}.blocks.{block}.{name}",
        options=options,
        depth_choice=f"stages.{stage}.depth",
        exists_from=block + 1,
    )
