"""Colours in integers: they are the exact formulas, rounded."""

import numpy as np
import pytest
from PIL import Image

from exports.client.python.colour import alpha_to_rgb, gray_to_rgb, yuv_to_rgb

GRID = np.stack(np.meshgrid(range(0, 256, 5), range(0, 256, 5), range(0, 256, 5)), -1).reshape(-1, 3).astype(np.uint8)
"""YUV values, each for a pair of pixels."""


def in_nv12(values):
    """One row of pairs of pixels."""
    return np.repeat(values[:, 0], 2).tobytes() + values[:, 1:].tobytes()


def bt601(values, levels):
    """BT.601 as the standard writes it, in floating-point numbers."""
    y, u, v = (values.astype(float) - (16 if levels == "limited" else 0, 128, 128)).T
    if levels == "limited":
        y, u, v = y * 255 / 219, u * 255 / 224, v * 255 / 224
    red, blue = y + 2 * (1 - 0.299) * v, y + 2 * (1 - 0.114) * u
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    return np.clip(np.stack([red, green, blue], 1), 0, 255)


@pytest.mark.parametrize("levels", ["full", "limited"])
def test_yuv_is_bt_601_rounded(levels):
    found = yuv_to_rgb(in_nv12(GRID), 1, 2 * len(GRID), "nv12", levels)[0, ::2]
    assert np.abs(found - bt601(GRID, levels)).max() < 0.51  # half a level, and the rounding of the factors


def test_full_range_is_within_a_level_of_pillow():
    expected = np.asarray(Image.fromarray(GRID[None], "YCbCr").convert("RGB"))[0].astype(int)
    assert np.abs(yuv_to_rgb(in_nv12(GRID), 1, 2 * len(GRID), "nv12", "full")[0, ::2] - expected).max() <= 1


@pytest.mark.parametrize(("levels", "black", "white"), [("full", 0, 255), ("limited", 16, 235)])
def test_black_stays_black_and_white_white(levels, black, white):
    found = yuv_to_rgb(bytes([black, white, 128, 128]), 1, 2, "i420", levels)
    np.testing.assert_array_equal(found[0], [[0] * 3, [255] * 3])


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7)])
def test_the_layouts_hold_the_same_image_in_another_order(height, width):
    rows, columns = (height + 1) // 2, (width + 1) // 2
    luma = bytes(range(100, 100 + height * width))
    u, v = bytes(range(rows * columns)), bytes(range(200, 200 + rows * columns))
    nv12 = bytes(value for pair in zip(u, v, strict=True) for value in pair)
    nv21 = bytes(value for pair in zip(v, u, strict=True) for value in pair)
    first, second, third = (
        yuv_to_rgb(luma + chroma, height, width, layout, "full")
        for layout, chroma in (("nv12", nv12), ("nv21", nv21), ("i420", u + v))
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)


def test_each_pixel_takes_the_chroma_of_its_block():
    chroma = bytes([0, 60, 120, 180]) + bytes([128] * 4)
    blue = yuv_to_rgb(bytes([128] * 9) + chroma, 3, 3, "i420", "full")[..., 2]
    np.testing.assert_array_equal(blue[0] == blue[1], [True] * 3)
    np.testing.assert_array_equal(blue[:, 0] == blue[:, 1], [True] * 3)
    assert len({blue[0, 0], blue[0, 2], blue[2, 0], blue[2, 2]}) == 4


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (1, 128, 254)])
@pytest.mark.parametrize("order", ["rgba", "bgra"])
def test_alpha_is_blended_to_the_nearest_byte(background, order):
    pixels = np.stack(np.meshgrid(range(256), range(0, 256, 3)), -1).reshape(-1, 2)[:, [0, 0, 0, 1]].astype(np.uint8)
    pixels[:, 1] = 255 - pixels[:, 0]
    pixels[:, 2] //= 2
    given = pixels if order == "rgba" else pixels[:, [2, 1, 0, 3]]
    alpha = pixels[:, 3:].astype(float) / 255
    exact = pixels[:, :3] * alpha + np.array(background) * (1 - alpha)
    found = alpha_to_rgb(given.tobytes(), 1, len(pixels), order, background)[0]
    np.testing.assert_array_equal(found, np.rint(exact))


def test_gray_is_repeated():
    np.testing.assert_array_equal(gray_to_rgb(b"\x01\xff", 2, 1), [[[1] * 3], [[255] * 3]])


@pytest.mark.parametrize(
    ("convert", "count"),
    [
        (lambda data: gray_to_rgb(data, 3, 3), 9),
        (lambda data: alpha_to_rgb(data, 3, 3), 36),
        (lambda data: yuv_to_rgb(data, 3, 3, "nv21", "full"), 17),
    ],
)
def test_pixels_of_another_number_are_refused(convert, count):
    assert convert(bytes(count)).shape == (3, 3, 3)
    for other in (count - 1, count + 1, 0):
        with pytest.raises(ValueError, match=f"3 x 3 pixels need {count} bytes, not {other}"):
            convert(bytes(other))


@pytest.mark.parametrize("background", [(0, 0, 256), (-1, 0, 0)])
def test_a_background_that_is_no_colour_is_refused(background):
    with pytest.raises(ValueError, match="expected three values from 0 to 255"):
        alpha_to_rgb(bytes(4), 1, 1, "rgba", background)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match="0 x 0 pixels"):
        gray_to_rgb(b"", 0, 0)
