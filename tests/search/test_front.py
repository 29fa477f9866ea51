"""The Pareto front and the area that it dominates."""

from __future__ import annotations

import random

import pytest

from search.front import hypervolume, pareto_front

REFERENCE = (10.0, 0.2)


def of_pairs(places):
    return pareto_front(places, lambda place: place)


def test_the_front_has_what_nothing_is_preferable_to_fastest_first() -> None:
    assert of_pairs([(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (1.0, 0.3), (4.0, 0.9)]) == ((1.0, 0.5), (3.0, 0.9))


def test_of_equal_places_the_first_is_kept() -> None:
    assert pareto_front(["first", "second"], lambda _: (1.0, 0.5)) == ("first",)


def test_a_perfect_answer_in_no_time_dominates_everything() -> None:
    assert hypervolume([(0.0, 1.0)], REFERENCE) == 1.0


@pytest.mark.parametrize("places", [[], [(10.0, 0.9)], [(12.0, 0.9)], [(5.0, 0.2)], [(5.0, -3.0)]])
def test_what_is_not_better_than_the_reference_point_adds_nothing(places) -> None:
    assert hypervolume(places, REFERENCE) == 0.0


def test_dominated_places_and_the_order_change_nothing() -> None:
    places = [(2.0, 0.4), (5.0, 0.7), (8.0, 0.9)]
    assert hypervolume([(9.0, 0.5), *reversed(places), (5.0, 0.6)], REFERENCE) == pytest.approx(
        hypervolume(places, REFERENCE)
    )


def test_the_area_is_the_share_of_points_that_are_dominated() -> None:
    rng = random.Random(0)
    places = [(rng.uniform(1, 12), rng.uniform(0.1, 1)) for _ in range(8)]
    grid = [((i + 0.5) / 20, 0.2 + 0.8 * (j + 0.5) / 200) for i in range(200) for j in range(200)]
    share = sum(any(x <= slow and y >= low for x, y in places) for slow, low in grid) / len(grid)
    assert hypervolume(places, REFERENCE) == pytest.approx(share, abs=0.005)


def test_a_reference_that_leaves_nothing_to_reach_gives_zero() -> None:
    assert hypervolume([(1.0, 1.0)], (10.0, 1.0)) == 0.0
