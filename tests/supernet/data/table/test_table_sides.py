"""Splits, groups, weights and duplicates in a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def numbers_of(part: Any) -> set[int]:
    """The numbers of the pictures of a split, by their brightness."""
    return {round(float(image[0, 2, 2]) / 8) for image in part.images}


def test_a_column_states_the_splits_and_validation_is_held_out(table: Any) -> None:
    words = ["train"] * 20 + ["val"] * 4 + ["Test"] * 6
    splits = table.load(table.rows(split=words), split_column="split")
    assert [numbers_of(part) for part in (splits.train, splits.heldout, splits.test)] == [
        set(range(20)),
        set(range(20, 24)),
        set(range(24, 30)),
    ]
    assert splits.notes == (
        "data: training: 20 images, held-out: 4 images, test: 6 images by column 'split' of 1 file (t.csv)",
    )


def test_what_a_split_column_leaves_open_is_drawn(table: Any) -> None:
    splits = table.load(table.rows(split=["train"] * 24 + ["test"] * 6), split_column="split")
    assert [len(part) for part in (splits.train, splits.heldout, splits.test)] == [21, 3, 6]
    splits = table.load(table.rows(split=["train"] * 24 + ["dev"] * 6), split_column="split", limit=12)
    assert numbers_of(splits.heldout) == set(range(24, 30))
    assert [len(splits.train), len(splits.test)] == [12, 6]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "tset"], "t.csv, line 3: 'split' is 'tset', expected train, validation or test"),
        (["train", ""], "t.csv, line 3: 'split' is missing"),
        (["test", "val"], "no row has the split 'train' in column 'split'"),
        (["train", "train_test"], "names the splits test and train at once"),
    ],
)
def test_cells_that_are_no_splits_are_named(table: Any, words: list[str], message: str) -> None:
    assert message in table.refused(table.rows(split=words * 15), split_column="split")


def test_no_group_is_on_two_sides(table: Any) -> None:
    splits = table.load(table.rows(patient=[f"P{i // 3}" for i in range(30)]), group_column="patient")
    sides = [{number // 3 for number in numbers_of(part)} for part in (splits.train, splits.heldout, splits.test)]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 10
    assert "splits are drawn by whole groups" in splits.notes[1]
    assert "test 6 rows (20.0%) in 2 groups" in splits.notes[1]


def test_a_group_on_two_stated_sides_is_refused(table: Any) -> None:
    rows = table.rows(split=["train"] * 24 + ["test"] * 6, patient=[i % 29 for i in range(30)])
    line = table.refused(rows, split_column="split", group_column="patient")
    assert line.startswith("t.csv, line 31: 'patient' is '0' in test data, as in training data (")
    assert "t.csv, line 2)" in line


def test_a_group_that_would_leave_nothing_is_named(table: Any) -> None:
    line = table.refused(
        table.rows(patient=["A" if i % 3 == 1 else f"P{i}" for i in range(30)]), group_column="patient"
    )
    assert "class 'dog': training, held-out and test data need 3 separate groups" in line
    assert "there is 1 group ('A')" in line
    line = table.refused(table.rows(patient=["A"] * 15 + ["B"] * 15), group_column="patient")
    assert "there are 2 groups ('A', 'B')" in line
    line = table.refused(
        table.rows(patient=["A"] * 30, x=[0.5] * 30), "values", label_column="x", group_column="patient"
    )
    assert line.startswith("the data: training, held-out and test data need 3 separate groups")
    assert "'patient' is missing" in table.refused(table.rows(patient=["A", ""] * 15), group_column="patient")


def test_weights_go_with_their_rows(table: Any) -> None:
    splits = table.load(table.rows(w=[1 + i for i in range(30)]), weight_column="w")
    assert splits.train.weights.dtype == np.float32
    assert set(splits.train.weights.astype(int) - 1) == numbers_of(splits.train)
    assert splits.digest != table.load(table.rows(w=[1] * 30), weight_column="w").digest


@pytest.mark.parametrize("value", ["-1", "0", "nan", "inf", "1e-46", "", "much"])
def test_a_weight_that_is_no_number_above_zero_is_named(table: Any, value: str) -> None:
    line = table.refused(table.rows(w=[1.0, value] * 15), weight_column="w")
    assert line.startswith("t.csv, line 3: 'w' is ")


def test_rows_of_one_image_stay_on_one_side_and_are_told(table: Any) -> None:
    rows = [*table.rows(), {"image": "./p/../p/04.png", "label": "cat"}, {"image": "p/05.png", "label": "emu"}]
    splits = table.load(rows)
    sides = [numbers_of(part) for part in (splits.train, splits.heldout, splits.test)]
    assert sum(map(len, sides)) == len(set().union(*sides))
    assert splits.notes[1].startswith("data: 2 examples are in more than one row, such as ")
    assert "t.csv, line 6 and" in splits.notes[1]
    assert "in 1 cases with another label" in splits.notes[1]


def test_one_image_on_two_stated_sides_is_refused(table: Any) -> None:
    rows = table.rows(split=["train"] * 24 + ["test"] * 6)
    rows[28]["image"] = "p/03.png"
    assert table.refused(rows, split_column="split").startswith(
        "t.csv, line 30: 'image' is 'p/03.png' in test data, as in training data ("
    )


def test_an_image_of_two_groups_joins_them(table: Any) -> None:
    rows = [
        *table.rows(patient=[f"P{i // 3}" for i in range(30)]),
        {"image": "p/00.png", "label": "cat", "patient": "P9"},
    ]
    for seed_rows in (rows, rows[::-1]):
        splits = table.load(seed_rows, group_column="patient")
        homes = [
            part for part in (splits.train, splits.heldout, splits.test) if numbers_of(part) & {0, 1, 2, 27, 28, 29}
        ]
        assert len(homes) == 1
