"""The accuracy predictor."""

from __future__ import annotations

import random

import numpy as np
import pytest

from search.predictor import AccuracyPredictor


def test_it_finds_an_additive_truth(space, score, truth) -> None:
    rng = random.Random(0)
    fitted = list({space.sample(rng) for _ in range(120)})
    unseen = [s for s in {space.sample(rng) for _ in range(200)} if s not in fitted]
    predicted = AccuracyPredictor(space, score(sorted(fitted))).predict(unseen)
    exact = [truth(subnet) for subnet in unseen]
    assert predicted.shape == (len(unseen),)
    assert np.corrcoef(predicted, exact)[0, 1] > 0.99
    assert np.abs(predicted - exact).max() < 0.02


def test_few_scores_already_rank_better_than_chance(space, shared, truth) -> None:
    rng = random.Random(1)
    unseen = sorted({space.sample(rng) for _ in range(200)})
    predicted = AccuracyPredictor(space, shared).predict(unseen)
    assert np.corrcoef(predicted, [truth(subnet) for subnet in unseen])[0, 1] > 0.8


def test_absent_blocks_differ_from_their_smallest_option(space, scored) -> None:
    deep = space.largest.to_dict()
    smallest_block = {name: space.smallest[name] for name in deep if ".blocks.1." in name}
    shallow = space.subnet(deep | {"stages.0.depth": 1})
    thin = space.subnet(deep | {k: v for k, v in smallest_block.items() if k.startswith("stages.0")})
    rng = random.Random(0)
    fitted = sorted({space.sample(rng) for _ in range(60)})
    fitted = [scored(subnet, 0.9 if subnet["stages.0.depth"] == 2 else 0.1) for subnet in fitted]
    predicted = AccuracyPredictor(space, fitted).predict([shallow, thin])
    assert predicted[0] < 0.3
    assert predicted[1] > 0.7


def test_equal_scores_are_predicted_everywhere(space, shared, scored) -> None:
    flat = [scored(s.subnet, 0.5) for s in shared[:2]]
    assert AccuracyPredictor(space, flat).predict([space.largest]) == pytest.approx([0.5])
