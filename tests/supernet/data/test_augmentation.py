"""Augmentation, and network inputs from stored images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from factory_base.errors import DataError
from supernet.data.augmentation import OPERATIONS, augment
from supernet.data.augmentation_config import AugmentConfig
from supernet.data.examples import Draws
from supernet.data.image_examples import ImageExamples, Normalisation, to_input

NORMALISATION = Normalisation(mean=(0.1, 0.4, 0.7), std=(0.2, 0.3, 0.4))


def noise(count: int = 64, size: int = 10) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def changed(images: Tensor, seed: int = 0, rows: Tensor | None = None, **config: float) -> Tensor:
    rows = torch.arange(len(images)) if rows is None else rows
    return augment(images, AugmentConfig.model_validate({"shift": 0, **config}), Draws(seed, 0), rows)


def smooth(count: int, size: int = 16) -> Tensor:
    """Images that interpolation hardly changes."""
    noise_of = torch.rand(count, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * 255
    return functional.interpolate(noise_of, size=size, mode="bilinear", align_corners=True).to(torch.uint8)


def shifts(image: Tensor, reach: int) -> list[Tensor]:
    """All windows of an image (3, size, size) whose border is reflected."""
    size = image.shape[-1]
    padded = functional.pad(image[None].float(), (reach,) * 4, mode="reflect")[0].to(torch.uint8)
    starts = range(2 * reach + 1)
    return [padded[:, top : top + size, left : left + size] for top in starts for left in starts]


@pytest.mark.parametrize("resolution", [5, 10, 17])
def test_an_input_is_the_interpolated_normalised_image(resolution: int) -> None:
    images = noise(4)
    mean, std = (torch.tensor(value)[:, None, None] for value in (NORMALISATION.mean, NORMALISATION.std))
    expected = functional.interpolate((images / 255 - mean) / std, size=(resolution,) * 2, mode="bilinear")
    found = to_input(images, (resolution, resolution), NORMALISATION)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_shifted_images_are_windows_of_the_reflected_image() -> None:
    images = noise(40)
    for image, found in zip(images, changed(images, shift=2), strict=True):
        assert any(torch.equal(found, window) for window in shifts(image, 2))


def test_a_shift_may_be_one_pixel_less_than_the_image() -> None:
    images = noise(8, size=4)
    for image, found in zip(images, changed(images, shift=3), strict=True):
        assert any(torch.equal(found, window) for window in shifts(image, 3))


def test_all_shifts_happen() -> None:
    images = noise(1).expand(400, -1, -1, -1)
    found = changed(images, shift=1)
    assert all(any(torch.equal(window, image) for image in found) for window in shifts(images[0], 1))


def test_about_half_of_the_images_are_mirrored() -> None:
    images = noise(200)
    found = changed(images, shift=0, flip=True)
    mirrored = [torch.equal(after, before.flip(2)) for before, after in zip(images, found, strict=True)]
    kept = [torch.equal(after, before) for before, after in zip(images, found, strict=True)]
    assert 70 < sum(mirrored) < 130
    assert sum(kept) == 200 - sum(mirrored)


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_greys_one_square_per_image_and_nothing_else(side: int) -> None:
    images = torch.zeros(1000, 3, 10, 10, dtype=torch.uint8)
    grey = changed(images, shift=0, cutout=side)[:, 0] == 128
    rows, columns = grey.any(2).sum(1), grey.any(1).sum(1)
    assert torch.equal(grey.sum((1, 2)), rows * columns)
    assert rows.max() == columns.max() == side
    assert grey.any((1, 2)).all()
    assert grey.any(0).all()


def test_without_augmentation_images_are_unchanged() -> None:
    assert torch.equal(changed(noise(), shift=0), noise())


EVERYTHING = {"shift": 3, "flip": True, "crop_area": 0.3, "operations": 3, "magnitude": 0.8, "cutout": 4}


@pytest.mark.parametrize("config", [{"shift": 3, "flip": True, "cutout": 4}, EVERYTHING])
def test_the_draws_decide_everything_and_the_originals_are_not_modified(config: dict[str, float]) -> None:
    images = noise()
    assert torch.equal(changed(images, **config), changed(images, **config))
    assert not torch.equal(changed(images, **config), changed(images, seed=1, **config))
    assert changed(images, **config).shape == images.shape
    assert changed(images, **config).dtype == torch.uint8
    assert torch.equal(images, noise())


@pytest.mark.parametrize("config", [{"shift": 3, "flip": True, "cutout": 4}, EVERYTHING])
def test_an_image_gets_the_same_changes_in_every_batch(config: dict[str, float]) -> None:
    images = noise()
    chosen = torch.tensor([60, 3, 3, 17])
    assert torch.equal(changed(images[chosen], rows=chosen, **config), changed(images, **config)[chosen])


def test_shift_and_flip_are_the_same_with_and_without_interpolation() -> None:
    images = noise()
    plain = changed(images, shift=3, flip=True)
    warped = changed(images, shift=3, flip=True, operations=1, magnitude=0)
    assert (plain.int() - warped.int()).abs().max() <= 1


def test_a_crop_shows_a_part_of_the_image() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).expand(200, 3, 64, 64)
    found = changed(ramp, crop_area=0.25, crop_ratio=1)[:, 0, 32].float()
    widths = (found[:, -1] - found[:, 0]) / 63
    assert (found.diff(dim=1) >= 0).all()
    assert widths.min() > 0.48
    assert widths.max() > 0.97
    assert 0.72 < (widths**2).mean().sqrt() < 0.86  # areas are uniform between a quarter and one
    assert found[:, 0].max() > 24
    assert found[:, -1].min() < 40


def test_crops_have_all_ratios_up_to_the_largest() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).expand(300, 64, 64)
    images = torch.stack((ramp, ramp.transpose(1, 2), ramp), 1)
    found = changed(images, crop_area=0.1, crop_ratio=2).float()
    ratios = (found[:, 0, 32, -1] - found[:, 0, 32, 0] + 1) / (found[:, 1, -1, 32] - found[:, 1, 0, 32] + 1)
    assert ratios.min() < 0.6
    assert ratios.max() > 1.7
    assert ((ratios > 0.45) & (ratios < 2.2)).all()


def test_operations_without_strength_change_nothing_beyond_rounding() -> None:
    images = smooth(100)
    found = changed(images, operations=2, magnitude=0)
    assert (found.int() - images.int()).abs().max() <= 1


def operated(image: Tensor, name: str, magnitude: float) -> Tensor:
    """Copies of an image, uint8 (n, 3, size, size), each after the same operation with its own strength."""
    rows = torch.arange(600)
    which = (Draws(0, 0).uniform(rows, 6, 3)[:, 0] * len(OPERATIONS)).to(torch.int64)
    rows = rows[which == OPERATIONS.index(name)]
    return changed(image.expand(len(rows), -1, -1, -1), rows=rows, operations=1, magnitude=magnitude)


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_happens_and_grows_with_the_magnitude(name: str) -> None:
    image = smooth(1, 32)
    weak, strong = ((operated(image, name, m).float() - image).abs().mean() for m in (0.2, 1.0))
    assert len(operated(image, name, 1.0)) > 30
    assert 0 <= weak < strong
    assert strong > 2


def test_colours_are_changed_as_named() -> None:
    image = smooth(1)
    grey = (image.float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    saturated = operated(image, "saturation", 1.0).float()
    found = (saturated * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    unclipped = ((saturated > 0) & (saturated < 255)).all(1)
    assert (found - grey).abs()[unclipped].max() < 1.5
    posterised = operated(image, "posterize", 1.0)
    assert min(len(each.unique()) for each in posterised) <= 16
    assert operated(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "solarize", 1.0).eq(0).all()
    assert operated(torch.full((1, 3, 8, 8), 255, dtype=torch.uint8), "solarize", 0.5).unique().tolist() == [0, 255]
    assert operated(torch.full((1, 3, 8, 8), 90, dtype=torch.uint8), "contrast", 1.0).eq(90).all()


def test_geometry_moves_pixels_as_named() -> None:
    ramp = torch.arange(32, dtype=torch.uint8).expand(1, 3, 32, 32)
    inner = slice(12, 20)
    assert (operated(ramp, "translate_y", 1.0).int() - ramp.int()).abs().max() <= 1
    assert (operated(ramp, "shear_y", 1.0).int() - ramp.int()).abs().max() <= 1
    moved = operated(ramp, "translate_x", 0.3).float()[:, 0, inner, inner] - ramp[0, 0, inner, inner]
    assert moved.std((1, 2)).max() < 0.6
    assert 3 < moved.mean((1, 2)).abs().max() <= 0.3 * 0.45 * 32 + 0.5
    turned = operated(ramp, "rotate", 1.0).float()[:, 0]
    assert (turned[:, 20, 16] - turned[:, 12, 16]).abs().max() > 3


@pytest.mark.parametrize("change", [{"shift": 10}, {"cutout": 11, "shift": 0}])
def test_changes_larger_than_the_images_are_refused(change: dict[str, int]) -> None:
    config = AugmentConfig.model_validate(change)
    with pytest.raises(ValueError, match="lower it"):
        config.check_size(10)
    config.check_size(11)
    with pytest.raises(DataError, match="10"):
        ImageExamples(images=noise(), labels=torch.zeros(64), normalisation=NORMALISATION, augmentation=config)
