"""The `model` sections of the spaces `vit` and `text_encoder`, and their choices. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from supernet.chain import Link
from supernet.space import Choice, Option, SearchSpace
from supernet.spaces.config import InputKind, SpaceConfig
from supernet.spaces.options import Depths, Ratios, Resolutions, Sizes


class TransformerConfig(SpaceConfig):
    """The options of a stack of transformer blocks."""

    widths: Sizes
    """Channels of the embedding, the same in all blocks."""
    depths: Depths
    """Numbers of blocks."""
    heads: Depths
    """Numbers of attention heads, chosen per block."""
    head_dim: int = Field(default=16, ge=1, le=4096)
    """Channels of a head. Fixed, so that a subnet has the leading heads of the largest network, each of them whole. The
    default suits narrow networks; BERT and ViT have 64."""
    mlp_ratios: Ratios = (4.0,)
    """Ratios of hidden channels of a block's MLP to the width, chosen per block; 4 as in Vaswani et al., 2017."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout probability in the embedding and in each branch; it acts on the largest network in training only."""


class VisionTransformerConfig(TransformerConfig):
    """The options of the space `vit`."""

    space: Literal["vit"] = "vit"
    resolutions: Resolutions
    """Sides of the square input in pixels: multiples of `patch`, at most the data set's `image_size`."""
    patch: int = Field(ge=1, le=1024)
    """Side of a patch in pixels."""

    @property
    def largest_resolution(self) -> int:
        """See `SpaceConfig`."""
        return self.resolutions[-1]

    @model_validator(mode="after")
    def _patches_fill_images(self) -> VisionTransformerConfig:
        wrong = [resolution for resolution in self.resolutions if resolution % self.patch]
        if wrong:
            raise ValueError(f"resolution {wrong[0]} is not a multiple of patch {self.patch}; choose multiples of it")
        return self


class TextEncoderConfig(TransformerConfig):
    """The options of the space `text_encoder`."""

    space: Literal["text_encoder"] = "text_encoder"
    vocabulary: int = Field(ge=3, le=100_000_000)
    """Number of different tokens: padding (0), the unknown word (1), and at least one word."""
    lengths: Sizes
    """Numbers of tokens of an input; longer texts are truncated."""

    @property
    def inputs(self) -> InputKind:
        """See `SpaceConfig`."""
        return "tokens"


def vit_search_space(config: VisionTransformerConfig) -> SearchSpace:
    """The named choices: `resolution`, `width`, `depth`, and per block `heads` and `mlp_ratio`."""
    return SearchSpace((Choice(name="resolution", options=config.resolutions), *_choices(config)))


def vit_links(config: VisionTransformerConfig) -> tuple[Link, ...]:
    """Patches, every block, head. All blocks have the same width, so every part depends on it."""
    around = ("resolution", "width")
    blocks = (
        Link(
            name=f"blocks.{i}",
            choices=(*around, f"blocks.{i}.heads", f"blocks.{i}.mlp_ratio"),
            depth_choice="depth",
            exists_from=i + 1,
        )
        for i in range(config.depths[-1])
    )
    return (Link(name="patches", choices=around), *blocks, Link(name="head", choices=around))


def text_search_space(config: TextEncoderConfig) -> SearchSpace:
    """The named choices: `length`, `width`, `depth`, and per block `heads` and `mlp_ratio`."""
    return SearchSpace((Choice(name="length", options=config.lengths), *_choices(config)))


def _choices(config: TransformerConfig) -> list[Choice]:
    choices = [Choice(name="width", options=config.widths), Choice(name="depth", options=config.depths)]
    for i in range(config.depths[-1]):
        options: dict[str, tuple[Option, ...]] = {"heads": config.heads, "mlp_ratio": config.mlp_ratios}
        for name, values in options.items():
            choices.append(Choice(name=f"blocks.{i}.{name}", options=values, depth_choice="depth", exists_from=i + 1))
    return choices
