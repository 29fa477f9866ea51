"""Finalists are compared on more images, and the cheaper of two that are level is picked."""

from __future__ import annotations

import pytest

from device_profiles.budgets import Budgets
from search.decision import decide, predicted_costs
from search.device_target import Target
from search.finals import hold_finals
from search.scored import Scored
from search.variant import Variant
from supernet.space import SubnetConfig


def scored(subnet: SubnetConfig, wrong: int, images: int = 400) -> Scored:
    """A subnet that labels all images correctly but the first `wrong`."""
    bits = (1 << (images - wrong)) - 1
    return Scored(subnet=subnet, images=images, correct=f"{bits:0{images // 4}x}")


@pytest.fixture
def target(phone) -> Target:
    return Target(costs=phone, budgets=Budgets())


def test_a_clearly_better_finalist_is_picked(space, target) -> None:
    finalists = [scored(space.smallest, 60), scored(space.largest, 20)]
    assert decide((target,), finalists, predicted_costs).pick.subnet == space.largest


def test_the_cheaper_of_two_level_finalists_is_picked(space, target) -> None:
    level = [scored(space.smallest, 20), scored(space.largest, 20)]
    assert decide((target,), level, predicted_costs).pick.subnet == space.smallest
    one_image = [scored(space.smallest, 21), scored(space.largest, 20)]  # more than a quarter of the standard error
    assert decide((target,), one_image, predicted_costs).pick.subnet == space.largest


def test_a_score_on_fewer_images_never_wins(space, target) -> None:
    finalists = [scored(space.smallest, 0, images=40), scored(space.largest, 20)]
    assert decide((target,), finalists, predicted_costs).pick.subnet == space.largest


def test_half_of_the_finalists_stay_at_each_number_of_images(shared) -> None:
    subnets = [s.subnet for s in shared[:8]]
    asked = []

    def score(wanted, images, purpose):
        asked.append((len(wanted), images, purpose))
        return [scored(variant.subnet, 4 * subnets.index(variant.subnet), images) for variant in wanted]

    final = hold_finals([[Variant(subnet=subnet) for subnet in subnets]], (100, 200, 400, 800), score)
    assert asked == [(8, 200, "final"), (4, 400, "final"), (2, 800, "final")]
    assert [s.subnet for s in final][:2] == subnets[:2]
    assert sorted(s.images for s in final) == [200] * 4 + [400] * 2 + [800] * 2
