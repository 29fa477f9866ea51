"""Which files, folders and arrays are training and test data, by the words in their names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from factory_base.errors import ConfigError, FactoryError
from supernet.data.config import DataConfig
from supernet.data.sources import load_splits
from supernet.data.split_names import pattern_for, split_of_name, split_of_path
from supernet.data.types import Splits

Write = Callable[..., Path]
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load(folder: Path, source: str, path: str, **keys: str) -> Splits:
    config = DataConfig.model_validate({"source": source, "path": path, "image_size": 8, **keys})
    return load_splits(config, folder, 0)


def refused(folder: Path, source: str, path: str, **keys: str) -> str:
    with pytest.raises(FactoryError) as caught:
        load(folder, source, path, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def counts(splits: Splits) -> tuple[int, int]:
    return len(splits.train) + len(splits.heldout), len(splits.test)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002", "train"),
        ("cars_train", "train"),
        ("carsTrain2", "train"),
        ("XTrain", "train"),
        ("MNISTTest", "test"),
        ("Training", "train"),
        ("x.TEST.0", "test"),
        ("my eval", "test"),
        ("cifar10-testing", "test"),
        ("dev", "validation"),
        ("val_0", "validation"),
        ("trains", None),
        ("contest", None),
        ("part-0", None),
    ],
)
def test_a_split_is_a_delimited_word_in_any_case(name: str, split: str | None) -> None:
    assert split_of_name(name, name) == split


def test_folders_below_the_root_name_splits_too_and_must_agree_with_the_file() -> None:
    root = Path("/test/data")
    assert split_of_path(root / "Train/a.parquet", root) == "train"
    assert split_of_path(root / "a.parquet", root) is None
    with pytest.raises(ConfigError, match=r"names the splits test and train at once; .* 'test_path'"):
        split_of_path(root / "train/test-0.parquet", root)


def test_a_pattern_matches_its_files_only() -> None:
    trains = [Path("d/train-00"), Path("d/train-01")]
    assert pattern_for(trains, [Path("d/val-00")]) == "d/train-*"
    assert pattern_for(trains[:1], trains) == "d/train-00"
    assert pattern_for([Path("d/a_train"), Path("d/b_train")], [Path("d/a_val")]) is None


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("cars_train", "cars_test"),
        ("Train", "Test"),
        ("train.0", "test.0"),
        ("training", "testing"),
        ("sub/train/0", "sub/test/0"),
    ],
)
def test_shards_are_split_by_name_whether_as_a_folder_or_a_glob(
    tmp_path: Path, write_parquet: Write, train: str, test: str
) -> None:
    write_parquet(tmp_path / f"hub/{train}.parquet")
    write_parquet(tmp_path / f"hub/{test}.parquet", labels=[0, 1, 2])
    for path in ("hub", "hub/**/*.parquet"):
        splits = load(tmp_path, "parquet", path)
        assert counts(splits) == (30, 3)
        assert splits.notes == (
            f"data: training: 30 images in 1 file ({train}.parquet); test: 3 images in 1 file ({test}.parquet)",
        )


def test_shards_that_are_not_used_are_listed(tmp_path: Path, write_parquet: Write) -> None:
    for name in ("train", "test", "validation", "old/train"):
        write_parquet(tmp_path / f"hub/{name}.parquet")
    assert load(tmp_path, "parquet", "hub").notes[0].endswith("; not used: validation.parquet, old/train.parquet")


def test_a_shard_without_a_split_beside_others_is_refused(tmp_path: Path, write_parquet: Write) -> None:
    for name in ("train", "test", "extra"):
        write_parquet(tmp_path / f"hub/{name}.parquet")
    line = refused(tmp_path, "parquet", "hub")
    assert "extra.parquet: names no split, but other files there name test, train" in line
    assert counts(load(tmp_path, "parquet", "hub/train.parquet", test_path="hub/extra.parquet")) == (30, 30)


def test_shards_of_one_split_are_taken_if_a_glob_names_them(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "hub/test-0.parquet")
    assert "has files of test but none of 'train'" in refused(tmp_path, "parquet", "hub")
    assert counts(load(tmp_path, "parquet", "hub/test*.parquet")) == (24, 6)


def test_a_fifo_among_the_shards_is_named_and_nobody_waits_for_it(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "hub/a.parquet")
    os.mkfifo(tmp_path / "hub/b.parquet")
    for path in ("hub", "hub/*.parquet", "hub/b.parquet"):
        assert "b.parquet: is not a regular file" in refused(tmp_path, "parquet", path)


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("training", "testing"), ("pets_train", "pets_eval")])
def test_folders_are_split_by_name(tmp_path: Path, write_folder: Write, train: str, test: str) -> None:
    write_folder(tmp_path / "pets" / train)
    write_folder(tmp_path / "pets" / test, first=200)
    (tmp_path / "pets/readme.txt").touch()
    splits = load(tmp_path, "folder", "pets")
    assert splits.digest == load(tmp_path, "folder", f"pets/{train}", test_path="pets").digest
    shown = [f"30 images in {tmp_path / 'pets' / name}" for name in (train, test)]
    assert splits.notes == (f"data: training: {shown[0]}; test: {shown[1]}; not used: readme.txt",)


def test_two_folders_of_one_split_are_refused(tmp_path: Path, write_folder: Write) -> None:
    for name in ("a_train", "b_train"):
        write_folder(tmp_path / "pets" / name)
    assert "'a_train' and 'b_train' are both named after the train split" in refused(tmp_path, "folder", "pets")


def test_arrays_are_split_by_name(tmp_path: Path, arrays: Arrays) -> None:
    x, y = arrays
    named = {"train_images": x, "train_labels": y, "Test_images": x[:6], "Test_labels": y[:6], "val_images": x}
    np.savez(tmp_path / "a.npz", **named)
    splits = load(tmp_path, "npz", "a.npz")
    assert counts(splits) == (30, 6)
    assert splits.notes[0].endswith("(Test_images, Test_labels); not used: val_images")
    np.savez(tmp_path / "b.npz", **named, X_train=x)
    assert "holds train_images, X_train; keep only one of them" in refused(tmp_path, "npz", "b.npz")
