"""Data augmentation of batches of images, on any device. Every image gets its own changes, decided by `Draws` alone.

This is our own code because no library offers it: kornia 0.9 takes only floats, draws from the global generator in the
order of the batch (so an image's changes depend on its neighbours and on how a batch is divided among workers) and
applies the same RandAugment operations to a whole batch; albumentations 2.0 works image by image in NumPy through
OpenCV and is no longer maintained, and its successor is AGPL-3.0; torchvision has no build for the torch releases
supported here.

The operations and their strengths follow AutoAugment (Cubuk et al., "AutoAugment: Learning augmentation policies from
data", 2018, table 6), as RandAugment does; the largest strengths below are those of that table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from supernet.data.augmentation_config import AugmentConfig
from supernet.data.examples import Draws

# The purposes for which numbers are drawn: another order would give other images for the same seed.
_SHIFT_Y, _SHIFT_X, _FLIP, _CUTOUT_Y, _CUTOUT_X, _CROP, _OPERATIONS = range(7)
_GREY = 128  # the middle of 0..255
_LARGEST_ANGLE = math.pi / 6  # 30 degrees
_LARGEST_SHEAR = 0.3
_LARGEST_TRANSLATION = 0.9  # of coordinates from -1 to 1: 0.45 of the size, as 150 of 331 pixels in AutoAugment
_LARGEST_CHANGE = 0.9  # of brightness, contrast and saturation: factors from 0.1 to 1.9
_MOST_BITS_REMOVED = 4  # of 8

Matrices = Callable[[Tensor], tuple[list[Tensor], list[Tensor]]]
"""Signed strengths (n,) -> the first two rows, three (n,) each, of the matrix from output to input coordinates."""

Colouring = Callable[[Tensor, Tensor], Tensor]
"""Pixels, float32 (n, channels, height, width) in 0..255, and signed strengths (n, 1, 1, 1) -> changed pixels."""


def augment(images: Tensor, config: AugmentConfig, draws: Draws, rows: Tensor) -> Tensor:
    """Randomly changed copies of `images`, uint8 (n, channels, height, width); `images` itself is not modified.

    Args:
        images: uint8 (n, channels, height, width); `config.check_size` must pass for the smaller side.
        config: The changes to apply.
        draws: The random numbers that decide every change.
        rows: The row of each image in the data set, int64 (n,): its address in `draws`.
    """
    rows = rows.to(images.device)
    height, width = images.shape[-2:]
    operations = _drawn_operations(config, draws, rows)
    if config.crop_area < 1 or operations:
        images = _warped(images, _transforms(config, draws, rows, (height, width), operations))
    elif config.flip or config.shift:
        images = _windows(images, config, draws, rows)
    for which, strength in operations:
        images = _recoloured(images, which, strength)
    if config.cutout:
        down = _covered(draws.integers(rows, _CUTOUT_Y, 0, height - 1), height, config.cutout)
        across = _covered(draws.integers(rows, _CUTOUT_X, 0, width - 1), width, config.cutout)
        images = images.masked_fill((down[:, :, None] & across[:, None, :])[:, None], _GREY)
    return images


def _offsets(config: AugmentConfig, draws: Draws, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shifts down and right in pixels, int64 (n,) each, and whether to mirror, bool (n,)."""
    down = draws.integers(rows, _SHIFT_Y, -config.shift, config.shift)
    right = draws.integers(rows, _SHIFT_X, -config.shift, config.shift)
    mirrored = draws.uniform(rows, _FLIP)[:, 0] < (0.5 if config.flip else 0.0)
    return down, right, mirrored


