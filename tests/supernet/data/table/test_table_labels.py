"""Columns of labels: one class, several, or numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest


def labelled(table: Any, values: list[Any], column: str = "label") -> list[dict[str, Any]]:
    """Rows of as many pictures as there are values."""
    return [{"image": row["image"], column: value} for row, value in zip(table.rows(), values, strict=False)]


@pytest.mark.parametrize(
    ("name", "values", "names"),
    [
        ("t.csv", [10, 9, 1] * 10, ("1", "9", "10")),
        ("t.jsonl", [10, 9, 1] * 10, ("1", "9", "10")),
        ("t.parquet", [10.0, 9.0, 1.0] * 10, ("1", "9", "10")),
        ("t.parquet", [True, False] * 15, ("false", "true")),
        ("t.jsonl", [True, False] * 15, ("false", "true")),
        ("t.csv", ["é", "Zebra", "ant"] * 10, ("Zebra", "ant", "é")),
        ("t.jsonl", ["10", "9", "1"] * 10, ("1", "9", "10")),
    ],
)
def test_names_are_those_of_the_cells_numbers_by_size(table: Any, name: str, values: list[Any], names: Any) -> None:
    assert table.load(labelled(table, values), name=name).class_names == names


def test_numbers_are_indices_if_the_file_names_the_classes(table: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for feature in ({"names": ["a", "b", "c"]}, {"feature": {"names": ["a", "b", "c"]}}, [{"names": ["a", "b", "c"]}]):
        path = table.write("t.parquet", labelled(table, [[2], [0, 1], []] * 10))
        written = pq.read_table(path)
        metadata = {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
        pq.write_table(written.replace_schema_metadata(metadata), path)
        splits = table.load(kind="classes", name="t.parquet")
        assert splits.class_names == ("a", "b", "c")
        assert splits.train.labels.sum(axis=1).max() == 2
    pq.write_table(pa.table({"image": ["p/00.png"], "label": [[3]]}).replace_schema_metadata(metadata), path)
    assert "'label' is [3], out of range; the file names 3 classes" in table.refused(kind="classes", name="t.parquet")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("t.csv", ["a", "b", ""] * 10, "t.csv, line 4: 'label' is missing (and in 9 more rows)"),
        ("t.jsonl", [1, 2, None] * 10, "t.jsonl, line 3: 'label' is missing"),
        ("t.parquet", [1.0, None] * 15, "t.parquet, row 1: 'label' is missing"),
        ("t.jsonl", [1, 2, "cat"] * 10, "line 3: 'label' is text ('cat'), but before a whole number"),
        ("t.jsonl", [1, True] * 15, "line 2: 'label' is true or false (True), but before a whole number"),
        ("t.jsonl", [1, {"a": 1}] * 15, "line 2: 'label' is {'a': 1}, expected one of: true or false, a whole number"),
        ("t.parquet", [0.5, 1.5] * 15, "row 0: 'label' is 0.5, not a class; for numbers choose task: regression"),
        ("t.jsonl", [["a"], ["b"]] * 15, "for several labels per row choose task: multilabel"),
        ("t.csv", [0, -1] * 15, "t.csv, line 3: 'label' is '-1', out of range; labels count from 0"),
        ("t.parquet", [0, -1] * 15, "row 1: 'label' is -1, out of range; labels count from 0"),
        ("t.csv", ["a"] * 30, "one class only (a)"),
        ("t.csv", ["caf\u00e9", "cafe\u0301"] * 15, "classes 0 and 1 are both named"),
    ],
)
def test_cells_that_are_no_classes_are_named(table: Any, name: str, values: list[Any], message: str) -> None:
    assert message in table.refused(labelled(table, values), name=name)


def test_text_beside_numbers_is_told_where_a_file_has_no_types(table: Any) -> None:
    splits = table.load(labelled(table, ["0", "1", "unknown"] * 10))
    assert splits.class_names == ("0", "1", "unknown")
    assert "mixes whole numbers" in splits.notes[1]
    assert "t.csv, line 4: 'label' is 'unknown'" in splits.notes[1]


def test_a_class_that_only_test_rows_have_is_refused(table: Any) -> None:
    rows = [{**row, "split": "train" if i < 24 else "test"} for i, row in enumerate(table.rows())]
    rows[28]["label"] = "fox"
    line = table.refused(rows, split_column="split")
    assert line.startswith(
        "t.csv, line 30: 'label' is 'fox', a class that no training row has; they have cat, dog, emu"
    )


def test_several_columns_are_not_one_class(table: Any) -> None:
    assert "names 2 columns (label, image), but the task learns one class" in table.refused(
        table.rows(), label_columns=["label", "image"]
    )


@pytest.mark.parametrize("separator", ["|", ";", ",", " / "])
def test_labels_in_one_cell_are_separated(table: Any, separator: str) -> None:
    cells = [separator.join(part) for part in (["cat", "dog"], ["dog"], [], ["cat", "dog", "emu"])]
    keys = {"label_separator": separator} if separator == " / " else {}
    splits = table.load(labelled(table, (cells * 8)[:30]), "classes", **keys)
    assert splits.class_names == ("cat", "dog", "emu")
    together = np.concatenate([part.labels for part in (splits.train, splits.heldout, splits.test)])
    assert together.sum(axis=0).tolist() == [15, 23, 7]
    assert any(f"separated by {separator!r}" in note for note in splits.notes) == (not keys)


def test_lists_columns_and_cells_of_labels_mean_the_same(table: Any) -> None:
    sets = ([["a", "b"], ["b"], [], ["a"]] * 8)[:30]
    columns = [{"a": int("a" in chosen), "b": str("b" in chosen)} for chosen in sets]
    rows = [{**row, **marks} for row, marks in zip(labelled(table, sets), columns, strict=True)]
    listed = table.load(rows, "classes", name="t.jsonl")
    assert listed.digest == table.load(rows, "classes", name="t.parquet").digest
    assert listed.digest == table.load(rows, "classes", name="c.jsonl", label_columns=["a", "b"]).digest
    cells = labelled(table, ["|".join(chosen) for chosen in sets])
    assert listed.digest == table.load(cells, "classes").digest


@pytest.mark.parametrize(
    ("name", "values", "keys", "message"),
    [
        ("t.jsonl", [["a"], None] * 15, {}, "line 2: 'label' is None, missing; write an empty list"),
        ("t.jsonl", ["a|b", None] * 15, {}, "line 2: 'label' is None, missing; write an empty list"),
        ("t.jsonl", [["a", None]] * 15, {}, "a list with a missing label"),
        ("t.csv", [""] * 30, {}, "no row has a label in 'label'"),
        ("t.jsonl", [1] * 30, {}, "holds int64, expected lists, or text with labels separated by |"),
        ("t.csv", [0, 1, 2] * 10, {"label_columns": ["label", "other"]}, "line 4: 'label' is '2', expected 0 or 1"),
        ("t.csv", [0, 1, ""] * 10, {"label_columns": ["label", "other"]}, "line 4: 'label' is missing"),
    ],
)
def test_cells_that_are_no_sets_of_labels_are_named(
    table: Any, name: str, values: list[Any], keys: dict[str, Any], message: str
) -> None:
    rows = [{**row, "other": 0} for row in labelled(table, values)]
    assert message in table.refused(rows, "classes", name=name, **keys)


def test_a_label_that_no_training_row_has_is_refused(table: Any) -> None:
    rows = [{**row, "split": "train" if i < 24 else "test"} for i, row in enumerate(labelled(table, ["a|b", "a"] * 15))]
    rows[25]["label"] = "a|z"
    assert "line 27: 'label' is 'a|z', with a label that no training row has" in table.refused(
        rows, "classes", split_column="split"
    )


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_columns_of_numbers_are_targets(table: Any, name: str) -> None:
    rows = [{**row, "x": i / 4, "y": -i} for i, row in enumerate(table.rows())]
    splits = table.load(rows, "values", name=name, label_columns=["y", "x"])
    assert splits.class_names == ("y", "x")
    assert splits.train.labels.dtype == np.float32
    numbers = np.round(np.asarray(splits.train.images)[:, 0, 2, 2] / 8)
    assert splits.train.labels.tolist() == [[-number, number / 4] for number in numbers]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("t.csv", "", "line 3: 'x' is missing"),
        ("t.csv", "nan", "line 3: 'x' is 'nan', not a finite number"),
        ("t.csv", "inf", "line 3: 'x' is 'inf', not a finite number"),
        ("t.csv", "1e39", "line 3: 'x' is '1e39', not a finite number of 32 bits"),
        ("t.csv", "1,5", "line 3: 'x' is '1,5', not a number; write it with a point"),
        ("t.jsonl", None, "line 2: 'x' is missing"),
        ("t.jsonl", float("nan"), "line 2: 'x' is missing"),
        ("t.jsonl", float("-inf"), "line 2: 'x' is -inf, not a finite number"),
        ("t.parquet", float("nan"), "row 1: 'x' is missing"),
    ],
)
def test_targets_that_are_no_finite_numbers_are_named(table: Any, name: str, value: Any, message: str) -> None:
    rows = labelled(table, [0.5] * 30, "x")
    rows[1]["x"] = value
    assert message in table.refused(rows, "values", name=name, label_column="x")


def test_a_target_of_text_is_refused(table: Any) -> None:
    assert "'label' is 'cat', not a number" in table.refused(table.rows(), "values")
    assert "holds bool, expected numbers" in table.refused(labelled(table, [True] * 30), "values", name="t.jsonl")
