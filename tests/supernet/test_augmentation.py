"""From stored images to network inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from supernet.images import Normalisation, augment, to_input
from supernet.training_config import AugmentConfig

NORMALISATION = Normalisation(mean=(0.1, 0.4, 0.7), std=(0.2, 0.3, 0.4))


def noise(count: int = 64, size: int = 10) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def changed(images: Tensor, seed: int = 0, **config: int) -> Tensor:
    return augment(images, AugmentConfig.model_validate(config), torch.Generator().manual_seed(seed))


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
    found = to_input(images, resolution, NORMALISATION)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_shifted_images_are_windows_of_the_reflected_image() -> None:
    images = noise(40)
    for image, found in zip(images, changed(images, shift=2), strict=True):
        assert any(torch.equal(found, window) for window in shifts(image, 2))


def test_a_shift_may_reach_the_whole_image() -> None:
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


def test_without_changes_images_stay_as_they_are() -> None:
    assert torch.equal(changed(noise(), shift=0), noise())


def test_the_generator_decides_everything_and_the_originals_stay() -> None:
    images = noise()
    config = {"shift": 3, "flip": True, "cutout": 4}
    assert torch.equal(changed(images, **config), changed(images, **config))
    assert not torch.equal(changed(images, **config), changed(images, seed=1, **config))
    assert changed(images, **config).shape == images.shape
    assert changed(images, **config).dtype == torch.uint8
    assert torch.equal(images, noise())
