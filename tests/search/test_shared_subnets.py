"""The subnets that are scored once for all targets."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest

from device_profiles.workload.workloads import Workloads
from search.design import _Choice, _scaled_features, shared_subnets
from supernet.space import SearchSpace, SubnetConfig


def test_the_extremes_are_included_and_no_subnet_occurs_twice(space, workloads) -> None:
    chosen = shared_subnets(space, workloads, 20, seed=0)
    assert chosen[:2] == [space.smallest, space.largest]
    assert len(chosen) == len(set(chosen)) == 20
    assert all(space.subnet(subnet.to_dict()) == subnet for subnet in chosen)


def test_sizes_are_even_on_a_logarithmic_scale(space, workloads) -> None:
    def widest_gap(subnets) -> float:
        sizes = sorted(math.log(workloads.of(subnet).macs) for subnet in subnets)
        return max(b - a for a, b in pairwise(sizes)) / (sizes[-1] - sizes[0])

    rng = random.Random(0)
    uniform = [space.smallest, space.largest, *(space.sample(rng) for _ in range(18))]
    chosen = shared_subnets(space, workloads, 20, seed=0)
    assert widest_gap(chosen) < 0.15
    assert widest_gap(chosen) < widest_gap(uniform) / 1.5


def test_the_seed_decides(space, workloads) -> None:
    assert shared_subnets(space, workloads, 6, seed=3) == shared_subnets(space, workloads, 6, seed=3)
    assert shared_subnets(space, workloads, 6, seed=3) != shared_subnets(space, workloads, 6, seed=4)


@pytest.mark.parametrize("count", [2, 3])
def test_two_are_the_extremes_and_a_third_is_between(space, workloads, count: int) -> None:
    chosen = shared_subnets(space, workloads, count, seed=0)
    assert len(chosen) == count
    macs = [workloads.of(subnet).macs for subnet in chosen]
    assert all(macs[0] < size < macs[1] for size in macs[2:])


def test_all_subnets_of_a_small_space_are_chosen(space, workloads) -> None:
    narrow = SearchSpace(tuple(type(c)(name=c.name, options=c.options[: 1 + (c.name == "resolution")]) for c in space))
    chosen = shared_subnets(narrow, workloads, 10, seed=0)
    assert sorted(chosen) == sorted([narrow.smallest, narrow.largest])


def test_the_only_subnet_of_a_space_is_chosen_once(space, workloads) -> None:
    single = SearchSpace(tuple(type(c)(name=c.name, options=c.options[:1]) for c in space))
    assert shared_subnets(single, workloads, 10, seed=0) == [single.smallest]


def test_of_subnets_of_one_size_the_one_is_taken_that_tells_most() -> None:
    effects = np.array([[1.0, 0.0], [1.0, 0.1], [0.2, 1.0], [0.0, 2.0]])
    choice = _Choice(effects, np.array([1.0, 1.1, 1.2, 3.0]), step=0.5)
    choice.take(0)
    assert choice.most_informative(1.0) == 2
    choice.take(2)
    assert choice.most_informative(1.0) == 1
    assert choice.most_informative(9.0) in (1, 3)


def test_a_predictor_learns_more_from_it_than_from_other_subnets_of_these_sizes(space, workloads) -> None:
    def uncertainty(subnets: list[SubnetConfig]) -> float:
        everything = [*subnets, *others]
        macs = workloads.macs_of(np.array([space.encode(s) for s in everything]))
        choice = _Choice(_scaled_features(space, everything, macs), np.log(macs), step=0.0)
        for number in range(len(subnets)):
            choice.take(number)
        return float(choice._covariance.trace())

    rng = random.Random(0)
    others = [space.sample_near(level / 100, rng) for level in range(100)]
    ends, even = [space.smallest, space.largest], [space.sample_near(level / 15, rng) for level in range(1, 15)]
    chosen = [uncertainty(shared_subnets(space, workloads, 16, seed=seed)) for seed in range(3)]
    assert max(chosen) < uncertainty([*ends, *even])


def test_progress_reaches_its_total(space, workloads) -> None:
    seen: list[tuple[int, int, str]] = []
    shared_subnets(space, Workloads(workloads.model_space), 2, seed=0, progress=lambda *event: seen.append(event))
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][0] == seen[-1][1]
