"""Classes with too few images to be split."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from factory_base.errors import ConfigError, DataError
from supernet.data.config import DataConfig
from supernet.data.sources import load_splits
from supernet.data.types import Splits


def write(root: Path, counts: dict[str, int], level: int = 0) -> None:
    """A folder of classes; the images of class `i` have the levels `10 * i` and so on, so that they can be told."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((8, 8, 3), level + 10 * label + index, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index:03}.png")


def load(folder: Path, **keys: Any) -> Splits:
    values = {"source": "folder", "path": "pets", "image_size": 8, **keys}
    return load_splits(DataConfig.model_validate(values), folder, 0)


def images_of(splits: Splits, name: str) -> int:
    label = splits.class_names.index(name)
    return sum(int((part.labels == label).sum()) for part in (splits.train, splits.heldout, splits.test))


def test_they_are_refused_with_the_way_out(tmp_path: Path) -> None:
    write(tmp_path / "pets", {"cat": 6, "dog": 2, "emu": 6})
    with pytest.raises(DataError, match=r"class 'dog' has 2 images; at least 3 .* data.small_classes"):
        load(tmp_path)


def test_they_are_left_out_by_name(tmp_path: Path) -> None:
    write(tmp_path / "pets", {"ape": 1, "cat": 6, "dog": 2, "emu": 6})
    splits = load(tmp_path, small_classes="drop")
    assert splits.class_names == ("cat", "emu")
    assert images_of(splits, "cat") == images_of(splits, "emu") == 6
    assert "data: left out 2 classes with fewer than 3 training examples: ape (1), dog (2)" in splits.notes
    cats = [part.images[part.labels == 0][:, 0, 0, 0] for part in (splits.train, splits.heldout, splits.test)]
    assert sorted(np.concatenate(cats)) == [10, 11, 12, 13, 14, 15]


def test_they_are_merged_by_name_in_training_and_test_data(tmp_path: Path) -> None:
    write(tmp_path / "pets/train", {"ape": 1, "cat": 6, "dog": 1, "emu": 6})
    write(tmp_path / "pets/test", {"ape": 2, "cat": 2, "dog": 1, "emu": 1}, level=100)
    splits = load(tmp_path, small_classes="merge", merged_class="rare")
    assert splits.class_names == ("cat", "emu", "rare")
    assert images_of(splits, "rare") == 5
    assert "data: merged 2 classes with fewer than 2 training examples into 'rare': ape (1), dog (1)" in splits.notes
    assert splits.test.labels.tolist() == [2, 2, 0, 0, 2, 1]


def test_the_least_number_can_be_set(tmp_path: Path) -> None:
    write(tmp_path / "pets", {"cat": 9, "dog": 4, "emu": 6})
    assert load(tmp_path, small_classes="drop").class_names == ("cat", "dog", "emu")
    assert load(tmp_path, small_classes="drop", class_minimum=5).class_names == ("cat", "emu")
    with pytest.raises(DataError, match=r"1 class with fewer than 5 training examples: dog \(4\); add examples"):
        load(tmp_path, class_minimum=5)


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "pets", {"cat": 6, "dog": 2, "other": 6})
    with pytest.raises(ConfigError, match=r"a class is called 'other' already; set data.merged_class"):
        load(tmp_path, small_classes="merge")


def test_a_small_class_of_that_name_joins_the_merged_one(tmp_path: Path) -> None:
    write(tmp_path / "pets", {"cat": 6, "dog": 2, "other": 2})
    assert images_of(load(tmp_path, small_classes="merge"), "other") == 4


def test_a_merged_class_that_is_still_too_small_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "pets", {"cat": 6, "dog": 2, "emu": 6})
    with pytest.raises(DataError, match="class 'other' has 2 images"):
        load(tmp_path, small_classes="merge")


def test_what_is_left_can_be_read_by_other_processes_and_on_demand(tmp_path: Path) -> None:
    write(tmp_path / "pets", {"ape": 1, "cat": 6, "dog": 2, "emu": 6})
    at_hand = load(tmp_path, small_classes="drop")
    on_demand = load(tmp_path, small_classes="drop", cache="none")
    images = pickle.loads(pickle.dumps(on_demand.train.images))
    assert np.array_equal(images[:], at_hand.train.images)
    assert on_demand.digest == at_hand.digest


def test_the_name_of_a_merged_class_needs_a_merge() -> None:
    with pytest.raises(ValueError, match="'merged_class' is for 'small_classes: merge'"):
        DataConfig(source="digits", merged_class="rare")
