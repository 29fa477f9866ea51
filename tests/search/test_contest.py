"""Samplers compared on one device at equal numbers of evaluations."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from device_profiles.budgets import Budgets
from factory_base.errors import ConfigError
from search.comparison import Comparison
from search.config import SearchConfig
from search.contest import Contest, allowed_evaluations, run_contender
from search.device_target import Target
from search.rounds import search_targets
from search.scored import Scored
from search.variant import Variant
from supernet.space import SubnetConfig

CONFIG = SearchConfig(shared_subnets=10, trials_per_target=4, finalists=3)
SAMPLERS = ("exact", "random", "nsga2", "tpe")


@pytest.fixture
def contest(space, workloads, phone, scored, truth) -> Callable[..., Contest]:
    """`contest(latency, **changes)`: a contest whose clock counts a second for each look."""
    known: dict[SubnetConfig, int] = {}

    def score(subnet: SubnetConfig, images: int) -> tuple[Scored, bool]:
        is_new = known.get(subnet, 0) < images
        if is_new:
            known[subnet] = images
        return scored(subnet, truth(subnet), images), is_new

    def make(latency: str | None = "0.8 ms", **changes) -> Contest:
        made = Contest(
            target=Target(costs=phone, budgets=Budgets(latency=latency)),
            space=space,
            workloads=workloads,
            score=score,
            rungs=(1000, 4000),
            config=CONFIG,
            seed=0,
            baseline=0.25,
            clock=itertools.count().__next__,
        )
        return replace(made, **changes)

    return make


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gets_as_many_evaluations_as_the_own_search(contest, sampler: str) -> None:
    found = run_contender(contest(), sampler)
    assert found.allowed == 14
    assert 10 <= found.evaluations <= 14
    assert found.new == found.evaluations
    assert found.evaluations == 14 or f"{sampler} ended after {found.evaluations} of 14 evaluations" in found.notes[0]


def test_a_known_score_counts_and_changes_nothing_but_the_number_of_new_ones(contest) -> None:
    one = contest()
    first, again = run_contender(one, "random"), run_contender(one, "random")
    assert (first.new, again.new) == (14, 0)
    assert replace(again, new=first.new) == first


def test_samplers_do_not_depend_on_those_that_ran_before(contest) -> None:
    alone = run_contender(contest(), "tpe")
    shared = contest()
    run_contender(shared, "random")
    assert replace(run_contender(shared, "tpe"), new=alone.new) == alone


def test_picks_and_fronts_keep_the_budgets(contest) -> None:
    for sampler in SAMPLERS:
        found = run_contender(contest(), sampler)
        assert found.pick.costs.latency_us <= 800
        assert found.pick.scored.images == 4000
        assert all(place.latency_us <= 800 for place in found.front)
        assert list(found.front) == sorted(found.front, key=lambda place: place.accuracy)


def test_the_own_search_is_the_search_of_the_product(contest, space, workloads, scored, truth) -> None:
    one = contest()

    def score(variants: list[Variant], images: int, _: str) -> list[Scored]:
        return [scored(v.subnet, truth(v.subnet), images) for v in variants]

    config = CONFIG.model_copy(update={"score_images": 1000, "final_images": 3000})
    result = search_targets([(one.target,)], space, workloads, score, 4000, config, seed=0)
    found = run_contender(one, "exact")
    assert found.evaluations == len(result.scored)
    assert found.pick.scored.subnet == result.targets[0].pick.subnet


def test_the_reference_point_is_the_budget_or_else_the_largest_network(contest, phone, space) -> None:
    assert run_contender(contest(), "random").reference == run_contender(contest(), "exact").reference
    assert contest().reference().latency_us == 800.0
    assert contest().reference().is_budget
    free = contest(None).reference()
    assert free.latency_us == phone.of([space.largest])[0].latency_us
    assert not free.is_budget
    assert free.accuracy == 0.25


def test_too_few_evaluations_for_a_model_are_said(contest) -> None:
    small = contest(config=SearchConfig(shared_subnets=4, trials_per_target=2, finalists=2))
    (note,) = run_contender(small, "tpe").notes
    assert note.startswith("tpe learns only after 10 scores, and 6 evaluations are compared: all of its subnets are")
    assert run_contender(small, "random").notes == ()
    assert run_contender(contest(), "tpe").notes == ()


def test_exhaustive_is_refused_for_a_large_space(space) -> None:
    with pytest.raises(ConfigError, match="sampler exhaustive: the space has "):
        allowed_evaluations("exhaustive", CONFIG, space)


def test_the_difference_of_picks_has_the_error_of_a_comparison_image_by_image(contest) -> None:
    one = contest()
    own, other = run_contender(one, "exact"), run_contender(one, "random")
    compared = Comparison(device="midrange", latency_basis="modelled", own=own, others=(other,))
    difference, error = compared.against_own(other)
    assert difference == pytest.approx(other.pick.scored.accuracy - own.pick.scored.accuracy)
    assert 0 < error < other.pick.scored.std
    assert compared.against_own(replace(other, pick=None)) is None


def test_progress_is_reported_after_every_evaluation(contest) -> None:
    seen: list[tuple[int, int]] = []
    run_contender(contest(), "random", lambda done, total, _: seen.append((done, total)))
    assert seen == [(number, 14) for number in range(1, 15)]


def test_the_values_of_a_comparison_import_nothing_heavy() -> None:
    script = "import sys, search.comparison; print({'torch', 'optuna', 'pandas', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
