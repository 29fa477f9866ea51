"""Random changes of batches of images, each image's own, decided by `Draws` alone. On any device.

Own code, because no library gives this: kornia 0.9 takes floats only, draws from the global generator in the order of
the batch (an image's changes then depend on its neighbours, so no two splits of a batch agree) and gives a whole batch
the same RandAugment operations; albumentations 2.0 works image by image in NumPy through OpenCV and is no longer kept,
its successor is AGPL-3.0; torchvision has no build for the torch releases supported here.
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

_SHIFT_Y, _SHIFT_X, _FLIP, _CUTOUT_Y, _CUTOUT_X, _CROP, _OPERATIONS = range(7)  # what a number is drawn for
_GREY = 128

Matrices = Callable[[Tensor], tuple[list[Tensor], list[Tensor]]]
"""Signed strengths (n,) to the two rows (three times (n,)) of the matrix from output to input coordinates."""

Colouring = Callable[[Tensor, Tensor], Tensor]
"""Pixels, float32 (n, 3, size, size) in 0..255, and signed strengths (n, 1, 1, 1), to changed pixels."""


def augment(images: Tensor, config: AugmentConfig, draws: Draws, rows: Tensor) -> Tensor:
    """uint8 (n, 3, size, size) -> the same shape, changed at random; `images` stay as they are.

    Args:
        images: to change; `config.check_size(size)` holds.
        config: what may change.
        draws: decide everything.
        rows: which examples these are, int64 (n,).
    """
    rows = rows.to(images.device)
    size = images.shape[-1]
    operations = _drawn_operations(config, draws, rows)
    if config.crop_area < 1 or operations:
        images = _warped(images, _transforms(config, draws, rows, size, operations))
    elif config.flip or config.shift:
        images = _windows(images, config, draws, rows)
    for which, strength in operations:
        images = _recoloured(images, which, strength)
    if config.cutout:
        centre = torch.stack(
            (draws.integers(rows, _CUTOUT_Y, 0, size - 1), draws.integers(rows, _CUTOUT_X, 0, size - 1))
        )
        images = images.masked_fill(_square(centre[:, :, None], size, config.cutout)[:, None], _GREY)
    return images


def _offsets(config: AugmentConfig, draws: Draws, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shift down and right in pixels, int64 (n,), and whether to mirror, bool (n,)."""
    down = draws.integers(rows, _SHIFT_Y, -config.shift, config.shift)
    right = draws.integers(rows, _SHIFT_X, -config.shift, config.shift)
    mirrored = draws.uniform(rows, _FLIP)[:, 0] < (0.5 if config.flip else 0.0)
    return down, right, mirrored


