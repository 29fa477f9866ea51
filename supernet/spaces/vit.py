"""A vision transformer with elastic resolution, width and depth, and per block heads and MLP ratio.

After Dosovitskiy et al., "An image is worth 16x16 words" (2021), simplified as in Beyer et al., "Better plain ViT
baselines for ImageNet-1k" (2022): mean pooling instead of a class token, and positions as fixed sines and cosines.
Learned positions could not be shared: the grid of a smaller image covers the same picture with fewer patches, so its
table is not a slice of the largest grid's table. A function of the position in the picture is right for every grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from factory_base.errors import SpaceError
from supernet.chain import Link
from supernet.data.image_form import SQUARE, ImageForm
from supernet.sharing.importance import SortGroup
from supernet.sharing.slicing import SliceRule
from supernet.space import SearchSpace, SubnetConfig
from supernet.spaces.sorting import transformer_block_groups
from supernet.spaces.transformer import SLICING, initialise, make_blocks
from supernet.spaces.transformer_config import VisionTransformerConfig, vit_links, vit_search_space

_GOLDEN = (math.sqrt(5) - 1) / 2  # steps of the golden ratio spread evenly over an interval, however many there are


class VisionTransformerSpace:
    """The model space of a `VisionTransformerConfig` for `classes` classes and images as given.

    Raises:
        SpaceError: Images are not whole patches wide.
    """

    def __init__(self, config: VisionTransformerConfig, classes: int, images: ImageForm = SQUARE) -> None:
        widths = [images.input_shape(resolution)[2] for resolution in config.resolutions]
        if odd := next((width for width in widths if width % config.patch), None):
            raise SpaceError(
                f"vit: inputs of {config.resolutions[widths.index(odd)]} rows are {odd} pixels wide, which is not a "
                f"multiple of patch {config.patch}; choose other resolutions, or another data.image_size"
            )
        self._config = config
        self._classes = classes
        self._images = images
        self._space = vit_search_space(config)

    @property
    def space(self) -> SearchSpace:
        """The named choices; see `vit_search_space`."""
        return self._space

    @property
    def slicing(self) -> Mapping[str, SliceRule]:
        """The rule for the fused query, key and value matrices. See `SlicedModelSpace`."""
        return SLICING

    @property
    def sortable(self) -> tuple[SortGroup, ...]:
        """The heads and the MLP neurons; not the width, whose channels have fixed sines. See `SortableModelSpace`."""
        blocks = (f"blocks.{i}" for i in range(self._config.depths[-1]))
        return tuple(group for block in blocks for group in transformer_block_groups(block, self._config.head_dim))

    @property
    def links(self) -> tuple[Link, ...]:
        """Patches, blocks, head. See `ChainModelSpace`."""
        return vit_links(self._config)

    def parts(self, network: nn.Module) -> Mapping[str, nn.Module]:
        """See `ChainModelSpace`."""
        blocks = {f"blocks.{i}": block for i, block in enumerate(network.blocks)}  # type: ignore[arg-type]
        return {"patches": _Patches(network), **blocks, "head": _Head(network)}

    def build(self, subnet: SubnetConfig) -> nn.Module:
        """The network of `subnet`: float images (batch, *input_shape(subnet)) -> logits (batch, classes)."""
        return VisionTransformer(self._config, subnet, self._classes, self._images)

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """(channels, resolution, width); of square images, the width is the resolution, too."""
        return self._images.input_shape(int(subnet["resolution"]))

    def for_images(self, images: ImageForm) -> VisionTransformerSpace:
        """See `ImageModelSpace`."""
        return VisionTransformerSpace(self._config, self._classes, images)


class VisionTransformer(nn.Module):
    """A static network."""

    positions: Tensor

    def __init__(self, config: VisionTransformerConfig, subnet: SubnetConfig, classes: int, images: ImageForm) -> None:
        super().__init__()
        width, shape = int(subnet["width"]), images.input_shape(int(subnet["resolution"]))
        self.patches = nn.Conv2d(shape[0], width, config.patch, config.patch)
        finest = max(images.input_shape(config.largest_resolution)[1:]) // config.patch
        positions = grid_positions((shape[1] // config.patch, shape[2] // config.patch), width, finest)
        self.register_buffer("positions", positions, persistent=False)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = make_blocks(config, subnet)
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:  # (batch, channels, height, width) -> (batch, classes)
        """Logits of a batch of images."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.classify(x)

    def embed(self, x: Tensor) -> Tensor:  # (batch, channels, height, width) -> (batch, rows * columns, width)
        """One token per patch."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.dropout(x + self.positions)  # type: ignore[no-any-return]

    def classify(self, x: Tensor) -> Tensor:  # (batch, rows * columns, width) -> (batch, classes)
        """Logits from the tokens of the last block."""
        return self.classifier(self.norm(x).mean(1))  # type: ignore[no-any-return]


class _Patches(nn.Module):
    """The first part of the chain, made of the layers of `network`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.patches, self.dropout = network.patches, network.dropout
        self.register_buffer("positions", network.positions, persistent=False)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return VisionTransformer.embed(self, x)  # type: ignore[arg-type]


class _Head(nn.Module):
    """The last part of the chain, made of the layers of `network`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.norm, self.classifier = network.norm, network.classifier

    def forward(self, x: Tensor) -> Tensor:
        return VisionTransformer.classify(self, x)  # type: ignore[arg-type]


def grid_positions(grid: tuple[int, int], width: int, finest: int) -> Tensor:
    """The positions of all patches as sines and cosines, float32 (rows * columns, width), row by row.

    Channel `c` is a function of the patch's centre in the picture (0 to 1) and of `c` alone, so a narrower table is the
    leading part of a wider one. Four channels share a frequency (the sine and cosine, down and across), between half a
    wave over the picture and half a wave per patch of the finest grid. The frequencies are in the order of golden ratio
    steps, so that any leading part of them covers the range evenly.

    Args:
        grid: Rows and columns of patches.
        width: Channels.
        finest: Patches along the longer side at the largest resolution.
    """
    rows, columns = grid
    share = torch.arange(-(-width // 4)) * _GOLDEN % 1
    waves = []  # down and across: (patches, width / 4, 2)
    for patches in grid:
        centres = (torch.arange(patches) + 0.5) / patches
        angles = centres[:, None] * torch.pi * finest**share  # (patches, width / 4)
        waves.append(torch.stack((angles.sin(), angles.cos()), dim=-1))
    down = waves[0][:, None].expand(-1, columns, -1, -1)
    across = waves[1][None].expand(rows, -1, -1, -1)
    return torch.cat((down, across), dim=-1).reshape(rows * columns, -1)[:, :width].contiguous()
