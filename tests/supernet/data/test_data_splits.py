"""Splitting: the splits are disjoint, stratified and seeded, and the test split never changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from factory_base.errors import DataError
from supernet.data.caching import ChannelCounts
from supernet.data.config import DataConfig
from supernet.data.source_splits import Source, SourceSplit
from supernet.data.sources import load_splits
from supernet.data.splitting import SplitPlan, plan_splits, stratified
from supernet.data.types import LabelledImages, RawDataset

DIGITS = DataConfig(source="digits", image_size=8)


def source_of(labels: list[int], test: list[int] | None = None) -> Source:
    """A source whose images cannot be read: splitting must not need them."""

    def part(values: list[int]) -> SourceSplit:
        return SourceSplit(labels=np.array(values, dtype=np.int64), read=pytest.fail)

    return Source(
        train=part(labels), test=None if test is None else part(test), class_names=tuple("abc"[: max(labels) + 1])
    )


@pytest.mark.parametrize("test", [None, [0, 1, 2, 0]])
@pytest.mark.parametrize("limit", [None, 30])
def test_splits_are_disjoint_and_complete(test: list[int] | None, limit: int | None) -> None:
    config = DIGITS.model_copy(update={"limit": limit})
    plan = plan_splits(source_of([0, 1, 2] * 20, test), config, seed=1)
    used = np.concatenate([plan.train, plan.heldout, plan.test] if test is None else [plan.train, plan.heldout])
    assert len(set(used.tolist())) == len(used)
    assert len(plan.train) + len(plan.heldout) == (limit or (48 if test is None else 60))
    assert plan.test_from_train == (test is None)
    if test is not None:
        assert plan.test.tolist() == [0, 1, 2, 3]


def test_overlapping_splits_are_refused() -> None:
    rows = np.arange(3)
    with pytest.raises(DataError, match="overlap"):
        SplitPlan(train=rows, heldout=rows[:1], test=rows, test_from_train=False)
    with pytest.raises(DataError, match="overlap"):
        SplitPlan(train=rows[:1], heldout=rows[1:2], test=rows[1:], test_from_train=True)


def test_heldout_has_the_same_share_of_every_class() -> None:
    labels = np.array([0] * 100 + [1] * 20 + [2] * 2)
    chosen = labels[stratified(labels, 0.1, np.arange(len(labels)))]
    assert np.bincount(chosen).tolist() == [10, 2, 1]


def test_the_seed_changes_heldout_but_never_test() -> None:
    first, again, other = (plan_splits(source_of([0, 1, 2] * 30), DIGITS, seed) for seed in (1, 1, 2))
    assert first.heldout.tolist() == again.heldout.tolist() != other.heldout.tolist()
    assert first.test.tolist() == other.test.tolist()


def test_digits_load_the_same_twice() -> None:
    first, again, other = (load_splits(DIGITS, Path(), seed) for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    assert first.test_digest == other.test_digest
    assert len(first.train) + len(first.heldout) + len(first.test) == 1797
    assert first.class_names == tuple("0123456789")
    assert set(first.test.labels) == set(range(10))


def test_limit_draws_training_images_only() -> None:
    limited = load_splits(DIGITS.model_copy(update={"limit": 100}), Path(), 0)
    assert len(limited.train) + len(limited.heldout) == 100
    assert limited.test_digest == load_splits(DIGITS, Path(), 0).test_digest


def test_progress_counts_all_images_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    load_splits(DIGITS, Path(), 0, lambda done, total, _="": seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (1797, 1797)


def test_statistics_are_those_of_the_train_split() -> None:
    splits = load_splits(DIGITS, Path(), 0)
    pixels = splits.train.images / 255
    assert splits.mean == pytest.approx(pixels.mean(axis=(0, 2, 3)), abs=1e-6)
    assert splits.std == pytest.approx(pixels.std(axis=(0, 2, 3)), abs=1e-6)
    assert splits.mean[0] == round(splits.mean[0], 6)


def statistics(images):
    """Mean and standard deviation of each channel, as sources compute them."""
    counts = ChannelCounts(3)
    counts.add(images)
    return counts.mean_and_std()


def test_a_constant_channel_can_be_divided_by() -> None:
    images = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    images[0, 0] = 255
    assert statistics(images) == ((0.5, 0.0, 0.0), (0.5, 0.003922, 0.003922))


def test_images_of_one_colour_are_refused() -> None:
    with pytest.raises(DataError, match="one and the same colour"):
        statistics(np.full((2, 3, 4, 4), 7, dtype=np.uint8))


@pytest.mark.parametrize(
    ("labels", "test", "message"),
    [
        ([0] * 9, None, "one class only"),
        ([0, 0, 0, 1, 1], None, "class 'b' has 2 images; at least 3"),
        ([0, 0, 0, 1], [0, 1], "class 'b' has 1 images; at least 2"),
        ([0, 0, 2, 2], [0, 1], "class 'b' has 0 images"),
    ],
)
def test_too_few_images_are_refused(labels: list[int], test: list[int] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        plan_splits(source_of(labels, test), DIGITS, 0)


def test_a_limit_that_leaves_a_class_too_few_images_is_named() -> None:
    config = DIGITS.model_copy(update={"limit": 4})
    with pytest.raises(DataError, match=r"limit is 4; raise it"):
        plan_splits(source_of([0, 1, 2] * 20, [0, 1, 2]), config, 0)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), np.zeros(2, np.int64), "float32"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int64), "1 or 3 channels"),
        (np.zeros((2, 2, 4, 5), np.uint8), np.zeros(2, np.int64), "1 or 3 channels"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(3, np.int64), "one label per image"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, np.int32), "int32"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.array([0, -1]), "negative"),
        ([[1]], np.zeros(2, np.int64), "images are a list"),
    ],
)
def test_labelled_images_are_validated(images: object, labels: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        LabelledImages(images=images, labels=labels)  # type: ignore[arg-type]


def test_a_label_without_a_name_is_refused() -> None:
    part = LabelledImages(images=np.zeros((2, 3, 4, 4), np.uint8), labels=np.array([0, 2]))
    with pytest.raises(DataError, match="label 2, but there are 2 class names"):
        RawDataset(train=part, test=part, class_names=("a", "b"))
