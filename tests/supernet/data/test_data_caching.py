"""Images in memory, in files, or decoded on demand: always the same images and the same facts."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factory_base.errors import DataError, DiskError
from supernet.data import types
from supernet.data.config import DataConfig
from supernet.data.image_cache import ImageCache
from supernet.data.sources import load_splits
from supernet.data.types import OnDemandImages, Splits

Write = Callable[..., Path]
PARTS = ("train", "heldout", "test")
CONFIG = {"image_size": 8}


@pytest.fixture(params=["folder", "parquet"])
def section(
    request: pytest.FixtureRequest, tmp_path: Path, write_folder: Write, write_parquet: Write
) -> dict[str, Any]:
    """The `data` section of 30 pictures."""
    if request.param == "folder":
        return {**CONFIG, "source": "folder", "path": str(write_folder(tmp_path / "pets"))}
    return {**CONFIG, "source": "parquet", "path": str(write_parquet(tmp_path / "pets.parquet"))}


def load(section: dict[str, Any], image_cache: ImageCache | None = None, **keys: Any) -> Splits:
    return load_splits(DataConfig.model_validate({**section, **keys}), Path(), 0, image_cache=image_cache)


def cache_in(folder: Path, key: str = "a") -> ImageCache:
    return ImageCache(folder=folder / "images", key=key * 64)


def facts_of(splits: Splits) -> tuple[object, ...]:
    return splits.mean, splits.std, splits.digest, splits.test_digest, splits.class_names


def is_lazy(splits: Splits) -> bool:
    return all(isinstance(getattr(splits, name).images, OnDemandImages) for name in PARTS)


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_every_cache_gives_the_same_images_and_facts(tmp_path: Path, section: dict[str, Any], cache: str) -> None:
    expected, found = load(section, cache="memory"), load(section, cache_in(tmp_path), cache=cache)
    assert is_lazy(found)
    assert not is_lazy(expected)
    assert facts_of(found) == facts_of(expected)
    for name in PARTS:
        kept, read = getattr(expected, name), getattr(found, name)
        assert np.array_equal(read.images[:], kept.images)
        assert np.array_equal(read.labels, kept.labels)
        assert read.digest() == kept.digest()


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_images_are_indexed_like_an_array(tmp_path: Path, section: dict[str, Any], cache: str) -> None:
    expected = load(section, cache="memory").train.images
    images = load(section, cache_in(tmp_path), cache=cache).train.images
    assert images.shape == expected.shape
    assert len(images) == len(expected)
    for chosen in (
        np.array([5, 0, 5, 17]),
        [3, 2],
        np.array([], dtype=np.int64),
        slice(4, 9),
        slice(9, 4),
        slice(-2, None),
    ):
        assert np.array_equal(images[chosen], expected[chosen])
    with pytest.raises(IndexError):
        images[[99]]


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_the_next_command_decodes_nothing_again(tmp_path: Path, section: dict[str, Any], cache: str) -> None:
    seen: list[int] = []
    config = DataConfig.model_validate({**section, "cache": cache})
    first = load_splits(config, Path(), 0, lambda done, total, _="": seen.append(total - done), cache_in(tmp_path))
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 0
    seen.clear()
    again = load_splits(config, Path(), 0, lambda done, total, _="": seen.append(total - done), cache_in(tmp_path))
    assert seen == []
    assert facts_of(again) == facts_of(first)


def test_small_chunks_change_nothing(tmp_path: Path, section: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load(section, cache="memory")
    monkeypatch.setattr(types, "_CHUNK_BYTES", 3 * 8 * 8 * 4)  # four images
    for cache in ("memory", "disk", "none"):
        assert facts_of(load(section, cache_in(tmp_path, cache[0]), cache=cache)) == facts_of(expected)


def test_auto_uses_memory_up_to_its_limit_and_then_the_disk(tmp_path: Path, section: dict[str, Any]) -> None:
    needed = 30 * 3 * 8 * 8
    assert not is_lazy(load(section, cache_in(tmp_path), memory_limit=f"{needed} B"))
    assert not (tmp_path / "images").exists()
    assert is_lazy(load(section, cache_in(tmp_path), memory_limit=f"{needed - 1} B"))
    assert len(list((tmp_path / "images").glob("*.rgb"))) == 3
    assert is_lazy(load(section, None, memory_limit="1 B"))


def test_auto_caches_nothing_on_a_disk_without_room(
    tmp_path: Path, section: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageCache, "has_room", lambda _, needed: needed < 100)
    assert is_lazy(load(section, cache_in(tmp_path), memory_limit="1 B"))
    assert list((tmp_path / "images").glob("*.rgb")) == []
    load(section, cache_in(tmp_path), cache="disk")
    assert "StoredImages" in repr(load(section, cache_in(tmp_path), memory_limit="1 B").train.images)


def test_there_is_room_for_half_of_the_free_space(tmp_path: Path) -> None:
    assert cache_in(tmp_path / "not" / "yet").has_room(1)
    assert not cache_in(tmp_path).has_room(2**62)


def test_files_with_another_key_are_removed(tmp_path: Path, section: dict[str, Any]) -> None:
    load(section, cache_in(tmp_path, "a"), cache="disk")
    load(section, cache_in(tmp_path, "b"), cache="disk")
    names = [path.name for path in (tmp_path / "images").iterdir() if path.name != ".lock"]
    assert len(names) == 4
    assert all(name.startswith("b" * 16) for name in names)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"mean": 1, "std": 2, "digests": {"train": "x"}}'])
def test_damaged_facts_are_computed_again(tmp_path: Path, section: dict[str, Any], content: str) -> None:
    expected = load(section, cache_in(tmp_path), cache="none")
    next((tmp_path / "images").glob("*facts.json")).write_text(content)
    assert facts_of(load(section, cache_in(tmp_path), cache="none")) == facts_of(expected)


def test_edited_facts_are_computed_again(tmp_path: Path, section: dict[str, Any]) -> None:
    expected = load(section, cache_in(tmp_path), cache="none")
    facts = next((tmp_path / "images").glob("*facts.json"))
    facts.write_text(re.sub(r"0\.\d+", "0.5", facts.read_text()))
    assert facts_of(load(section, cache_in(tmp_path), cache="none")) == facts_of(expected)


def test_a_truncated_file_is_written_again_and_never_read(tmp_path: Path, section: dict[str, Any]) -> None:
    before = load(section, cache_in(tmp_path), cache="disk")
    path = next((tmp_path / "images").glob("*train.rgb"))
    expected = before.train.images[:]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="ends early; remove it"):
        before.train.images[:]
    assert np.array_equal(load(section, cache_in(tmp_path), cache="disk").train.images[:], expected)
    path.unlink()
    with pytest.raises(DataError, match=r"train\.rgb: cannot be read"):
        before.train.images[:]


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_a_damaged_image_is_named_before_training_and_leaves_nothing(
    tmp_path: Path, write_folder: Write, cache: str
) -> None:
    path = write_folder(tmp_path / "pets") / "dog/3.png"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DataError, match=str(path)):
        load({**CONFIG, "source": "folder", "path": str(tmp_path / "pets")}, cache_in(tmp_path), cache=cache)
    assert [p.name for p in (tmp_path / "images").iterdir() if "partial" in p.name or "facts" in p.name] == []


def test_a_file_that_was_deleted_is_named(tmp_path: Path, write_folder: Write) -> None:
    path = write_folder(tmp_path / "pets") / "dog/3.png"
    images = load({**CONFIG, "source": "folder", "path": str(tmp_path / "pets")}, cache="none")
    path.unlink()
    with pytest.raises(DataError, match=str(path)):
        [getattr(images, name).images[:] for name in PARTS]


def test_readers_of_images_can_be_sent_to_a_process(tmp_path: Path, section: dict[str, Any]) -> None:
    for cache in ("disk", "none"):
        images = load(section, cache_in(tmp_path), cache=cache).train.images
        assert np.array_equal(pickle.loads(pickle.dumps(images))[:], images[:])


def test_arrays_are_resized_on_demand(tmp_path: Path, arrays: tuple[Any, Any]) -> None:
    np.savez(tmp_path / "a.npz", images=arrays[0], labels=arrays[1])
    section = {"source": "npz", "path": str(tmp_path / "a.npz"), "image_size": 9}
    expected, found = load(section, cache="memory"), load(section, cache="none")
    assert is_lazy(found)
    assert facts_of(found) == facts_of(expected)
    assert np.array_equal(found.test.images[[1, 0]], expected.test.images[[1, 0]])
    assert pickle.loads(pickle.dumps(found.test.images))[:].shape == found.test.images.shape


def test_a_disk_cache_without_a_folder_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="needs a run folder"):
        load(section, None, cache="disk")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, section: dict[str, Any]) -> None:
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(DiskError, match=str(tmp_path / "images")):
        load(section, cache_in(tmp_path), cache="disk")
