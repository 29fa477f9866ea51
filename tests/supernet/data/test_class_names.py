"""Names of classes: distinct, printable, and the same in training and test data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from factory_base.errors import DataError
from supernet.data.class_names import checked_class_names, same_class_names
from supernet.data.config import DataConfig
from supernet.data.sources import load_splits
from supernet.data.types import Splits

Write = Callable[..., Path]
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def load(source: str, path: Path, **keys: str) -> Splits:
    config = DataConfig.model_validate({"source": source, "path": str(path), "image_size": 8, **keys})
    return load_splits(config, Path(), 0)


@pytest.mark.parametrize("names", [("a", "b", "a"), (COMPOSED, "b", DECOMPOSED)])
def test_two_classes_of_one_name_are_refused_from_every_source(
    tmp_path: Path, write_parquet: Write, arrays: tuple[NDArray[np.uint8], NDArray[np.int64]], names: tuple[str, ...]
) -> None:
    np.savez(tmp_path / "a.npz", images=arrays[0], labels=arrays[1], class_names=np.array(names))
    with pytest.raises(DataError, match="classes 0 and 2 are both named"):
        load("npz", tmp_path / "a.npz")
    with pytest.raises(DataError, match="classes 0 and 2 are both named"):
        load("parquet", write_parquet(tmp_path / "a.parquet", names=names))


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[31m", "\udcff", "a\u2028b"])
def test_a_name_is_one_line_of_text(name: str) -> None:
    with pytest.raises(DataError, match=r"class 1 is named .* a name is one line of text") as caught:
        checked_class_names(["a", name], "here")
    assert str(caught.value).isprintable()


def test_accents_may_be_stored_in_another_way_in_the_test_data(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "train", ("ant", COMPOSED, "dog"))
    write_folder(tmp_path / "test", ("ant", DECOMPOSED, "dog"), first=200)
    splits = load("folder", tmp_path)
    assert splits.class_names == ("ant", COMPOSED, "dog")
    assert splits.test.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert same_class_names((COMPOSED, "b"), (DECOMPOSED, "b"))
    assert not same_class_names(("a", "b"), ("b", "a"))


def test_names_that_differ_only_in_case_are_reported(tmp_path: Path, write_parquet: Write) -> None:
    notes = load("parquet", write_parquet(tmp_path / "a.parquet", names=("Cat", "dog", "cat"))).notes
    assert "classes 'Cat' and 'cat' differ in little more than case" in notes[1]


def test_shards_with_other_class_names_are_refused(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "hub/a.parquet")
    write_parquet(tmp_path / "hub/b.parquet", names=("dog", "cat", "emu"))
    with pytest.raises(DataError, match=r"b\.parquet: classes \[dog, cat, emu\] differ"):
        load("parquet", tmp_path / "hub")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: {"labels": y + 1}, "labels run from 1 to 3, but count from 0: subtract 1 from each label"),
        (lambda y: {"labels": y + 5}, "labels run from 5 to 7, but count from 0: subtract 5 from each label"),
        (lambda y: {"labels": y * 2}, "labels run from 0 to 4, but no image has label 1"),
        (lambda y: {"labels": y + 1, "class_names": np.array(list("abc"))}, "run from 1 to 3, so subtract 1 from each"),
        (lambda y: {"labels": y + 1, "class_names": np.array(list("abcd"))}, "no label is 0: if the labels count from"),
    ],
)
def test_labels_that_do_not_count_from_0_are_explained(
    tmp_path: Path,
    arrays: tuple[NDArray[np.uint8], NDArray[np.int64]],
    change: Callable[[NDArray[np.int64]], dict[str, NDArray[np.generic]]],
    message: str,
) -> None:
    np.savez(tmp_path / "a.npz", images=arrays[0], **change(arrays[1]))
    with pytest.raises(DataError) as caught:
        load("npz", tmp_path / "a.npz")
    assert message in str(caught.value)
