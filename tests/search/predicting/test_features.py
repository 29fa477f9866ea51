"""What the accuracy predictors see of a subnet."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from search.predicting.features import Features
from supernet.space import Choice, SearchSpace

DEPTH = Choice(name="stages.0.depth", options=(1, 2))
SPACE = SearchSpace(
    (
        Choice(name="resolution", options=(8, 16, 32)),
        DEPTH,
        Choice(name="stages.0.blocks.0.kernel", options=(3, 5)),
        Choice(name="stages.0.blocks.1.kernel", options=(3, 5), depth_choice=DEPTH.name, exists_from=2),
        Choice(name="stages.1.blocks.0.kernel", options=(3, 5, 7)),
    )
)
VECTORS = np.array([SPACE.encode(SPACE.smallest), SPACE.encode(SPACE.largest)])
MACS = np.array([1e6, 1e8])


@pytest.fixture
def features() -> Features:
    return Features(SPACE, 1e6, 1e8)


def test_a_choice_of_an_absent_block_has_no_feature(features) -> None:
    design = features.design(VECTORS, MACS)
    assert design[:, :12].sum(1).tolist() == [4, 5]
    assert design[:, -1].tolist() == [1, 1]


def test_curves_are_concave_rise_from_end_to_end_and_follow_the_logarithm(features) -> None:
    macs = np.geomspace(1e6, 1e8, 50)
    design = features.design(np.zeros((50, 5), dtype=int), macs)[:, features.curve_columns]
    np.testing.assert_allclose(design[[0, -1]], [[-0.5] * 3, [0.5] * 3])
    assert (np.diff(design, axis=0) > 0).all()
    assert all((np.diff(curve.slopes) < 1e-9).all() for curve in features.curves)
    np.testing.assert_allclose(design[:, 1], np.linspace(-0.5, 0.5, 50), atol=0.005)


def test_choices_of_a_kind_and_of_a_stage_share_a_slope(features) -> None:
    own, kinds, stages, bends, *_ = (group.effects for group in features.groups(np.ones(3, dtype=bool)))
    assert kinds[5:12, 2].tolist() == [-0.5, 0.5, -0.5, 0.5, -0.5, pytest.approx(0.103, abs=1e-3), 0.5]
    assert [np.flatnonzero(column).tolist() for column in stages.T] == [[3, 4, 5, 6, 7, 8], [9, 10, 11]]
    assert own.shape[1] == 5
    assert bends.shape[1] == 2
    np.testing.assert_allclose(bends.T @ own, 0, atol=1e-12)
    np.testing.assert_allclose(bends.sum(0), 0, atol=1e-12)


def test_the_resolution_multiplies_the_slopes_of_all_other_choices(features) -> None:
    *_, pivoted, shared, _ = (group.effects for group in features.groups(np.ones(3, dtype=bool)))
    assert [np.flatnonzero(column).tolist() for column in pivoted.T] == [[15, 16], [17, 18], [19, 20], [21, 22, 23]]
    assert shared.shape[1] == 4
    design = features.design(VECTORS, MACS)
    np.testing.assert_allclose(design[:, 12:24], design[:, :12] * [[-0.5], [0.5]])


def test_curves_that_are_not_used_have_no_effect(features) -> None:
    assert features.groups(np.array([False, True, False]))[-1].effects.shape[1] == 1
    assert len(features.groups(np.zeros(3, dtype=bool))) == 6


def test_the_objective_of_weights_is_the_design_times_them(features) -> None:
    weights = np.random.default_rng(0).standard_normal(28)
    weights[12:15] = 0  # the resolution does not multiply itself
    weights[features.curve_columns] **= 2
    every = np.array(list(itertools.product(*(range(len(choice.options)) for choice in SPACE))))
    macs = np.linspace(1e6, 1e8, len(every))
    found = features.objective(weights).values(SPACE, every, macs)
    np.testing.assert_allclose(found, features.design(every, macs) @ weights)


def test_without_different_sizes_there_are_no_curves() -> None:
    features = Features(SPACE, 1e6, 1e6)
    assert features.curves == ()
    assert features.design(VECTORS, MACS).shape == (2, 25)
    assert features.points(VECTORS, MACS).shape == (2, 5)
