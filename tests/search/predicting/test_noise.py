"""The covariance of scores that come from the same images."""

from __future__ import annotations

import numpy as np
import pytest

from search.predicting.noise import noise_covariance
from search.scored import Scored


def test_the_same_results_share_all_their_noise_and_independent_ones_nearly_none(space) -> None:
    rng = np.random.default_rng(0)
    first, other = (rng.random(2000) < 0.8 for _ in range(2))
    covariance = noise_covariance([Scored.of(space.smallest, bits) for bits in (first, first, other)])
    assert np.diag(covariance) == pytest.approx(0.8 * 0.2 / 2000, rel=0.1)
    assert covariance[0, 1] / covariance[0, 0] == pytest.approx(0.9, abs=0.01)
    assert abs(covariance[0, 2]) / covariance[0, 0] < 0.1


def test_the_noise_of_a_difference_is_that_of_paired_scores(space) -> None:
    rng = np.random.default_rng(1)
    hard = rng.random((4000, 1)) < 0.3
    results = (rng.random((4000, 2)) < 0.9) & ~hard
    covariance = noise_covariance([Scored.of(space.smallest, column) for column in results[:50].T])
    difference = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    seen = np.diff(results.reshape(80, 50, 2).mean(1), axis=1).var()
    assert difference == pytest.approx(seen, rel=0.5)


def test_scores_on_different_numbers_of_images_make_a_covariance(space) -> None:
    rng = np.random.default_rng(2)
    bits = rng.random(64) < 0.5
    images = [5, 64, 20, 64, 7]
    covariance = noise_covariance([Scored.of(space.smallest, bits[:n]) for n in images])
    assert np.linalg.eigvalsh(covariance).min() > -1e-12
    assert covariance[0, 0] > covariance[2, 2] > covariance[1, 1] > 0


def test_certain_scores_are_never_taken_as_free_of_noise(space) -> None:
    covariance = noise_covariance([Scored.of(space.smallest, [True] * 10)] * 2)
    assert (np.diag(covariance) > 0).all()
