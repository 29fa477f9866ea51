"""Draws by whole groups: near the share that is asked for, in every stratum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from factory_base.errors import DataError
from supernet.data.grouping import GroupRules, draw_groups


def rules(groups: Any, classes: int | None, left: int = 1) -> GroupRules:
    return GroupRules(
        left=left,
        class_names=None if classes is None else [f"class {i}" for i in range(classes)],
        group_names=[f"group {i}" for i in range(int(np.max(groups)) + 1)],
        purpose="both",
    )


@pytest.mark.parametrize("seed", range(5))
def test_whole_groups_are_drawn_and_every_class_gets_its_share(seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 200, 2000)
    labels = generator.choice(4, 2000, p=[0.6, 0.25, 0.1, 0.05])
    chosen = draw_groups(labels, groups, 0.2, generator.permutation(2000), rules(groups, 4))
    assert not set(groups[chosen]) & set(np.delete(groups, chosen))
    shares = np.bincount(labels[chosen], minlength=4) / np.bincount(labels)
    assert np.abs(shares - 0.2).max() < 0.06  # the rarest class has 100 rows: 6 of them


def test_a_draw_depends_on_its_arguments_alone() -> None:
    groups, labels = np.arange(60) // 3, np.arange(60) % 2
    orders = [np.random.default_rng(seed).permutation(60) for seed in (0, 0, 1)]
    first, again, other = (draw_groups(labels, groups, 0.2, order, rules(groups, 2)).tolist() for order in orders)
    assert first == again != other


def test_groups_of_one_row_are_rows() -> None:
    labels = np.arange(100) % 5
    chosen = draw_groups(
        labels, np.arange(100), 0.1, np.random.default_rng(0).permutation(100), rules(np.arange(100), 5)
    )
    assert np.bincount(labels[chosen]).tolist() == [2] * 5


def test_enough_groups_are_left_for_the_next_draw() -> None:
    groups = np.repeat(np.arange(3), 10)
    chosen = draw_groups(np.zeros(30, dtype=np.int64), groups, 0.5, np.arange(30), rules(groups, 1, left=2))
    assert len(set(groups[chosen])) == 1


def test_a_large_group_is_left_where_it_does_least_harm() -> None:
    groups = np.array([0] * 90 + [1] * 5 + [2] * 5)
    chosen = draw_groups(np.arange(100) % 2, groups, 0.1, np.arange(100), rules(groups, 2))
    assert set(groups[chosen]) == {1, 2}


def test_a_class_in_one_group_is_refused_with_both_names() -> None:
    groups = np.arange(30) // 3
    labels = np.where(groups == 4, 1, 0)
    with pytest.raises(DataError, match=r"'class 1': both need 2 separate groups, .* is 1 group \('group 4'\)"):
        draw_groups(labels, groups, 0.2, np.arange(30), rules(groups, 2))


def test_strata_that_only_guide_do_not_have_to_be_in_every_split() -> None:
    groups = np.arange(40) // 4
    strata = np.arange(40) // 4
    chosen = draw_groups(strata, groups, 0.2, np.random.default_rng(0).permutation(40), rules(groups, None))
    assert len(chosen) == 8
    assert len(draw_groups(strata * 2, groups, 0.2, np.arange(40), rules(groups, None))) == 8  # every second is empty
    with pytest.raises(DataError, match="the data: both need 2 separate groups"):
        draw_groups(strata, np.zeros(40, dtype=np.int64), 0.2, np.arange(40), rules([0], None))


def test_no_draw_is_far_from_a_random_draw_of_groups_at_best() -> None:
    """Against 200 random draws of groups: the drawn one has a smaller error over all classes than nine of ten."""
    generator = np.random.default_rng(1)
    groups = generator.integers(0, 60, 1200)
    labels = (groups * 7 + generator.integers(0, 3, 1200)) % 6

    def error(rows: Any) -> float:
        return float(np.abs(np.bincount(labels[rows], minlength=6) - 0.2 * np.bincount(labels)).sum())

    drawn = error(draw_groups(labels, groups, 0.2, generator.permutation(1200), rules(groups, 6)))
    random = [error(np.isin(groups, generator.choice(60, 12, replace=False))) for _ in range(200)]
    assert drawn <= np.quantile(random, 0.1)
