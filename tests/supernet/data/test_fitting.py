"""How pictures of any shape become images of one form, and that apps do the same."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from exports.client.python import preprocess
from supernet.data.decoding import decode
from supernet.data.image_form import BORDER, Fitting, ImageForm
from supernet.data.integer_resize import crop, letterbox

VECTORS = Path(preprocess.__file__).parent.parent / "vectors/preprocess.json"

sides = st.integers(1, 90)


def noise(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, channels)).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@settings(max_examples=60, deadline=None)
@given(sides, sides, sides, sides)
def test_training_fits_pictures_byte_by_byte_like_the_client(h: int, w: int, height: int, width: int) -> None:
    picture = noise(h, w)
    assert np.array_equal(crop(picture, height, width), preprocess.crop(picture, height, width))
    bordered = preprocess.letterbox(picture, height, width, [BORDER] * 3)
    assert np.array_equal(letterbox(picture, height, width, BORDER), bordered)


@pytest.mark.parametrize(("h", "w"), [(1200, 1600), (3, 5000), (5000, 3)])
def test_photos_and_strips_are_fitted_like_in_the_client(h: int, w: int) -> None:
    picture = noise(h, w)
    assert np.array_equal(crop(picture, 32, 48), preprocess.crop(picture, 32, 48))


def cases() -> list[dict[str, Any]]:
    found = json.loads(VECTORS.read_text())["cases"]
    return [case for case in found if case["op"] in ("crop", "letterbox") and case["result"]]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_training_is_held_to_the_cases_of_all_clients(case: dict[str, Any]) -> None:
    picture = np.frombuffer(bytes.fromhex(case["data"]), np.uint8).reshape(*case["size"], 3)
    if case["op"] == "crop":
        assert crop(picture, *case["to"]).tobytes().hex() == case["result"]["data"]
    else:  # training has grey borders only, the cases have one level per channel
        for channel, level in enumerate(case["colour"]):
            found = letterbox(picture[..., channel : channel + 1], *case["to"], level)
            assert found.tobytes() == bytes.fromhex(case["result"]["data"])[channel::3]


def test_a_crop_takes_the_centre_and_a_letterbox_adds_borders() -> None:
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, :10], wide[:, 30:] = 255, 255
    found = {name: decode(png(wide), ImageForm(height=20, width=20, fitting=name), "wide") for name in FITTINGS}
    assert not found["crop"].any()
    assert (found["letterbox"][:, [0, 4, 15, 19]] == BORDER).all()
    assert found["letterbox"][0, 10].tolist() == found["squash"][0, 10].tolist()


FITTINGS: tuple[Fitting, ...] = ("squash", "crop", "letterbox")


@pytest.mark.parametrize("fitting", FITTINGS)
def test_a_picture_of_the_right_size_stays_as_it_is(fitting: Fitting) -> None:
    picture = noise(9, 12)
    found = decode(png(picture), ImageForm(height=9, width=12, fitting=fitting), "picture")
    assert np.array_equal(found, picture.transpose(2, 0, 1))


@pytest.mark.parametrize("fitting", FITTINGS)
def test_a_picture_becomes_grey_by_its_luma_before_it_is_fitted(fitting: Fitting) -> None:
    picture = noise(30, 17)
    grey = (picture.astype(np.int64) @ [19595, 38470, 7471] + 2**15) >> 16
    form = ImageForm(height=8, width=10, channels=1, fitting=fitting)
    assert np.array_equal(decode(png(picture), form, "x"), decode(png(grey.astype(np.uint8)), form, "x"))
    assert decode(png(picture), form, "x").shape == (1, 8, 10)


def test_a_photo_is_turned_before_it_is_cropped() -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the left of the stored picture is its top
    stored = Image.fromarray(np.repeat(np.arange(0, 240, 6, dtype=np.uint8)[None, :, None], 10, 0).repeat(3, 2))
    stored.save(stream, "PNG", exif=exif)
    found = decode(stream.getvalue(), ImageForm(height=10, width=10, fitting="crop"), "photo")
    assert found[0, 0, 0] < found[0, 9, 0]
    assert found[0, 0].std() == 0
