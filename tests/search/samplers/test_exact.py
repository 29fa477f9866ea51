"""The exact sampler: the conformance suite, and what a gain is expected to be."""

from __future__ import annotations

import numpy as np
import pytest
from sampler_conformance import SamplerConformance

from device_profiles.budgets import Budgets
from search.device_target import Target
from search.samplers import SearchState, make_sampler
from search.samplers.exact import expected_gain


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
    state = SearchState(space=space, targets=(target,), scored=tuple(shared[:12]), workloads=workloads)
    feasible = [s.subnet for s in shared[:12] if not target.budgets.excesses(phone.of([s.subnet])[0])]
    proposed = make_sampler("exact").propose(state, 4, seed=0)
    assert max(truth(subnet) for subnet in proposed[:2]) > max(truth(subnet) for subnet in feasible)
