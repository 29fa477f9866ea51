"""The exact sampler: the conformance suite, and what a gain is expected to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sampler_conformance import SamplerConformance

from device_profiles.budgets import Budgets
from search.device_target import Target
from search.samplers import SearchState, exact, make_sampler
from search.samplers.exact import expected_gain
from search.scored import Scored, paired_difference


class TestExact(SamplerConformance):
    name = "exact"


def test_half_of_a_symmetric_spread_is_gained_where_the_mean_is_level() -> None:
    found = expected_gain(np.array([0.5]), np.array([0.1]), np.array([0.5]))
    assert found == pytest.approx([0.1 / np.sqrt(2 * np.pi)])  # the mean of the positive half of a normal distribution


def test_a_certain_gain_is_the_difference_and_a_certain_loss_is_nothing() -> None:
    found = expected_gain(np.array([0.9, 0.1]), np.zeros(2), np.full(2, 0.5))
    assert found == pytest.approx([0.4, 0.0], abs=1e-6)


def test_proposals_are_predicted_to_be_better_than_what_is_known(space, workloads, phone, shared, truth) -> None:
    target = Target(costs=phone, budgets=Budgets(latency="150 us"))
    state = SearchState(space=space, devices=((target,),), scored=tuple(shared[:12]), workloads=workloads)
    feasible = [s.subnet for s in shared[:12] if not target.budgets.excesses(phone.of([s.subnet])[0])]
    proposed = make_sampler("exact").propose(state, 4, seed=0)
    assert max(truth(subnet) for subnet in proposed[:2]) > max(truth(subnet) for subnet in feasible)


def test_after_the_first_round_gains_below_the_noise_end_the_search(
    space, workloads, phone, shared, monkeypatch
) -> None:
    target = Target(costs=phone, budgets=Budgets())
    state = SearchState(space=space, devices=((target,),), scored=tuple(shared[:12]), workloads=workloads)
    monkeypatch.setattr(exact, "noise", lambda _: 2.0)
    assert make_sampler("exact").propose(state, 4, seed=0)
    assert not make_sampler("exact").propose(replace(state, rounds=1), 4, seed=0)
    assert not make_sampler("exact").propose(replace(state, settled=True), 4, seed=0)


def test_the_noise_is_that_of_comparisons_with_the_best(space) -> None:
    best = Scored.of(space.largest, [True] * 90 + [False] * 10)
    other = Scored.of(space.smallest, [True] * 80 + [False] * 20)
    assert exact.noise([other, best]) == paired_difference(best, other)[1]
    assert exact.noise([best]) == best.std
