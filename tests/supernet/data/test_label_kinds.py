"""Labels of one class, of several classes, and of numbers: how sources give them, and how they are split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from factory_base.errors import ConfigError, DataError
from supernet.data.config import DataConfig
from supernet.data.source_splits import labels_of_kind
from supernet.data.sources import load_splits
from supernet.data.splitting import strata, systematic
from supernet.data.types import LabelKind, LabelledImages, Splits, label_kind

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
SETS = (np.random.default_rng(1).random((40, 3)) < 0.4).astype(np.int64)
NUMBERS = np.linspace(-3, 5, 40)


def load(folder: Path, labels: np.ndarray, kind: LabelKind) -> Splits:
    np.savez(folder / "a.npz", images=IMAGES, labels=labels)
    return load_splits(DataConfig(source="npz", path="a.npz", image_size=4), folder, seed=0, kind=kind)


def test_several_classes_per_image_are_split_with_all_their_rows(tmp_path: Path) -> None:
    splits = load(tmp_path, SETS, "classes")
    assert splits.class_names == ("0", "1", "2")
    parts = [splits.train.labels, splits.heldout.labels, splits.test.labels]
    assert all(part.dtype == np.uint8 and part.any(axis=0).all() for part in parts)
    assert sorted(map(tuple, np.concatenate(parts))) == sorted(map(tuple, SETS))


def test_numbers_are_split_over_their_range(tmp_path: Path) -> None:
    splits = load(tmp_path, NUMBERS, "values")
    assert splits.train.labels.dtype == np.float32
    assert splits.class_names == ("0",)
    assert np.ptp(splits.test.labels) > 5


def test_the_labels_are_part_of_the_digest(tmp_path: Path) -> None:
    one = load(tmp_path, SETS, "classes").digest
    assert load(tmp_path, SETS, "values").digest != one
    assert load(tmp_path, SETS[:, ::-1], "classes").digest != one


def test_weights_are_checked_and_part_of_the_digest() -> None:
    images, labels = IMAGES[:4, None].repeat(3, axis=1), np.arange(4)
    plain = LabelledImages(images=images, labels=labels)
    weighted = LabelledImages(images=images, labels=labels, weights=np.ones(4, dtype=np.float32))
    assert weighted.digest() != plain.digest()
    for wrong in (0.0, -1.0, np.nan, np.inf):
        weights = np.array([1, 1, wrong, 1], dtype=np.float32)
        with pytest.raises(DataError, match=r"the weight of example 2 is .*expected a finite number above 0"):
            LabelledImages(images=images, labels=labels, weights=weights)


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        (np.array([[0, 2]]), "classes", r"the labels of image 0 are \[0, 2\], expected 0 or 1"),
        (np.array([0, 1]), "classes", r"expected numbers \(images, classes\)"),
        (np.array([1.0, np.nan]), "values", r"the label of example 1 is \[nan\], expected finite numbers"),
        (np.array(["a", "b"]), "values", r"expected numbers \(images, values\)"),
        (np.array([[0.5], [1.0]]), "class", "expected one integer per image"),
    ],
)
def test_labels_of_another_kind_are_refused(labels: np.ndarray, kind: LabelKind, message: str) -> None:
    with pytest.raises(DataError, match=f"^here: .*{message}"):
        labels_of_kind(labels, kind, None, "here")


def test_a_source_of_single_classes_is_refused_for_other_tasks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'digits' gives one class per image, but the task needs numbers"):
        load_splits(DataConfig(source="digits", image_size=8), tmp_path, seed=0, kind="values")


def test_a_draw_takes_the_share_of_every_range_of_values_and_of_every_rare_label() -> None:
    values = np.arange(100, dtype=np.float32)[:, None]
    order = np.random.default_rng(0).permutation(100)
    chosen = systematic(strata(values), 0.2, order)
    assert np.bincount(chosen // 10).tolist() == [2] * 10
    sets = np.zeros((100, 2), dtype=np.uint8)
    sets[:, 0], sets[:10, 1] = 1, 1
    chosen = systematic(strata(sets), 0.2, order)
    assert (len(chosen), int(sets[chosen, 1].sum())) == (20, 2)


def test_a_small_draw_takes_one_row_and_leaves_one() -> None:
    same = np.zeros(3, dtype=np.int64)
    assert [len(systematic(same, fraction, np.arange(3))) for fraction in (0.01, 0.99)] == [1, 2]


def test_arrays_that_are_no_labels_are_refused() -> None:
    with pytest.raises(DataError, match=r"labels are int32 of shape \(3,\), expected int64"):
        label_kind(np.zeros(3, dtype=np.int32))
