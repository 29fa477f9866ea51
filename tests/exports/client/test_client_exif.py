"""The orientation of photos: what files state, hostile ones included, and the pixels turned accordingly."""

import io
import time

import numpy as np
import pytest
from exif_files import exif, files, jpeg, tiff
from PIL import Image, ImageOps

from exports.client.python.exif import orientation, upright

FILES = list(files())


@pytest.mark.parametrize(("data", "expected"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_the_orientation_is_what_the_file_states_and_1_if_in_doubt(data, expected):
    assert orientation(data) == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("value", [1, 3, 6, 8])
def test_files_of_pillow_are_read(kind, value):
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "a maker", value
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, kind, exif=tags)
    assert orientation(file.getvalue()) == value


@pytest.mark.parametrize("value", range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(value):
    stored = Image.fromarray(np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3))
    stored.getexif()[0x0112] = value
    np.testing.assert_array_equal(upright(np.asarray(stored), value), np.asarray(ImageOps.exif_transpose(stored)))


@pytest.mark.parametrize("value", [0, 9, -1])
def test_there_are_eight_orientations(value):
    with pytest.raises(ValueError, match="expected 1 to 8"):
        upright(np.zeros((2, 2, 3), np.uint8), value)


def test_damaged_files_never_raise():
    generator = np.random.default_rng(0)
    for _, data, _ in FILES:
        for cut in range(len(data)):
            assert 1 <= orientation(data[:cut]) <= 8
        for _ in range(20):
            damaged = np.frombuffer(data, np.uint8).copy()
            damaged[generator.integers(0, len(data), 3) if len(data) else []] = generator.integers(0, 256)
            assert 1 <= orientation(damaged.tobytes()) <= 8


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 1_000_000,
        b"\xff\xd8" + b"\xff\xe0\0\x02" * 250_000,
        b"RIFF\0\0\0\0WEBP" + bytes(1_000_000),
        jpeg(*[exif(tiff(6, tag=0x0113, before=5000))] * 16),
    ],
    ids=["fill bytes", "empty segments", "empty chunks", "entries"],
)
def test_a_megabyte_of_nothing_takes_a_moment(data):
    start = time.process_time()
    assert orientation(data) == 1
    assert time.process_time() - start < 5  # some 0.3 s; time in proportion to the square would be hours
