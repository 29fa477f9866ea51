"""Resizing, cropping and letterboxing in integers: they are what their definition says, and close to Pillow."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from exports.client.python.preprocess import crop, letterbox, resize

SIZES = [(32, 32, 24, 24), (32, 32, 48, 48), (20, 31, 16, 12), (9, 40, 5, 3), (1, 1, 3, 2), (6, 6, 1, 1), (8, 8, 8, 8)]


def pixels(height, width):
    """Pixels by the formula of the vectors."""
    n = np.arange(height * width * 3)
    return ((7 * n + n * n % 251) % 256).astype(np.uint8).reshape(height, width, 3)


def weights(old, new, antialias):
    """Step 1 of the definition, word for word."""
    reach = max(old, new) if antialias else new
    rows = []
    for i in range(new):
        t = [max(0, 2 * reach - abs((2 * j + 1) * new - (2 * i + 1) * old)) for j in range(old)]
        sums = [0]
        for value in t:
            sums.append(sums[-1] + value)
        cuts = [(value * 2**15 + sums[-1] // 2) // sums[-1] for value in sums]
        rows.append([after - before for before, after in pairwise(cuts)])
    return rows


def line(values, rows, half, shift):
    """One row or column, resized; every intermediate sum must fit into 32 bits with a sign."""
    sums = [sum(w * v for w, v in zip(row, values, strict=True)) + half for row in rows]
    assert max(sums) < 2**31
    return [value >> shift for value in sums]


def defined(image, height, width, antialias):
    """The definition in the module's docstring, in plain integers."""
    columns, rows = weights(image.shape[1], width, antialias), weights(image.shape[0], height, antialias)
    result = np.zeros((height, width, 3), np.int64)
    for channel in range(3):
        across = [line(row, columns, 2**7, 8) for row in image[:, :, channel].tolist()]
        for x in range(width):
            result[:, x, channel] = line([row[x] for row in across], rows, 2**21, 22)
    return result


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("h", "w", "height", "width"), SIZES)
def test_resizing_is_what_its_definition_says(h, w, height, width, antialias):
    found = resize(pixels(h, w), height, width, antialias=antialias)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, defined(pixels(h, w), height, width, antialias))


def test_many_images_are_resized_like_each_alone():
    images = np.stack([pixels(9, 12), pixels(9, 12)[::-1]])
    both = resize(images, 6, 7)
    np.testing.assert_array_equal(both, np.stack([resize(image, 6, 7) for image in images]))


@pytest.mark.parametrize(("h", "w", "height", "width"), SIZES)
def test_without_antialiasing_it_rounds_what_pytorch_computes(h, w, height, width):
    tensor = torch.from_numpy(pixels(h, w)).permute(2, 0, 1)[None].double()
    exact = torch.nn.functional.interpolate(tensor, (height, width), mode="bilinear", align_corners=False)
    difference = np.abs(resize(pixels(h, w), height, width) - exact[0].permute(1, 2, 0).numpy())
    assert difference.max() < 0.51  # half a level, and the rounding of the weights


@pytest.mark.parametrize(("h", "w", "height", "width"), [*SIZES, (300, 400, 24, 24)])
def test_with_antialiasing_it_is_within_a_level_of_pillow(h, w, height, width):
    image = pixels(h, w)
    expected = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(resize(image, height, width, antialias=True) - expected).max() <= 1


@pytest.mark.parametrize(("old", "new"), [(1 << 14, 1), (1 << 14, 224), (1, 1 << 14), (3, 2)])
@pytest.mark.parametrize("antialias", [False, True])
def test_a_white_line_of_any_length_stays_white(old, new, antialias):
    assert (resize(np.full((1, old, 3), 255, np.uint8), 1, new, antialias=antialias) == 255).all()


FITTED = [
    *SIZES, (12, 18, 8, 8), (18, 12, 8, 8), (3, 20, 6, 6), (20, 3, 6, 6), (1, 30, 2, 9), (30, 1, 9, 2), (7, 5, 16, 9),
]  # fmt: skip
COLOUR = (1, 2, 254)


def rounded(numerator, denominator):
    """The nearest integer, halves up, at least 1."""
    return max(1, int((Fraction(numerator, denominator) + Fraction(1, 2)) // 1))


def same_proportions(h, w, height, width, choose):
    """The size whose scale is `choose` of both: `max` covers `height` x `width`, `min` fits into it."""
    scale = choose(Fraction(height, h), Fraction(width, w))
    return rounded(h * scale, 1), rounded(w * scale, 1)


@pytest.mark.parametrize(("h", "w", "height", "width"), FITTED)
def test_cropping_resizes_and_takes_the_centre(h, w, height, width):
    tall, wide = same_proportions(h, w, height, width, max)
    top, left = (tall - height) // 2, (wide - width) // 2
    expected = defined(pixels(h, w), tall, wide, True)[top : top + height, left : left + width]
    np.testing.assert_array_equal(crop(pixels(h, w), height, width), expected)


@pytest.mark.parametrize(("h", "w", "height", "width"), FITTED)
def test_letterboxing_resizes_and_adds_borders(h, w, height, width):
    tall, wide = same_proportions(h, w, height, width, min)
    top, left = (height - tall) // 2, (width - wide) // 2
    expected = np.full((height, width, 3), COLOUR)
    expected[top : top + tall, left : left + wide] = defined(pixels(h, w), tall, wide, True)
    np.testing.assert_array_equal(letterbox(pixels(h, w), height, width, COLOUR), expected)


EVEN = [(40, 80, 20, 20), (60, 40, 24, 24), (48, 96, 24, 24), (30, 10, 24, 24), (300, 600, 32, 32), (24, 24, 24, 24)]
"""Sizes in which the margins are even, so that Pillow's centre, which is not rounded to a pixel, is the same."""


@pytest.mark.parametrize(("h", "w", "height", "width"), EVEN)
def test_where_margins_are_even_it_is_within_a_level_of_pillow(h, w, height, width):
    image, size = Image.fromarray(pixels(h, w)), (width, height)
    cropped = np.asarray(ImageOps.fit(image, size, Image.Resampling.BILINEAR)).astype(int)
    boxed = np.asarray(ImageOps.pad(image, size, Image.Resampling.BILINEAR, color=COLOUR)).astype(int)
    assert np.abs(crop(pixels(h, w), height, width) - cropped).max() <= 1
    assert np.abs(letterbox(pixels(h, w), height, width, COLOUR) - boxed).max() <= 1


def test_an_image_of_the_right_size_stays_as_it_is():
    np.testing.assert_array_equal(crop(pixels(6, 5), 6, 5), pixels(6, 5))
    np.testing.assert_array_equal(letterbox(pixels(6, 5), 6, 5, COLOUR), pixels(6, 5))


def test_only_the_pixels_of_the_crop_are_computed():
    line = np.full((1, 1 << 14, 3), 200, np.uint8)  # covers 16 x 16 at 16 x 262,144, whose weights take 34 GB
    assert (crop(line, 16, 16) == 200).all()