def _windows(images: Tensor, config: AugmentConfig, draws: Draws, rows: Tensor) -> Tensor:
    """Shifted and mirrored images, pixel by pixel exact; the border is reflected."""
    size = images.shape[-1]
    down, right, mirrored = _offsets(config, draws, rows)
    lines, columns = _reflected(down, size), _reflected(right, size)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images[batch, :, lines[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflected(offsets: Tensor, size: int) -> Tensor:
    """Indices (n, size) of a line of pixels shifted by `offsets` (n,), reflected at the ends."""
    index = (torch.arange(size, device=offsets.device)[None] + offsets[:, None]).abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


def _square(centre: Tensor, size: int, side: int) -> Tensor:
    """Mask (n, size, size) of one square per image at `centre` (2, n, 1), cut off at the border."""
    offsets = torch.arange(size, device=centre.device)[None, None] - (centre - side // 2)
    inside = (offsets >= 0) & (offsets < side)  # (2, n, size)
    return inside[0][:, :, None] & inside[1][:, None, :]


def _warped(images: Tensor, transforms: Tensor) -> Tensor:
    """Images seen through `transforms` (n, 3, 3): one bilinear interpolation, the border reflected as in `_windows`."""
    size = images.shape[-1]
    axis = (torch.arange(size, device=images.device) * 2 + 1) / size - 1  # the centres of pixels
    x, y = (
        row[:, 0, None, None] * axis + (row[:, 1, None] * axis + row[:, 2, None])[:, :, None]
        for row in transforms.unbind(1)[:2]
    )
    # As functional.affine_grid makes it, in a third of the time; then in units that reflect at the centres of pixels.
    grid = torch.stack((x, y), -1).mul_(size / (size - 1))
    pixels = functional.grid_sample(
        images.to(torch.float32), grid, mode="bilinear", padding_mode="reflection", align_corners=True
    )
    return (pixels + 0.5).to(torch.uint8)  # a mean of levels needs no clamping


def _transforms(
    config: AugmentConfig, draws: Draws, rows: Tensor, size: int, operations: list[tuple[Tensor, Tensor]]
) -> Tensor:
    """float32 (n, 3, 3): from where in the original an output pixel comes, in coordinates from -1 to 1."""
    down, right, mirrored = _offsets(config, draws, rows)
    one = torch.ones(len(rows), device=rows.device)
    zero = torch.zeros_like(one)
    transforms = _matrices([torch.where(mirrored, -one, one), zero, right * (2 / size)], [zero, one, down * (2 / size)])
    if config.crop_area < 1:
        transforms = transforms @ _crops(config, draws, rows)
    for which, strength in operations:
        for index, name in enumerate(OPERATIONS):
            if name in _GEOMETRIC:
                moved = torch.where(which == index, strength, zero)
                transforms = transforms @ _matrices(*_GEOMETRIC[name](moved))
    return transforms


def _crops(config: AugmentConfig, draws: Draws, rows: Tensor) -> Tensor:
    """Boxes of a random share of the area, ratio and place, (n, 3, 3)."""
    area, ratio, x, y = draws.uniform(rows, _CROP, 4).unbind(1)
    area = config.crop_area + area * (1 - config.crop_area)
    stretch = torch.exp((ratio - 0.5) * math.log(config.crop_ratio))  # the square root of the ratio
    width, height = ((area.sqrt() * side).clamp(max=1) for side in (stretch, 1 / stretch))
    zero = torch.zeros_like(width)
    return _matrices([width, zero, (2 * x - 1) * (1 - width)], [zero, height, (2 * y - 1) * (1 - height)])


def _matrices(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """(n, 3, 3) of the entries of the first two rows, each (n,)."""
    last = torch.tensor([0.0, 0.0, 1.0], device=first[0].device).expand(len(first[0]), 3)
    return torch.stack((torch.stack(first, 1), torch.stack(second, 1), last), 1)


def _rotation(strength: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    angle, zero = strength * (math.pi / 6), torch.zeros_like(strength)
    return [angle.cos(), -angle.sin(), zero], [angle.sin(), angle.cos(), zero]


def _shear_x(strength: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return [one, 0.3 * strength, zero], [zero, one, zero]


def _shear_y(strength: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return [one, zero, zero], [0.3 * strength, one, zero]


def _translation_x(strength: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return [one, zero, 0.9 * strength], [zero, one, zero]  # the whole size is 2


def _translation_y(strength: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return [one, zero, zero], [zero, one, 0.9 * strength]


def _brightness(pixels: Tensor, strength: Tensor) -> Tensor:
    return pixels * (1 + 0.9 * strength)


def _contrast(pixels: Tensor, strength: Tensor) -> Tensor:
    levels = _luma(pixels).to(torch.int64)  # summed in integers: the same whatever the batch and the threads
    mean = (levels.sum((1, 2, 3), keepdim=True) / levels[0].numel()).to(torch.float32)
    return mean + (pixels - mean) * (1 + 0.9 * strength)


def _saturation(pixels: Tensor, strength: Tensor) -> Tensor:
    grey = _luma(pixels)
    return grey + (pixels - grey) * (1 + 0.9 * strength)


def _posterise(pixels: Tensor, strength: Tensor) -> Tensor:
    step = torch.exp2((4 * strength.abs()).round())
    return (pixels / step).floor() * step


def _solarise(pixels: Tensor, strength: Tensor) -> Tensor:
    return torch.where(pixels >= 256 * (1 - strength.abs()), 255 - pixels, pixels)


def _luma(pixels: Tensor) -> Tensor:
    """(n, 1, size, size), ITU-R BT.601."""
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
"""What `AugmentConfig.operations` draws from, each as likely as any other."""


def _drawn_operations(config: AugmentConfig, draws: Draws, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each operation of an image: its index in `OPERATIONS`, int64 (n,), and its signed strength, float32 (n,)."""
    drawn = []
    for number in range(config.operations):
        which, strength, sign = draws.uniform(rows, _OPERATIONS + number, 3).unbind(1)
        signed = config.magnitude * torch.where(sign < 0.5, -strength, strength)
        drawn.append(((which * len(OPERATIONS)).to(torch.int64), signed))
    return drawn


def _recoloured(images: Tensor, which: Tensor, strength: Tensor) -> Tensor:
    """Apply to each image the operation `which` (n,), where it is one on colours."""
    images = images.clone()
    for index, name in enumerate(OPERATIONS):
        chosen = (which == index).nonzero()[:, 0]
        if name in _COLOUR and len(chosen):
            pixels = _COLOUR[name](images[chosen].to(torch.float32), strength[chosen, None, None, None])
            images[chosen] = pixels.round().clamp(0, 255).to(torch.uint8)
    return images
