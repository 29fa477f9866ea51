"""From stored images to network inputs: resolution, normalisation, augmentation. All on batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from supernet.examples import Draws
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageExamples:
    """Decoded images in memory. See `supernet.examples.Examples`.

    Attributes:
        images: uint8 (n, 3, size, size).
        labels: int64 (n,).
        normalisation: of the data set.
        augmentation: random changes of training images; None for none.
    """

    images: Tensor
    labels: Tensor
    normalisation: Normalisation
    augmentation: AugmentConfig | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor, draws: Draws | None) -> Tensor:
        """uint8 (b, 3, size, size)."""
        if draws is None or self.augmentation is None:
            return self.images[rows]
        return augment(self.images[rows], self.augmentation, draws, rows)

    def to_input(self, batch: Tensor, shape: tuple[int, ...]) -> Tensor:
        """float32 (b, *shape)."""
        return to_input(batch, shape[-1], self.normalisation)


def augment(images: Tensor, config: AugmentConfig, draws: Draws, rows: Tensor) -> Tensor:
    """uint8 (n, 3, size, size) -> the same shape, changed at random.

    Args:
        images: to change; `config.shift` must be below size.
        config: what may change.
        draws: decide everything.
        rows: which examples these are, int64 (n,).
    """
    size = images.shape[-1]
    lines = _shifted(draws.integers(rows, 0, -config.shift, config.shift), size)
    columns = _shifted(draws.integers(rows, 1, -config.shift, config.shift), size)
    if config.flip:
        mirrored = draws.uniform(rows, 2) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    batch = torch.arange(len(images))[:, None, None]
    changed = images[batch, :, lines[:, :, None], columns[:, None, :]]  # (n, size, size, 3)
    if config.cutout:
        centre = torch.stack((draws.integers(rows, 3, 0, size - 1), draws.integers(rows, 4, 0, size - 1)))
        changed[_square(centre[:, :, None], size, config.cutout)] = 128
    return changed.permute(0, 3, 1, 2)


def _shifted(offsets: Tensor, size: int) -> Tensor:
    """Indices (n, size) of a line of pixels shifted by `offsets` (n,), reflected at the ends."""
    index = (torch.arange(size)[None] + offsets[:, None]).abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


def _square(centre: Tensor, size: int, side: int) -> Tensor:
    """Mask (n, size, size) of one square per image at `centre` (2, n, 1), cut off at the border."""
    offsets = torch.arange(size)[None, None] - (centre - side // 2)
    inside = (offsets >= 0) & (offsets < side)  # (2, n, size)
    return inside[0][:, :, None] & inside[1][:, None, :]
