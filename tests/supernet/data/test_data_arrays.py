"""NumPy archives, and callables in the user's own code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from factory_base.errors import ConfigError, DataError, FactoryError
from supernet.data.config import DataConfig
from supernet.data.sources import load_splits
from supernet.data.types import Splits

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load(folder: Path, **keys: Any) -> Splits:
    config = DataConfig.model_validate({"source": "npz", "path": "a.npz", "image_size": 6, **keys})
    return load_splits(config, folder, 0)


def call(folder: Path, source: str, **options: Any) -> Splits:
    return load_splits(DataConfig.model_validate({"source": source, "image_size": 6, "options": options}), folder, 0)


def message_of(error: pytest.ExceptionInfo[FactoryError]) -> str:
    assert isinstance(error.value, ConfigError | DataError)
    assert "\n" not in str(error.value)
    return str(error.value)


def refused(folder: Path, **keys: Any) -> str:
    """The one-line message with which loading the archive fails."""
    with pytest.raises(FactoryError) as caught:
        load(folder, **keys)
    return message_of(caught)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_both_channel_orders_give_the_same(tmp_path: Path, arrays: Arrays) -> None:
    images, labels = arrays
    save(tmp_path / "a.npz", images=images, labels=labels)
    save(tmp_path / "b.npz", images=images.transpose(0, 3, 1, 2), labels=labels[:, None].astype(np.uint8))
    splits = load(tmp_path)
    assert splits.digest == load(tmp_path, path="b.npz").digest
    assert splits.class_names == ("0", "1", "2")


@pytest.mark.parametrize("axes", [(30, 6, 6), (30, 6, 6, 1), (30, 1, 6, 6)])
def test_grey_images_get_three_equal_channels(tmp_path: Path, arrays: Arrays, axes: tuple[int, ...]) -> None:
    save(tmp_path / "a.npz", images=arrays[0][..., 0].reshape(axes), labels=arrays[1])
    images = load(tmp_path).train.images
    assert (images[:, 0] == images[:, 2]).all()
    assert images.std() > 0


def test_images_are_resized(tmp_path: Path, arrays: Arrays) -> None:
    save(tmp_path / "a.npz", images=arrays[0][:, :, :4], labels=arrays[1])
    assert load(tmp_path, image_size=16).test.images.shape[1:] == (3, 16, 16)


def test_a_test_split_in_the_archive_or_in_another_is_used(tmp_path: Path, arrays: Arrays) -> None:
    images, labels = arrays
    save(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images[:5] + 1, y_test=labels[:5])
    save(tmp_path / "b.npz", images=images, labels=labels)
    save(tmp_path / "c.npz", images=images[:5] + 1, labels=labels[:5])
    both = load(tmp_path)
    assert len(both.test) == 5
    assert both.digest == load(tmp_path, path="b.npz", test_path="c.npz").digest


def test_class_names_are_read(tmp_path: Path, arrays: Arrays) -> None:
    save(tmp_path / "a.npz", images=arrays[0], labels=arrays[1], class_names=np.array(["x", "y", "z"]))
    assert load(tmp_path).class_names == ("x", "y", "z")
    save(tmp_path / "b.npz", images=arrays[0], labels=arrays[1], class_names=np.array(["y", "x", "z"]))
    assert "'class_names' differ" in refused(tmp_path, test_path="b.npz")
    save(tmp_path / "a.npz", images=arrays[0], labels=arrays[1], class_names=np.array(["x", "y"]))
    assert "label 2 of image 2 is out of range" in refused(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: {"images": x / 255, "labels": y}, "float64, expected uint8"),
        (lambda x, y: {"images": x[..., :2], "labels": y}, "images have shape"),
        (lambda x, y: {"images": x[0], "labels": y}, "6 images but 30 labels"),
        (lambda x, y: {"images": x[:, :0], "labels": y}, "images have shape"),
        (lambda x, y: {"images": x, "labels": y[:7]}, "30 images but 7 labels"),
        (lambda x, y: {"images": x, "labels": y.astype(float)}, "expected one integer"),
        (lambda x, y: {"images": x, "labels": y * 1000}, "label 1000 of image 1 is out of range"),
        (lambda x, y: {"images": x, "labels": y - 1}, "label -1"),
        (lambda x, y: {"images": x, "labels": y * 0}, "one class only"),
        (lambda x, y: {"images": x, "label": y}, "lacks 'x_train' with 'y_train' or 'images' with 'labels'"),
        (lambda x, y: {"images": x[:0], "labels": y[:0]}, "images have shape"),
        (lambda x, y: {"images": x, "labels": y.astype(object)}, "pickled objects"),
    ],
)
def test_unsuitable_arrays_are_refused(tmp_path: Path, arrays: Arrays, change: Any, message: str) -> None:
    path = save(tmp_path / "a.npz", **change(*arrays))
    line = refused(tmp_path)
    assert message in line
    assert str(path) in line or "one class" in line


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "a.npz") in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"\x80\x04N."])
def test_a_file_that_is_not_an_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    assert "is not a readable NumPy archive" in refused(tmp_path)


def test_a_single_array_and_a_truncated_archive_are_refused(tmp_path: Path, arrays: Arrays) -> None:
    with (tmp_path / "a.npz").open("wb") as stream:
        np.save(stream, arrays[0])
    assert "is not a readable NumPy archive" in refused(tmp_path)
    path = save(tmp_path / "a.npz", images=arrays[0], labels=arrays[1])
    path.write_bytes(path.read_bytes()[:900])
    assert "is not a readable NumPy archive" in refused(tmp_path)


MODULE = """
import numpy as np
from supernet.data.types import LabelledImages, RawDataset

