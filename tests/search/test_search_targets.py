"""The search for all targets together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.profile import find_profile
from device_profiles.workload.workloads import Workloads
from factory_base.errors import BudgetError, ConfigError
from search.config import SearchConfig
from search.decision import Measured
from search.device_target import Target
from search.rounds import image_rungs, search_targets
from search.scored import Scored
from search.target import SearchResult
from search.variant import Variant
from supernet.space import SubnetConfig
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig

CONFIG = SearchConfig(shared_subnets=12, trials_per_target=4, rounds=2, finalists=3)
HELDOUT = 2000


class Scorer:
    """Scores subnets by the known truth, and keeps what it was asked for."""

    def __init__(self, scored, truth) -> None:
        self._scored, self._truth = scored, truth
        self.asked: list[tuple[SubnetConfig, int, str]] = []

    def __call__(self, variants: Sequence[Variant], images: int, purpose: str) -> list[Scored]:
        self.asked += [(variant.subnet, images, purpose) for variant in variants]
        return [replace(self._scored(v.subnet, self._truth(v.subnet), images), variant=v.precision) for v in variants]

    def of(self, purpose: str) -> list[SubnetConfig]:
        return [subnet for subnet, _, asked in self.asked if asked.startswith(purpose)]


@pytest.fixture
def scorer(scored, truth) -> Scorer:
    return Scorer(scored, truth)


@pytest.fixture
def target(phone, shared) -> Callable[[float], Target]:
    """`target(share)` has a latency budget that this share of random subnets keeps."""
    times = [costs.latency_us for costs in phone.of([s.subnet for s in shared])]
    return lambda share: Target(costs=phone, budgets=Budgets(latency=f"{int(np.quantile(times, share)) + 1} us"))


@pytest.fixture
def search(space, workloads, scorer):
    def run(*targets: Target, config: SearchConfig = CONFIG, seed: int = 0, **options) -> SearchResult:
        return search_targets([(t,) for t in targets], space, workloads, scorer, HELDOUT, config, seed, **options)

    return run


def test_every_scored_subnet_is_a_candidate_for_every_target(search, target) -> None:
    result = search(target(0.2), target(0.6))
    scored = {s.subnet for s in result.scored}
    assert all({c.subnet for c in found.candidates} == scored for found in result.targets)


def test_a_pick_keeps_its_budgets_and_no_clearly_better_finalist_was_passed_over(search, target) -> None:
    for share in (0.1, 0.5, 1.0):
        (found,) = search(target(share)).targets
        assert not found.pick.excesses
        best = max(f.candidate.accuracy for f in found.finalists if f.candidate.images == found.pick.images)
        assert found.pick.accuracy > best - 0.02  # the standard error of 2,000 images is 0.01


def test_picks_come_close_to_the_best_subnet_of_a_known_truth(search, target, truth, space, phone) -> None:
    aim = target(0.3)
    (found,) = search(aim).targets
    feasible = [s for s in _every(space, 4000) if not aim.budgets.excesses(phone.of([s])[0])]
    assert truth(found.pick.subnet) > max(truth(s) for s in feasible) - 0.02


def _every(space, count: int) -> list[SubnetConfig]:
    import random

    rng = random.Random(1)
    return sorted({space.sample(rng) for _ in range(count)})


def test_a_round_proposes_new_subnets_only_and_not_more_than_its_share(search, target, scorer) -> None:
    search(target(0.3), target(0.7))
    proposed = scorer.of("round")
    assert 0 < len(proposed) <= 2 * CONFIG.trials_per_target
    assert len(set(proposed)) == len(proposed)
    assert not set(proposed) & set(scorer.of("shared"))


def test_finalists_alone_are_scored_on_the_images_kept_back(search, target, scorer) -> None:
    (found,) = search(target(0.5)).targets
    assert {images for _, images, purpose in scorer.asked if purpose != "final"} == {1000}
    assert {images for _, images, purpose in scorer.asked if purpose == "final"} == {HELDOUT}
    assert set(scorer.of("final")) == {f.candidate.subnet for f in found.finalists}
    assert found.pick.images == HELDOUT


def test_the_same_arguments_give_the_same_result(search, target) -> None:
    def picks(seed: int) -> list:
        result = search(target(0.3), seed=seed, config=CONFIG.model_copy(update={"rounds": 1, "trials_per_target": 2}))
        return [(replace(t, proof=replace(t.proof, seconds=0.0)), result.scored) for t in result.targets]

    assert picks(0) == picks(0)
    assert picks(0) != picks(1)


def test_a_search_from_scored_subnets_scores_none_of_them_again(search, target, scorer) -> None:
    first = search(target(0.4))
    scorer.asked.clear()
    again = search(target(0.5), start=first.scored)
    assert not scorer.of("shared")
    assert {s.subnet for s in first.scored} <= {s.subnet for s in again.scored}


def test_the_proof_bounds_what_the_predictor_gives_the_pick(search, target) -> None:
    (found,) = search(target(0.4)).targets
    assert found.proof.status == "optimal"
    assert found.proof.pick <= found.proof.bound + 1e-6


def test_a_finalist_whose_graph_exceeds_a_budget_is_not_picked(search, target) -> None:
    (free,) = search(target(0.5)).targets

    def measure(_, candidate):
        slow = candidate.subnet == free.pick.subnet
        return Measured(costs=replace(candidate.costs, latency_us=candidate.costs.latency_us * (100 if slow else 1)))

    (found,) = search(target(0.5), measure=measure).targets
    assert found.pick.subnet != free.pick.subnet
    with pytest.raises(BudgetError, match="exported graphs of its best 8 subnets exceed"):
        search(target(0.5), measure=lambda _, candidate: Measured(costs=replace(candidate.costs, latency_us=1e9)))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_every_sampler_searches_for_several_targets(search, target, sampler: str) -> None:
    config = CONFIG.model_copy(update={"sampler": sampler, "trials_per_target": 2})
    result = search(target(0.2), target(0.6), config=config)
    assert all(not found.pick.excesses for found in result.targets)
    assert len(result.scored) > CONFIG.shared_subnets


def test_a_budget_that_nothing_keeps_is_an_error_before_anything_is_scored(search, phone, scorer) -> None:
    with pytest.raises(BudgetError, match=r"target 'midrange': none of its .* subnets"):
        search(Target(costs=phone, budgets=Budgets(latency="1 us")))
    assert not scorer.asked


def test_images_double_until_all_held_out_ones_are_used() -> None:
    assert image_rungs(SearchConfig(), 337) == (169, 337)
    assert image_rungs(SearchConfig(score_images=500), 5000) == (500, 1000, 2000, 5000)
    assert image_rungs(SearchConfig(final_images=0), 300) == (300,)
    with pytest.raises(ConfigError, match="final_images: 300 of 300 held-out images"):
        image_rungs(SearchConfig(final_images=300), 300)


def test_a_space_of_one_subnet_has_a_pick_and_no_error_of_a_predictor(scored) -> None:
    scorer = Scorer(scored, lambda _: 0.8)
    stage = {"widths": [8], "depths": [1], "kernels": [3], "expands": [1]}
    config = {"resolutions": [16], "stem_width": 8, "stages": [stage], "head_width": 32}
    model_space = MobileNetSpace(MobileNetConfig.model_validate(config), classes=4)
    workloads = Workloads(model_space)
    costs = DeviceCosts(workloads, find_profile("midrange", Path()))
    one = Target(costs=costs, budgets=Budgets())
    result = search_targets([(one,)], model_space.space, workloads, scorer, HELDOUT, CONFIG, seed=0)
    assert result.targets[0].pick.subnet == model_space.space.smallest
    assert result.errors is None
    with pytest.raises(BudgetError, match="its only subnet does not meet its budgets"):
        search_targets(
            [(Target(costs=costs, budgets=Budgets(latency="1 us")),)],
            model_space.space,
            workloads,
            scorer,
            HELDOUT,
            CONFIG,
            seed=0,
        )
