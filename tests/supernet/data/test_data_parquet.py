"""Parquet files as the `datasets` library writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from factory_base.errors import ConfigError, DataError, FactoryError
from supernet.data.config import DataConfig
from supernet.data.sources import load_splits
from supernet.data.types import Splits

Write = Callable[..., Path]


def load(folder: Path, path: str = "a.parquet", **keys: str) -> Splits:
    config = DataConfig.model_validate({"source": "parquet", "path": path, "image_size": 8, **keys})
    return load_splits(config, folder, 0)


def refused(folder: Path, path: str = "a.parquet", **keys: str) -> str:
    """The one-line message with which loading fails."""
    with pytest.raises(FactoryError) as caught:
        load(folder, path, **keys)
    assert isinstance(caught.value, ConfigError | DataError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_names_come_from_the_metadata_and_a_test_split_is_set_aside(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "a.parquet")
    splits = load(tmp_path)
    assert splits.class_names == ("cat", "dog", "emu")
    assert [len(part) for part in (splits.train, splits.heldout, splits.test)] == [21, 3, 6]


def test_each_image_keeps_its_label(tmp_path: Path, write_parquet: Write) -> None:
    path = write_parquet(tmp_path / "a.parquet", labels=[0, 1] * 12, names=None)
    splits = load(tmp_path, test_path=str(write_parquet(tmp_path / "b.parquet", labels=[1] * 3, names=None)))
    images = np.concatenate([splits.train.images, splits.heldout.images])
    labels = np.concatenate([splits.train.labels, splits.heldout.labels])
    rows = np.argsort(images.mean(axis=(1, 2, 3)))  # brightness grows with the row
    assert path.exists()
    assert labels[rows].tolist() == [0, 1] * 12


def test_shards_a_glob_and_one_file_give_the_same_images(tmp_path: Path, write_parquet: Write) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(write_parquet(tmp_path / "a.parquet"))
    for number in range(3):
        (tmp_path / "shards").mkdir(exist_ok=True)
        pq.write_table(table.slice(number * 10, 10), tmp_path / f"shards/part-{number}.parquet")
    digest = load(tmp_path).digest
    assert load(tmp_path, "shards").digest == digest
    assert load(tmp_path, "sh*/*.parquet").digest == digest


def test_binary_columns_are_read_too(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "a.parquet")
    write_parquet(tmp_path / "b.parquet", plain=True)
    assert load(tmp_path).digest == load(tmp_path, "b.parquet").digest


def test_train_and_test_shards_of_one_folder_stay_apart(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "hub/train-00000-of-00001.parquet")
    write_parquet(tmp_path / "hub/test-00000-of-00001.parquet", labels=[0, 1, 2])
    splits = load(tmp_path, "hub")
    assert (len(splits.train) + len(splits.heldout), len(splits.test)) == (30, 3)


def test_a_validation_shard_is_not_guessed_to_be_the_test_data(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "hub/train-0.parquet")
    write_parquet(tmp_path / "hub/validation-0.parquet")
    assert "path: hub/train-0.parquet and test_path: hub/validation-0.parquet" in refused(tmp_path, "hub")
    assert len(load(tmp_path, "hub/train*.parquet", test_path="hub/validation*.parquet").test) == 30


def test_training_shards_are_not_taken_as_test_data(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "hub/train-0.parquet")
    assert "none of 'test'" in refused(tmp_path, "hub", test_path="hub")
    assert "both training and test data" in refused(tmp_path, "hub", test_path="hub/train-0.parquet")


@pytest.mark.parametrize("path", ["missing.parquet", "missing/*.parquet"])
def test_missing_files_are_named(tmp_path: Path, path: str) -> None:
    assert str(tmp_path / path) in refused(tmp_path, path)


@pytest.mark.parametrize("content", [b"", b"label,image\n", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_a_file_that_is_not_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    assert "is not a readable Parquet file" in refused(tmp_path)


def test_damage_in_the_middle_of_the_file_is_named(tmp_path: Path, write_parquet: Write) -> None:
    path = write_parquet(tmp_path / "a.parquet")
    content = bytearray(path.read_bytes())
    content[4:1500] = b"\xff" * 1496
    path.write_bytes(content)
    assert str(path) in refused(tmp_path)


def test_a_missing_column_names_the_nearest(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "a.parquet", column="images")
    assert "no column 'image'; did you mean 'images'" in refused(tmp_path)
    assert load(tmp_path, image_column="images").class_names == ("cat", "dog", "emu")
    assert "no column 'labels'" in refused(tmp_path, image_column="images", label_column="labels")


def test_columns_of_another_type_are_refused(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "a.parquet")
    assert "'label' holds int64, expected the bytes of images" in refused(tmp_path, image_column="label")
    assert "expected text, whole numbers or booleans" in refused(tmp_path, label_column="image")


@pytest.mark.parametrize(
    ("row", "content", "message"),
    [(4, None, "no bytes"), (5, b"text", "not an image"), (23, b"\x89PNG\r\n\x1a\n", "image")],
)
def test_a_damaged_image_is_named_by_its_row(
    tmp_path: Path, write_parquet: Write, row: int, content: bytes | None, message: str
) -> None:
    path = write_parquet(tmp_path / "a.parquet", damaged={row: content})
    line = refused(tmp_path)
    assert f"{path}, row {row}:" in line
    assert message in line


def test_a_label_out_of_range_is_refused(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "a.parquet", labels=[0, 1, 2, 3] * 4)
    assert "row 3: 'label' is 3, out of range; the file names 3 classes" in refused(tmp_path)
    write_parquet(tmp_path / "a.parquet", labels=[0, 1, -1] * 4, names=None)
    assert "row 2: 'label' is -1, out of range" in refused(tmp_path)
    write_parquet(tmp_path / "a.parquet", labels=[0, 1, None] * 4)
    assert "row 2: 'label' is missing (and in 3 more rows)" in refused(tmp_path)


def test_test_classes_must_be_the_training_classes(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "a.parquet")
    write_parquet(tmp_path / "b.parquet", names=("dog", "cat", "emu"))
    assert "differ from the training data's [cat, dog, emu]" in refused(tmp_path, test_path="b.parquet")


def test_a_file_without_rows_is_refused(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "a.parquet", labels=[])
    assert "holds no rows" in refused(tmp_path)
