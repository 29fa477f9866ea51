"""The search for one target."""

from __future__ import annotations

import numpy as np
import pytest

from device_profiles.budgets import Budgets
from search.archive import Archive
from search.config import SearchConfig
from search.device_target import Target
from search.scored import Scored
from search.target import TargetResult, search_target
from supernet.space import Choice, SearchSpace

CONFIG = SearchConfig(trials_per_target=3, feasible_per_target=6, pool=40)


@pytest.fixture
def search(space, shared, score, phone):
    """`search(share)` searches for the phone with a latency budget that this share of the shared subnets meets."""

    def run(share: float = 0.5, *, known=None, scorer=None, config=CONFIG, seed=0) -> TargetResult:
        target = Target(costs=phone, budgets=latency_budget(share))
        return search_target(target, space, known or shared, scorer or score, config, seed)

    def latency_budget(share: float) -> Budgets:
        times = [costs.latency_us for costs in phone.of([s.subnet for s in shared])]
        return Budgets(latency=f"{int(np.quantile(times, share)) + 1} us")

    return run


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_the_pick_is_the_most_accurate_feasible_candidate(search, share: float) -> None:
    result = search(share)
    feasible = [c for c in result.candidates if not c.excesses]
    assert not result.pick.excesses
    assert result.pick.accuracy == max(c.accuracy for c in feasible)
    assert len(feasible) >= CONFIG.feasible_per_target


def test_more_accurate_subnets_outside_the_budget_are_not_picked(search, truth) -> None:
    result = search(0.5)
    assert max(c.accuracy for c in result.candidates) > result.pick.accuracy
    assert all(c.accuracy == truth(c.subnet) for c in result.candidates)


def test_a_generous_budget_picks_the_largest(search, space) -> None:
    assert search(1.0).pick.subnet == space.largest


def test_a_budget_for_the_smallest_alone_picks_it(search, space) -> None:
    result = search(0.0)
    assert result.pick.subnet == space.smallest
    assert result.new_trials == 0


def test_the_proposals_beat_the_shared_subnets(search, shared) -> None:
    result = search(0.3, config=SearchConfig(trials_per_target=4, feasible_per_target=4, pool=120))
    known = {s.subnet for s in shared}
    best_shared = max(c.accuracy for c in result.candidates if c.subnet in known and not c.excesses)
    assert result.new_trials == 4
    assert result.pick.accuracy > best_shared


def test_proposals_are_new_and_inside_the_budgets(search, shared, score) -> None:
    proposed: list = []

    def scorer(subnets) -> list[Scored]:
        proposed.extend(subnets)
        return score(subnets)

    result = search(0.4, scorer=scorer)
    assert len(proposed) == len(set(proposed)) == result.new_trials
    assert not set(proposed) & {s.subnet for s in shared}
    assert all(not c.excesses for c in result.candidates if c.subnet in proposed)


def test_a_tight_budget_leads_to_as_many_proposals_as_feasible_subnets_are_missing(search) -> None:
    config = SearchConfig(trials_per_target=0, feasible_per_target=12, pool=80)
    result = search(0.2, config=config)
    feasible = [c for c in result.candidates if not c.excesses]
    assert result.new_trials == 12 - (len(feasible) - result.new_trials)


def test_without_trials_the_pick_is_the_best_shared_one(search) -> None:
    result = search(0.9, config=SearchConfig(trials_per_target=0, feasible_per_target=1))
    assert result.new_trials == 0
    assert result.pick.accuracy == max(c.accuracy for c in result.candidates if not c.excesses)


def test_the_seed_decides(search) -> None:
    assert search(0.5, seed=1) == search(0.5, seed=1)


def test_the_order_of_the_shared_subnets_changes_no_pick(search, shared) -> None:
    assert search(0.5, known=shared[::-1]).pick == search(0.5).pick


def test_another_target_before_changes_nothing(search, space, shared, truth) -> None:
    def pick_after(*earlier: float):
        archive = Archive("sqlite://", "study", space)  # in memory
        archive.score([s.subnet for s in shared[:8]], truth, "shared")
        results = [search(s, scorer=lambda new: archive.score(new, truth, "t")) for s in (*earlier, 0.5)]
        return results[-1]

    assert pick_after() == pick_after(0.3, 0.6)


def test_a_second_search_evaluates_nothing(search, space, truth) -> None:
    archive, evaluated = Archive("sqlite://", "study", space), []  # in memory

    def evaluate(subnet) -> float:
        evaluated.append(subnet)
        return truth(subnet)

    first = search(0.5, scorer=lambda new: archive.score(new, evaluate, "first"))
    assert len(evaluated) == first.new_trials
    again = search(0.5, scorer=lambda new: archive.score(new, evaluate, "second"))
    assert again == first
    assert len(evaluated) == first.new_trials


def test_the_front_holds_exactly_the_undominated_candidates(search) -> None:
    result = search(0.5)
    points = [(c.costs.latency_us, -c.accuracy) for c in result.candidates]
    undominated = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
    front = [(c.costs.latency_us, -c.accuracy) for c in result.front]
    assert set(front) == undominated
    assert front == sorted(set(front))


def test_a_space_of_one_subnet_can_be_searched(space, score, phone) -> None:
    single = SearchSpace(tuple(Choice(name=c.name, options=c.options[:1]) for c in space))
    known = score([single.smallest])
    result = search_target(Target(costs=phone, budgets=Budgets()), single, known * 2, score, CONFIG, 0)
    assert result.pick.subnet == single.smallest