def arrays(count=30):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 6, 6)).astype(np.uint8)
    labels = np.arange(count) % 3
    return pixels, labels, pixels[:6] + 1, labels[:6], ["a", "b", "c"]

def dataset():
    x, y, u, v, names = arrays()
    return RawDataset(train=LabelledImages(images=x, labels=y), test=LabelledImages(images=u, labels=v),
                      class_names=tuple(names))

def broken():
    raise OSError("no route\\nto host")

def leaving():
    raise SystemExit(0)

def pair():
    return arrays()[:2]

def nothing():
    return None

def unnamed():
    return *arrays()[:4], ["a", "a", "c"]

def lists():
    return [1], [2], [3], [4], ["a", "b"]

def stored(path):
    found = np.load(path)
    return found["x"], found["y"], found["x"], found["y"], ["a", "b", "c"]

NUMBER = 3
"""


@pytest.fixture
def own_module(tmp_path: Path) -> Iterator[Path]:
    """A folder with the user's module `own_pets.py`, which no other test imports."""
    (tmp_path / "own_pets.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("own_pets", None)


def test_a_callable_beside_the_config_is_called_with_its_options(own_module: Path) -> None:
    before = list(sys.path)
    splits = call(own_module, "own_pets:arrays", count=60)
    assert len(splits.train) + len(splits.heldout) == 60
    assert len(splits.test) == 6
    assert sys.path == before


def test_relative_paths_of_a_callable_start_at_the_folder_of_the_config(
    own_module: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, arrays: Arrays
) -> None:
    save(own_module / "stored.npz", x=arrays[0], y=arrays[1])
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert len(call(own_module, "own_pets:stored", path="stored.npz").test) == 30
    assert Path.cwd() == elsewhere


def test_a_raw_dataset_gives_the_same_as_its_arrays(own_module: Path) -> None:
    assert call(own_module, "own_pets:dataset").digest == call(own_module, "own_pets:arrays").digest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "failed with OSError: no route to host"),
        ("leaving", "failed with SystemExit: 0"),
        ("pair", "returned a tuple of 2, expected a RawDataset"),
        ("nothing", "returned NoneType"),
        ("unnamed", "classes 0 and 1 are both named 'a'"),
        ("lists", "expected two NumPy arrays"),
        ("array", "has no 'array'; did you mean 'arrays'"),
        ("NUMBER", "is a int, expected a callable"),
    ],
)
def test_a_wrong_callable_is_refused(own_module: Path, name: str, message: str) -> None:
    with pytest.raises(FactoryError) as caught:
        call(own_module, f"own_pets:{name}")
    assert message in message_of(caught)


def test_wrong_options_and_missing_modules_are_refused(own_module: Path) -> None:
    with pytest.raises(DataError, match="unexpected keyword argument 'size'"):
        call(own_module, "own_pets:arrays", size=3)
    with pytest.raises(ConfigError, match="ModuleNotFoundError: No module named 'no_such_pets'"):
        call(own_module, "no_such_pets.nets:load")