def _windows(images: Tensor, config: AugmentConfig, draws: Draws, rows: Tensor) -> Tensor:
    """Shifted and mirrored images without interpolation; the border is reflected."""
    down, right, mirrored = _offsets(config, draws, rows)
    lines, columns = _reflected(down, images.shape[-2]), _reflected(right, images.shape[-1])
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images[batch, :, lines[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflected(offsets: Tensor, size: int) -> Tensor:
    """Indices (n, size) into a line of pixels that is shifted by `offsets` (n,) and reflected at its ends."""
    index = (torch.arange(size, device=offsets.device)[None] + offsets[:, None]).abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


def _covered(centre: Tensor, size: int, side: int) -> Tensor:
    """Which places of an axis, bool (n, size), a square of `side` around `centre` (n,) covers."""
    offsets = torch.arange(size, device=centre.device)[None] - (centre[:, None] - side // 2)
    return (offsets >= 0) & (offsets < side)


def _warped(images: Tensor, transforms: Tensor) -> Tensor:
    """Images resampled by `transforms` (n, 3, 3) in one bilinear interpolation; the border is reflected."""
    height, width = images.shape[-2:]
    down, across = ((torch.arange(size, device=images.device) * 2 + 1) / size - 1 for size in (height, width))
    x, y = (
        row[:, 0, None, None] * across + (row[:, 1, None] * down + row[:, 2, None])[:, :, None]
        for row in transforms.unbind(1)[:2]
    )
    # The grid of functional.affine_grid, in a third of the time, scaled so that the border reflects at pixel centres.
    grid = torch.stack((x.mul_(width / (width - 1)), y.mul_(height / (height - 1))), -1)
    pixels = functional.grid_sample(
        images.to(torch.float32), grid, mode="bilinear", padding_mode="reflection", align_corners=True
    )
    return (pixels + 0.5).to(torch.uint8)  # a weighted mean of levels stays within 0..255: no clamping


def _transforms(
    config: AugmentConfig, draws: Draws, rows: Tensor, size: tuple[int, int], operations: list[tuple[Tensor, Tensor]]
) -> Tensor:
    """float32 (n, 3, 3): maps the place of an output pixel to its place in the original, both from -1 to 1."""
    down, right, mirrored = _offsets(config, draws, rows)
    one = torch.ones(len(rows), device=rows.device)
    zero = torch.zeros_like(one)
    height, width = size
    transforms = _matrices(
        [torch.where(mirrored, -one, one), zero, right * (2 / width)], [zero, one, down * (2 / height)]
    )
    if config.crop_area < 1:
        transforms = transforms @ _crops(config, draws, rows)
    for which, strength in operations:
        for index, name in enumerate(OPERATIONS):
            if name in _GEOMETRIC:
                moved = torch.where(which == index, strength, zero)
                first, second = _GEOMETRIC[name](moved)
                if height != width:  # operations are defined for axes of the same scale
                    first[1], second[0] = first[1] * (height / width), second[0] * (width / height)
                transforms = transforms @ _matrices(first, second)
    return transforms


def _crops(config: AugmentConfig, draws: Draws, rows: Tensor) -> Tensor:
    """Crops of random area, aspect ratio and place, as matrices (n, 3, 3)."""
    area, ratio, x, y = draws.uniform(rows, _CROP, 4).unbind(1)
    area = config.crop_area + area * (1 - config.crop_area)
    stretch = torch.exp((ratio - 0.5) * math.log(config.crop_ratio))  # the square root of the ratio
    width, height = ((area.sqrt() * side).clamp(max=1) for side in (stretch, 1 / stretch))
    zero = torch.zeros_like(width)
    return _matrices([width, zero, (2 * x - 1) * (1 - width)], [zero, height, (2 * y - 1) * (1 - height)])


def _matrices(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Matrices (n, 3, 3) from the entries of their first two rows, (n,) each."""
    last = torch.tensor([0.0, 0.0, 1.0], device=first[0].device).expand(len(first[0]), 3)
    return torch.stack((torch.stack(first, 1), torch.stack(second, 1), last), 1)


def _rotation(strength: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    angle, zero = strength * _LARGEST_ANGLE, torch.zeros_like(strength)
    return [angle.cos(), -angle.sin(), zero], [angle.sin(), angle.cos(), zero]


def _shear_x(strength: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return [one, _LARGEST_SHEAR * strength, zero], [zero, one, zero]


def _shear_y(strength: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return [one, zero, zero], [_LARGEST_SHEAR * strength, one, zero]


def _translation_x(strength: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return [one, zero, _LARGEST_TRANSLATION * strength], [zero, one, zero]


def _translation_y(strength: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return [one, zero, zero], [zero, one, _LARGEST_TRANSLATION * strength]


def _brightness(pixels: Tensor, strength: Tensor) -> Tensor:
    return pixels * (1 + _LARGEST_CHANGE * strength)


def _contrast(pixels: Tensor, strength: Tensor) -> Tensor:
    levels = _luma(pixels).to(torch.int64)  # integer sums do not depend on batch or threads
    mean = (levels.sum((1, 2, 3), keepdim=True) / levels[0].numel()).to(torch.float32)
    return mean + (pixels - mean) * (1 + _LARGEST_CHANGE * strength)


def _saturation(pixels: Tensor, strength: Tensor) -> Tensor:
    grey = _luma(pixels)
    return grey + (pixels - grey) * (1 + _LARGEST_CHANGE * strength)


def _posterise(pixels: Tensor, strength: Tensor) -> Tensor:
    step = torch.exp2((_MOST_BITS_REMOVED * strength.abs()).round())
    return (pixels / step).floor() * step


def _solarise(pixels: Tensor, strength: Tensor) -> Tensor:
    # The threshold falls from 256, which inverts nothing, to 0, which inverts all levels.
    return torch.where(pixels >= 256 * (1 - strength.abs()), 255 - pixels, pixels)


def _luma(pixels: Tensor) -> Tensor:
    """Luma, float32 (n, 1, height, width), with the weights of ITU-R BT.601; grey pixels are their own."""
    if pixels.shape[1] == 1:
        return pixels
    return 0.299 * pixels[:, :1] + 0.587 * pixels[:, 1:2] + 0.114 * pixels[:, 2:]


_GEOMETRIC: Final[dict[str, Matrices]] = {
    "rotate": _rotation,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translation_x,
    "translate_y": _translation_y,
}

_COLOUR: Final[dict[str, Colouring]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "posterize": _posterise,
    "solarize": _solarise,
}

OPERATIONS: Final = (*_GEOMETRIC, *_COLOUR)
"""The operations that `AugmentConfig.operations` draws from, all equally likely."""


def _drawn_operations(config: AugmentConfig, draws: Draws, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Per operation to apply: each image's index into `OPERATIONS`, int64 (n,), and signed strength, float32 (n,)."""
    drawn = []
    for number in range(config.operations):
        which, strength, sign = draws.uniform(rows, _OPERATIONS + number, 3).unbind(1)
        signed = config.magnitude * torch.where(sign < 0.5, -strength, strength)
        drawn.append(((which * len(OPERATIONS)).to(torch.int64), signed))
    return drawn


def _recoloured(images: Tensor, which: Tensor, strength: Tensor) -> Tensor:
    """Copies of `images` in which those whose operation `which` (n,) changes colours have it applied."""
    images = images.clone()
    for index, name in enumerate(OPERATIONS):
        chosen = (which == index).nonzero()[:, 0]
        if name in _COLOUR and len(chosen):
            pixels = _COLOUR[name](images[chosen].to(torch.float32), strength[chosen, None, None, None])
            images[chosen] = pixels.round().clamp(0, 255).to(torch.uint8)
    return images
