"""Spaces without arcs: evolution over the objective, with few subnets traced, and no proof."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from small_space import SPACE, Everything, device, quantiles
from test_solver import objective_of

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.costs import Costs
from search.device_target import Target
from search.objective import Objective
from search.solving import evolution
from search.solving.solver import Solved, solve
from supernet.space import SearchSpace, SubnetConfig


class Unlinked:
    """The costs of a device in a space whose networks are no chains."""

    has_arcs = False

    def __init__(self, costs: DeviceCosts) -> None:
        self.profile, self._costs, self.traced = costs.profile, costs, set[SubnetConfig]()

    def of(self, subnets: list[SubnetConfig]) -> list[Costs]:
        self.traced |= set(subnets)
        return self._costs.of(subnets)


class Counted:
    """An objective that counts the subnets it is asked for."""

    def __init__(self, objective: Objective) -> None:
        self._objective, self.calls = objective, 0

    def values(self, space: SearchSpace, vectors: NDArray[np.int64], macs: NDArray[np.float64]) -> NDArray[np.float64]:
        self.calls += len(vectors)
        return self._objective.values(space, vectors, macs)


@pytest.fixture
def costs() -> Unlinked:
    return Unlinked(device("midrange"))


def evolved(costs: Unlinked, objective: object, budgets: Budgets, **options: object) -> Solved:
    return solve(objective, [Target(costs=costs, budgets=budgets)], SPACE, **options)  # type: ignore[arg-type]


def test_the_best_found_keeps_its_budgets_and_is_near_the_best(everything: Everything, costs: Unlinked) -> None:
    objective, limits = Counted(objective_of(seed=8)), quantiles(everything.phone, 0.3, "latency", "file_size")
    found = evolved(costs, objective, limits, count=5)
    values = everything.values(objective_of(seed=8))
    kept = np.sort(values[everything.kept(limits)])
    assert (found.status, found.bound, found.gap, found.nodes) == ("no proof", None, None, 0)
    assert found.objective is not None
    assert found.objective >= kept[-3]
    assert not any(limits.excesses(c) for c in device("midrange").of(list(found.solutions)))
    assert objective.calls >= 3_000  # of 4,032 subnets
    assert len(costs.traced) <= 510


def test_the_same_call_gives_the_same_answer(everything: Everything, costs: Unlinked) -> None:
    limits = quantiles(everything.phone, 0.5, "latency")
    first, second = (evolved(costs, objective_of(seed=9), limits, count=20) for _ in range(2))
    assert first.solutions == second.solutions
    assert len(set(first.solutions)) == 20
    assert set(evolved(costs, objective_of(seed=9), limits, without=first.solutions).solutions).isdisjoint(
        first.solutions
    )


def test_a_budget_that_no_traced_subnet_keeps_is_named_without_a_proof(costs: Unlinked) -> None:
    found = evolved(costs, objective_of(seed=10), Budgets(latency="1 us"))
    assert found.status == "no proof"
    assert "no subnet that meets its budgets was found among " in found.describe_failure()
    assert "; at best, latency " in found.describe_failure()


def test_a_small_space_is_traced_whole_and_proven(
    everything: Everything, costs: Unlinked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evolution, "_FIRST", SPACE.count())
    limits = quantiles(everything.phone, 0.3, "latency", "peak_memory")
    objective = objective_of(seed=11)
    found = evolved(costs, objective, limits)
    assert (found.status, found.gap) == ("optimal", 0)
    assert found.objective == pytest.approx(everything.values(objective)[everything.kept(limits)].max())
    assert len(costs.traced) == SPACE.count()
    assert evolved(costs, objective, Budgets(latency="1 us")).status == "infeasible"


def test_the_objective_is_asked_for_20_000_subnets(space: SearchSpace, phone: DeviceCosts) -> None:
    objective, costs = Counted(Objective(constant=0.0, options={"resolution": np.array([0.0, 1.0])})), Unlinked(phone)
    found = solve(objective, [Target(costs=costs, budgets=Budgets())], space)  # type: ignore[arg-type]
    assert found.objective == 1.0
    assert objective.calls >= 20_000
