"""Images of 16 bits per sample: scaled by the bits that the data set uses, the same for all images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from supernet.data.config import DataConfig
from supernet.data.decoding import UnknownDepthError, decode, depth_for, largest_sample
from supernet.data.image_cache import ImageCache
from supernet.data.image_form import ImageForm
from supernet.data.sources import load_splits
from supernet.data.types import Splits

Encode = Callable[[NDArray[np.uint16]], bytes]


def samples(value: int, channels: int = 1, size: int = 8) -> NDArray[np.uint16]:
    return np.full((size, size, channels), value, dtype=np.uint16)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("depth", "value", "level"), [(8, 0xAB, 0xAB), (12, 0xABC, 0xAB), (16, 0xABCD, 0xAB)])
def test_the_upper_eight_of_the_used_bits_are_taken(
    deep_png: Encode, channels: int, depth: int, value: int, level: int
) -> None:
    encoded = deep_png(samples(value, channels))
    assert np.unique(decode(encoded, ImageForm.square(8), "x", depth)).tolist() == [level]
    if channels in (1, 3):  # else alpha would be the largest sample
        assert largest_sample(encoded) == value


def test_every_sample_of_a_colour_image_is_read_whole(deep_png: Encode) -> None:
    noise = np.random.default_rng(0).integers(0, 1 << 12, (8, 8, 3)).astype(np.uint16)
    assert np.array_equal(decode(deep_png(noise), ImageForm.square(8), "x", 12).transpose(1, 2, 0), noise >> 4)


@pytest.mark.parametrize(("largest", "depth"), [(0, 8), (255, 8), (256, 10), (1024, 12), (4095, 12), (65535, 16)])
def test_depths_are_those_of_cameras(largest: int, depth: int) -> None:
    assert depth_for(largest) == depth


def test_an_unknown_depth_and_a_damaged_image_are_told_apart(deep_png: Encode) -> None:
    encoded = deep_png(samples(7))
    with pytest.raises(UnknownDepthError, match="16 bits"):
        decode(encoded, ImageForm.square(8), "x", None)
    assert largest_sample(encoded[:50]) == 0


@pytest.fixture
def write(tmp_path: Path, deep_png: Encode) -> Callable[..., dict[str, Any]]:
    """Writes 20 dark images and a brightest one of two classes, and returns the `data` section."""

    def make(brightest: int) -> dict[str, Any]:
        for label, name in enumerate("ab"):
            (tmp_path / "x" / name).mkdir(parents=True, exist_ok=True)
            for index in range(10):
                value = 100 + 10 * label + index
                (tmp_path / "x" / name / f"{index}.png").write_bytes(deep_png(samples(value)))
        (tmp_path / "x/a/9.png").write_bytes(deep_png(samples(brightest)))
        return {"source": "folder", "path": str(tmp_path / "x"), "image_size": 8}

    return make


def load(section: dict[str, Any], seed: int = 0, image_cache: ImageCache | None = None, **keys: Any) -> Splits:
    return load_splits(DataConfig.model_validate(section | keys), Path(), seed, image_cache=image_cache)


def levels(splits: Splits) -> set[int]:
    return {int(v) for part in (splits.train, splits.heldout, splits.test) for v in np.unique(part.images[:])}


def test_one_scale_holds_for_all_images_however_few_are_used(write: Callable[..., dict[str, Any]]) -> None:
    section = write(4000)
    whole = load(section)
    assert levels(whole) == {*(v >> 4 for v in range(100, 120)), 4000 >> 4}
    assert "images of 16 bits use 12 of them: 0 to 4,095 is scaled to 0 to 255" in whole.notes[1]
    for seed in range(3):
        assert load(section, seed, limit=4).test_digest == whole.test_digest


def test_images_that_use_eight_bits_are_not_black(write: Callable[..., dict[str, Any]]) -> None:
    assert levels(load(write(200))) == {*range(100, 109), *range(110, 120), 200}


def test_every_cache_gives_the_same_and_the_next_command_knows_the_scale(
    tmp_path: Path, write: Callable[..., dict[str, Any]]
) -> None:
    section, cache = write(1000), ImageCache(folder=tmp_path / "images", key="a" * 64)
    expected = load(section)
    for kind in ("none", "none", "disk", "disk"):
        found = load(section, image_cache=cache, cache=kind)
        assert (found.digest, found.mean, found.notes) == (expected.digest, expected.mean, expected.notes)
        assert levels(found) == levels(expected)


def test_parquet_is_scaled_like_files(tmp_path: Path, deep_png: Encode, write_parquet: Callable[..., Path]) -> None:
    damaged = {row: deep_png(samples(900 if row == 3 else 40 + row)) for row in range(30)}
    path = write_parquet(tmp_path / "a.parquet", damaged=damaged)
    splits = load({"source": "parquet", "path": str(path), "image_size": 8})
    assert levels(splits) == {(900 if row == 3 else 40 + row) >> 2 for row in range(30)}
    assert "use 10 of them" in splits.notes[1]


def test_images_of_eight_bits_say_nothing(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    splits = load({"source": "folder", "path": str(write_folder(tmp_path / "pets")), "image_size": 8})
    assert len(splits.notes) == 1
