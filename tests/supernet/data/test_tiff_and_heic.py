"""TIFF files as scanners and microscopes write them, and HEIC pictures of phones."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from factory_base.errors import DataError
from supernet.data.config import DataConfig
from supernet.data.decoding import decode, largest_sample
from supernet.data.image_form import ImageForm
from supernet.data.sources import load_splits

FORM = ImageForm.square(8)
NOISE = np.random.default_rng(1).integers(0, 2**16, (8, 8, 4)).astype(np.uint16)


def tiff(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "TIFF", **options)
    return stream.getvalue()


def colour_tiff(samples: NDArray[np.uint16], order: str = "<", planes: int = 1) -> bytes:
    """An uncompressed TIFF of 16 bits, `(8, 8, 3 or 4)`, in two strips and a byte order; Pillow writes none."""
    channels = samples.shape[2]
    data = samples.astype(f"{order}u2").tobytes()
    entries = [
        (256, 3, [8]), (257, 3, [8]), (258, 3, [16] * channels), (259, 3, [1]), (262, 3, [2]),
        (273, 4, [8, 8 + len(data) // 2]), (277, 3, [channels]), (278, 3, [4]), (279, 4, [len(data) // 2] * 2),
        (284, 3, [planes]),
        *([(338, 3, [2])] if channels == 4 else []),
    ]  # fmt: skip
    place = 8 + len(data)
    rest, directory = b"", struct.pack(f"{order}H", len(entries))
    after = place + 2 + 12 * len(entries) + 4
    for tag, kind, values in entries:
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            packed, rest = struct.pack(f"{order}I", after + len(rest)), rest + packed
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    signature = b"II*\0" if order == "<" else b"MM\0*"
    return signature + struct.pack(f"{order}I", place) + data + directory + bytes(4) + rest


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK"])
def test_tiff_files_of_8_bits_are_decoded(mode: str, compression: str | None) -> None:
    picture = Image.fromarray((NOISE[..., :3] >> 8).astype(np.uint8)).convert(mode)
    found = decode(tiff(picture, compression=compression), FORM, "x")
    assert np.array_equal(found, np.asarray(picture.convert("RGB")).transpose(2, 0, 1))


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_grey_tiff_files_of_16_bits_are_scaled_by_the_bits_in_use(compression: str | None) -> None:
    samples = NOISE[..., 0] >> 4  # of 12 bits
    encoded = tiff(Image.fromarray(samples), compression=compression)
    assert largest_sample(encoded) == samples.max()
    assert np.array_equal(decode(encoded, FORM, "x", 12)[0], samples >> 4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colour_tiff_files_of_16_bits_keep_all_bits(channels: int, order: str) -> None:
    samples = NOISE[..., :channels] >> 4
    encoded = colour_tiff(samples, order)
    assert largest_sample(encoded) == samples[..., :3].max()
    assert np.array_equal(decode(encoded, FORM, "x", 12).transpose(1, 2, 0), samples[..., :3] >> 4)


def test_compressed_colour_of_16_bits_keeps_all_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """libtiff, which decodes compressed files, returns samples in the order of the machine, not of the file."""
    monkeypatch.setattr("PIL.TiffImagePlugin.READ_LIBTIFF", True)
    for order in "<>":
        found = decode(colour_tiff(NOISE[..., :3] >> 4, order), FORM, "x", 12)
        assert np.array_equal(found.transpose(1, 2, 0), NOISE[..., :3] >> 8)


def test_a_negative_of_16_bits_is_inverted() -> None:
    samples = NOISE[..., 0]
    encoded = tiff(Image.fromarray(samples), tiffinfo={262: 0})
    assert np.array_equal(decode(encoded, FORM, "x")[0], (0xFFFF - samples) >> 8)


def test_tiff_files_whose_label_or_range_is_not_known_are_refused() -> None:
    page = Image.new("L", (8, 8))
    refusals = {
        "several pages": tiff(page, save_all=True, append_images=[page]),
        "mode F": tiff(Image.fromarray(NOISE[..., 0].astype(np.float32))),
        "mode I ": tiff(Image.fromarray(NOISE[..., 0].astype(np.int32))),
        "separate planes": colour_tiff(NOISE[..., :3], planes=2),
    }
    for words, encoded in refusals.items():
        with pytest.raises(DataError, match=f"^x: is a TIFF of .*{words}.*(convert|write) "):
            decode(encoded, FORM, "x")


def test_a_reduced_copy_is_no_second_page() -> None:
    page, thumbnail = Image.new("L", (8, 8), 200), Image.new("L", (4, 4), 200)
    stream = io.BytesIO()
    page.save(stream, "TIFF", save_all=True, append_images=[_reduced(thumbnail)])
    assert decode(stream.getvalue(), FORM, "x").max() == 200


def _reduced(image: Image.Image) -> Image.Image:
    from PIL import TiffImagePlugin

    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[254] = 1
    image.encoderinfo = {"tiffinfo": directory}  # type: ignore[attr-defined] # as Pillow reads it
    return image


@pytest.mark.parametrize("cut", [3, 8, 60, 200])
def test_a_damaged_tiff_ends_in_one_line(cut: int) -> None:
    with pytest.raises(DataError) as caught:
        decode(colour_tiff(NOISE[..., :3])[:cut], FORM, "x")
    assert "\n" not in str(caught.value)


def test_tiff_files_are_images_of_a_folder(tmp_path: Path) -> None:
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(5):
            image = Image.fromarray((NOISE[..., 0] >> 6) + label + index)
            image.save(tmp_path / "pets" / name / f"{index}.{'tif' if index % 2 else 'TIFF'}", "TIFF")
    splits = load_splits(DataConfig(source="folder", path="pets", image_size=8), tmp_path, 0)
    assert len(splits.train) + len(splits.heldout) + len(splits.test) == 10
    assert "data: images of 16 bits use 10 of them" in " ".join(splits.notes)


HEIC_HEADER = struct.pack(">I4s4s", 24, b"ftyp", b"heic") + bytes(12)


def test_heic_without_the_extra_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "pets" / name / f"IMG_{index}.HEIC").write_bytes(HEIC_HEADER)
    with pytest.raises(DataError, match=r"IMG_\d.HEIC: is a HEIC picture, which needs the extra 'heic': pip install"):
        load_splits(DataConfig(source="folder", path="pets", image_size=8), tmp_path, 0)


def test_heic_is_decoded_with_the_extra() -> None:
    heif = pytest.importorskip("pillow_heif")
    picture = Image.fromarray(np.repeat(np.repeat(NOISE[:4, :4, :3] >> 8, 16, 0), 16, 1).astype(np.uint8))
    stream = io.BytesIO()
    heif.from_pillow(picture).save(stream, quality=95)
    found = decode(stream.getvalue(), ImageForm.square(64), "x").transpose(1, 2, 0)
    assert np.abs(found.astype(int) - np.asarray(picture)).mean() < 8
    with pytest.raises(DataError, match=r"^x: is (a damaged|not an) image"):
        decode(stream.getvalue()[:100], FORM, "x")
