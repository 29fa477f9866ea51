"""From stored images to network inputs: resolution, normalisation, augmentation. All on batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from supernet.training_config import AugmentConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """Mean and standard deviation per channel, in fractions of full scale."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def to_input(images: Tensor, resolution: int, normalisation: Normalisation) -> Tensor:
    """uint8 (n, 3, size, size) -> float32 (n, 3, resolution, resolution), channels last.

    Bilinear with half-pixel centres and no antialiasing, so that a client can repeat it in a few lines.
    """
    mean = torch.tensor(normalisation.mean)[:, None, None] * 255
    std = torch.tensor(normalisation.std)[:, None, None] * 255
    x = (images.to(torch.float32) - mean) / std
    if resolution != x.shape[-1]:
        x = functional.interpolate(x, size=(resolution, resolution), mode="bilinear", align_corners=False)
    return x.contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """uint8 (n, 3, size, size) -> the same shape, changed at random; `generator` decides everything.

    `config.shift` must be below size.
    """
    count, _, size, _ = images.shape
    rows = _shifted(count, size, config.shift, generator)
    columns = _shifted(count, size, config.shift, generator)
    if config.flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    batch = torch.arange(count)[:, None, None]
    changed = images[batch, :, rows[:, :, None], columns[:, None, :]]  # (n, size, size, 3)
    if config.cutout:
        changed[_square(count, size, config.cutout, generator)] = 128
    return changed.permute(0, 3, 1, 2)


def _shifted(count: int, size: int, shift: int, generator: torch.Generator) -> Tensor:
    """Indices (n, size) of a line of pixels after a random shift, reflected at the ends."""
    offsets = torch.randint(-shift, shift + 1, (count, 1), generator=generator)
    index = (torch.arange(size)[None] + offsets).abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


def _square(count: int, size: int, side: int, generator: torch.Generator) -> Tensor:
    """Mask (n, size, size) of one square per image, cut off at the border."""
    centre = torch.randint(0, size, (2, count, 1), generator=generator)
    offsets = torch.arange(size)[None, None] - (centre - side // 2)
    inside = (offsets >= 0) & (offsets < side)  # (2, n, size)
    return inside[0][:, :, None] & inside[1][:, None, :]
