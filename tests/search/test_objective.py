"""The function that a solver maximises: values of options, and concave curves."""

from __future__ import annotations

import random

import numpy as np

from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads
from search.objective import Curve, Objective
from supernet.space import Choice, SearchSpace


def test_choices_of_absent_blocks_add_nothing() -> None:
    depth = Choice(name="depth", options=(1, 2))
    kernel = Choice(name="kernel", options=(3, 5), depth_choice="depth", exists_from=2)
    space = SearchSpace((depth, kernel))
    objective = Objective(constant=1.0, options={"kernel": np.array([10.0, 20.0])})
    vectors = np.array([[0, 0], [1, 0], [1, 1]])
    assert objective.values(space, vectors, np.zeros(3)).tolist() == [1.0, 11.0, 21.0]


def test_a_curve_is_the_smallest_of_its_lines() -> None:
    space = SearchSpace((Choice(name="width", options=(8, 16)),))
    curve = Curve(slopes=np.array([1.0, 0.5]), intercepts=np.array([0.0, 1.0]), macs_weight=1e-6)
    objective = Objective(constant=0.0, options={}, curves=(curve,))
    assert objective.values(space, np.array([[0], [1]]), np.array([1e6, 4e6])).tolist() == [1.0, 3.0]


def test_macs_of_many_subnets_are_those_of_each(space: SearchSpace, workloads: Workloads) -> None:
    rng = random.Random(3)
    subnets = [space.sample(rng) for _ in range(5)]
    found = workloads.macs_of(encoded(space, subnets))
    assert found.tolist() == [workloads.of(subnet).macs for subnet in subnets]
