"""The page of the worst errors shows pictures that lie in it, and is safe against hostile names."""

from __future__ import annotations

import io
import re
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from model_factory.report.errors import ErrorSection, Picture, write_errors


def picture(pixels: np.ndarray, label: str = "cat") -> Picture:
    return Picture(shown=pixels, example=1234, label=label, predicted="dog", confidence=0.987)


@pytest.fixture
def page(tmp_path):
    def written(*pictures: Picture, none: bool = False) -> str:
        section = ErrorSection(
            model_id="m1", targets=("phone", "tablet"), wrong=7, examples=1000, pictures=None if none else pictures
        )
        write_errors("app", (section,), tmp_path / "errors.html")
        return (tmp_path / "errors.html").read_text(encoding="utf-8")

    return written


def images_in(page: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(b64decode(data))) for data in re.findall(r"data:image/png;base64,([^\"]+)", page)]


def test_a_picture_lies_in_the_page_with_what_the_model_took_it_for(page):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 30), np.uint8)
    text = page(picture(pixels))
    (found,) = images_in(text)
    np.testing.assert_array_equal(np.asarray(found), pixels.transpose(1, 2, 0))
    assert "<b>dog</b> at 98.7 %" in text
    assert "is labelled cat" in text
    assert "test image 1,234" in text
    assert "1 of 7 errors on 1,000 images" in text


def test_grey_pictures_stay_grey_and_large_ones_become_small(page):
    grey, large = np.zeros((1, 8, 8), np.uint8), np.zeros((3, 256, 512), np.uint8)
    found = images_in(page(picture(grey), picture(large)))
    assert [(image.mode, image.size) for image in found] == [("L", (8, 8)), ("RGB", (128, 64))]


def test_nothing_is_loaded_from_elsewhere_and_names_stay_text(page):
    text = page(picture(np.zeros((3, 4, 4), np.uint8), label="<script>alert(1)</script>"))
    assert "<script" not in text
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)


def test_without_confidences_the_page_says_how_to_get_them(page):
    assert "remove the folder predictions of the run and build again" in page(none=True)


def test_numbers_have_no_confidence(tmp_path):
    found = Picture(shown=np.zeros((3, 4, 4), np.uint8), example=0, label="age 40", predicted="age 12", confidence=None)
    section = ErrorSection(model_id="m1", targets=("phone",), wrong=None, examples=10, pictures=(found,))
    write_errors("app", (section,), tmp_path / "errors.html")
    text = (tmp_path / "errors.html").read_text(encoding="utf-8")
    assert "<b>age 12</b><br>" in text
    assert "The 1 largest error on 10 images" in text


def test_a_model_without_mistakes_says_so(page):
    assert "It makes no mistake on 1,000 images." in page()


def test_a_text_is_shown_as_the_model_read_it_and_stays_text(page):
    text = page(Picture(shown="not <b>bad</b>", example=3, label="good", predicted="bad", confidence=0.9))
    assert "<blockquote>not &lt;b&gt;bad&lt;/b&gt;</blockquote>" in text
    assert not images_in(text)
