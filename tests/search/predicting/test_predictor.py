"""The accuracy predictors."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from search.predicting.predictor import AccuracyPredictor
from search.scored import Scored
from supernet.space import Choice, SearchSpace, SubnetConfig

Truth = Callable[[SubnetConfig], float]


def scored(subnets: Sequence[SubnetConfig], truth: Truth, images: int = 1000) -> list[Scored]:
    """Subnets that label the easiest images correctly, as many as their accuracy says.

    How easy an image is differs a little from subnet to subnet.
    """
    rng, found = np.random.default_rng(0), []
    for subnet in subnets:
        order = np.argsort(np.linspace(0, 1, images) + rng.normal(0, 0.2, images))
        found.append(Scored.of(subnet, (np.argsort(order) < round(truth(subnet) * images)).tolist()))
    return found


def drawn(space: SearchSpace, count: int, seed: int = 0) -> list[SubnetConfig]:
    rng = random.Random(seed)
    return sorted({space.sample(rng) for _ in range(count)})


def unseen(space: SearchSpace) -> list[SubnetConfig]:
    return sorted(set(drawn(space, 200, seed=1)) - set(drawn(space, 120)))


def vectors(space: SearchSpace, subnets: Sequence[SubnetConfig]) -> NDArray[np.int64]:
    return np.array([space.encode(subnet) for subnet in subnets])


class Sizes:
    """MACs that grow by a fifth with every option. Tracing networks would take longer than these tests."""

    def macs_of(self, vectors: NDArray[np.integer]) -> NDArray[np.float64]:
        return np.asarray(1e6 * 1.2 ** vectors.sum(1))


@pytest.fixture
def workloads() -> Sizes:
    return Sizes()


def predict(predictor: AccuracyPredictor, space, workloads, subnets, refine: bool = False) -> NDArray[np.float64]:
    encoded = vectors(space, subnets)
    how = predictor.refine if refine else predictor.predict
    mean, std = how(encoded, workloads.macs_of(encoded))
    assert mean.shape == std.shape == (len(subnets),)
    assert (std >= 0).all()
    return mean


@pytest.mark.parametrize("refine", [False, True])
def test_it_finds_an_additive_truth(space, workloads, truth, refine: bool) -> None:
    predictor = AccuracyPredictor(space, workloads, scored(drawn(space, 120), truth))
    predicted = predict(predictor, space, workloads, unseen(space), refine)
    exact = [truth(subnet) for subnet in unseen(space)]
    assert np.corrcoef(predicted, exact)[0, 1] > 0.99
    assert np.abs(predicted - exact).max() < 0.03


def test_few_scores_already_rank_better_than_chance(space, workloads, truth) -> None:
    predictor = AccuracyPredictor(space, workloads, scored(drawn(space, 20), truth, 300))
    predicted = predict(predictor, space, workloads, unseen(space))
    assert np.corrcoef(predicted, [truth(subnet) for subnet in unseen(space)])[0, 1] > 0.8


def test_absent_blocks_differ_from_their_smallest_option(space, workloads) -> None:
    deep = space.largest.to_dict()
    smallest_block = {name: space.smallest[name] for name in deep if ".blocks.1." in name}
    shallow = space.subnet(deep | {"stages.0.depth": 1})
    thin = space.subnet(deep | {k: v for k, v in smallest_block.items() if k.startswith("stages.0")})
    known = scored(drawn(space, 60), lambda subnet: 0.9 if subnet["stages.0.depth"] == 2 else 0.1)
    predicted = predict(AccuracyPredictor(space, workloads, known), space, workloads, [shallow, thin])
    assert predicted[0] < 0.3
    assert predicted[1] > 0.7


def test_a_choice_may_cost_accuracy_as_it_grows(space, workloads) -> None:
    def truth(subnet: SubnetConfig) -> float:
        return 0.8 - 0.2 * (subnet["resolution"] == 24) + 0.01 * subnet["stages.0.width"] / 8

    predictor = AccuracyPredictor(space, workloads, scored(drawn(space, 40), truth))
    small, large = (space.subnet(space.largest.to_dict() | {"resolution": r}) for r in (16, 24))
    predicted = predict(predictor, space, workloads, [small, large])
    assert predicted[0] - predicted[1] == pytest.approx(0.2, abs=0.02)


def test_what_a_choice_is_worth_may_depend_on_the_resolution(space, workloads) -> None:
    def truth(subnet: SubnetConfig) -> float:
        return 0.6 + (0.02 if subnet["resolution"] == 24 else -0.01) * (subnet["stages.1.width"] - 16) / 8

    predictor = AccuracyPredictor(space, workloads, scored(drawn(space, 120), truth))
    exact = [truth(subnet) for subnet in unseen(space)]
    assert np.abs(predict(predictor, space, workloads, unseen(space)) - exact).max() < 0.015


def test_the_richer_model_sees_that_other_choices_interact(space, workloads) -> None:
    def truth(subnet: SubnetConfig) -> float:
        return 0.5 + 0.1 * (-1) ** subnet["stages.0.depth"] * (subnet["stages.1.depth"] - 1.5)

    predictor = AccuracyPredictor(space, workloads, scored(drawn(space, 120), truth))
    exact = [truth(subnet) for subnet in unseen(space)]
    errors = [predict(predictor, space, workloads, unseen(space), refine) - exact for refine in (False, True)]
    assert errors[1].std() < errors[0].std() / 1.5


def test_the_objective_is_what_predict_returns(space, workloads) -> None:
    def truth(subnet: SubnetConfig) -> float:
        return 0.2 + 0.02 * float(np.log(workloads.macs_of(vectors(space, [subnet]))[0]))

    predictor = AccuracyPredictor(space, workloads, scored(drawn(space, 30), truth))
    encoded = vectors(space, unseen(space))
    macs = workloads.macs_of(encoded)
    assert any(curve.macs_weight for curve in predictor.objective.curves)
    assert all((curve.slopes >= 0).all() for curve in predictor.objective.curves)
    np.testing.assert_allclose(predictor.objective.values(space, encoded, macs), predictor.predict(encoded, macs)[0])


def test_draws_scatter_around_the_mean_as_the_interval_says(space, workloads, truth) -> None:
    predictor = AccuracyPredictor(space, workloads, scored(drawn(space, 12), truth, 100))
    encoded = vectors(space, unseen(space))
    macs, rng = workloads.macs_of(encoded), np.random.default_rng(0)
    draws = np.stack([predictor.draw(rng).values(space, encoded, macs) for _ in range(300)])
    mean, std = predictor.predict(encoded, macs)
    assert np.abs(draws.mean(0) - mean).max() < std.max() / 2
    assert 0.5 < (draws.std(0) / std).mean() < 1.05  # `std` also has what no weight explains


def test_the_generator_decides_what_is_drawn(space, workloads, truth) -> None:
    predictor = AccuracyPredictor(space, workloads, scored(drawn(space, 12), truth, 100))
    first, same, other = (predictor.draw(np.random.default_rng(seed)).constant for seed in (0, 0, 1))
    assert first == same != other


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_scores_are_enough(space, workloads, truth, count: int) -> None:
    predictor = AccuracyPredictor(space, workloads, scored(drawn(space, 120)[:count], truth, 50))
    for refine in (False, True):
        assert np.abs(predict(predictor, space, workloads, unseen(space), refine) - 0.7).max() < 0.5
    assert predictor.errors().rmse_points < 50


def test_equal_scores_are_predicted_everywhere(space, workloads) -> None:
    predictor = AccuracyPredictor(space, workloads, scored(drawn(space, 20), lambda _: 1.0))
    assert predict(predictor, space, workloads, unseen(space)) == pytest.approx(1.0, abs=1e-3)
    assert predictor.errors().tau is None


def test_a_space_of_one_subnet_has_its_score(space, workloads) -> None:
    single = SearchSpace(tuple(type(c)(name=c.name, options=c.options[:1]) for c in space))
    predictor = AccuracyPredictor(single, workloads, scored([single.smallest], lambda _: 0.4))
    assert predict(predictor, single, workloads, [single.smallest], refine=True) == pytest.approx([0.4])


def test_more_choices_than_scores_in_a_space_that_is_no_chain() -> None:
    names = [f"blocks.{block}.{kind}" for block in range(15) for kind in ("width", "heads", "ratio")]
    space = SearchSpace(tuple(Choice(name=name, options=(0, 2, 3)) for name in names))

    def truth(subnet: SubnetConfig) -> float:
        return 0.5 + 0.1 * sum(subnet[name] for name in names if name.endswith("width")) / 45

    predictor = AccuracyPredictor(space, Sizes(), scored(drawn(space, 40), truth))
    predicted = predict(predictor, space, Sizes(), drawn(space, 100, seed=1))
    exact = [truth(subnet) for subnet in drawn(space, 100, seed=1)]
    assert np.corrcoef(predicted, exact)[0, 1] > 0.8


def test_errors_are_those_on_subnets_left_out(space, workloads) -> None:
    rng = np.random.default_rng(0)
    noisy = [Scored.of(subnet, rng.random(400) < 0.8) for subnet in drawn(space, 60)]
    errors = AccuracyPredictor(space, workloads, noisy).errors()
    assert errors.noise_points == pytest.approx(2.0, rel=0.1)
    assert errors.rmse_points == pytest.approx(2.0, rel=0.3)
    assert abs(errors.tau) < 0.3


def test_errors_are_small_and_ranks_right_if_the_truth_is_simple(space, workloads, truth) -> None:
    errors = AccuracyPredictor(space, workloads, scored(drawn(space, 80), truth)).errors()
    assert errors.rmse_points < 0.5
    assert errors.noise_points < 1.5
    assert errors.tau > 0.95
    assert errors.tau_band > 0.9
