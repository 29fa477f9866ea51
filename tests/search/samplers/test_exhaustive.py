"""Samplers without a model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sampler_conformance import SPREAD, SUBNETS, SamplerConformance, state

from factory_base.errors import ConfigError
from search.samplers import make_sampler
from supernet.space import Choice, SearchSpace


class TestRandom(SamplerConformance):
    name = "random"


class TestExhaustive(SamplerConformance):
    name = "exhaustive"


def test_the_whole_space_is_proposed_feasible_subnets_first() -> None:
    known = state(SPREAD, shares=(0.2,))
    proposals = make_sampler("exhaustive").propose(known, 10_000, seed=0)
    assert set(proposals) | set(SPREAD) == set(SUBNETS)
    (place,) = known.targets
    feasible = [not place.budgets.excesses(costs) for costs in place.costs.of(proposals)]
    assert feasible == sorted(feasible, reverse=True)
    assert 0 < sum(feasible) < len(feasible)


def test_a_large_space_is_refused_in_one_line() -> None:
    wide = SearchSpace(tuple(Choice(name=str(i), options=tuple(range(10))) for i in range(20)))
    with pytest.raises(
        ConfigError, match=r"the space has 1e\+20 subnets, and at most 5,000 are scored in full; choose"
    ):
        make_sampler("exhaustive").propose(replace(state(), space=wide), 4, seed=0)


def test_random_subnets_differ_by_seed_and_target() -> None:
    sampler, known = make_sampler("random"), state(SPREAD, shares=(0.9, 0.9))
    first, second = (sampler.propose(known, 8, seed) for seed in (0, 1))
    assert first != second
    assert set(first[::2]) != set(first[1::2])
