"""The best few models for a fleet: as good as the best of all choices, and with a bound."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from factory_base.errors import BudgetError
from search.fleet.heuristics import greedy_models, improved_models
from search.fleet.problem import FleetProblem, grouped, undominated
from search.fleet.program import plan_fleet


def problem(seed: int, classes: int = 40, models: int = 12, budgets: int = 2) -> FleetProblem:
    """Models whose metric grows with what they need, and classes with correlated budgets."""
    rng = np.random.default_rng(seed)
    size = np.sort(rng.uniform(0, 1, models))
    needs = size[:, None] * rng.uniform(0.7, 1.3, (models, budgets))
    limits = rng.uniform(0.05, 1.3, classes)[:, None] * rng.uniform(0.7, 1.3, (classes, budgets))
    serves = (needs[None] <= limits[:, None]).all(axis=2)
    serves[:, 0] = True
    values = 0.6 + 0.3 * np.sqrt(size) + rng.normal(0, 0.02, models)
    shares = rng.dirichlet(np.ones(classes))
    return FleetProblem(
        classes=tuple(f"class {i}" for i in range(classes)), shares=shares, serves=serves, values=values,
        sizes=(1e6 * size + 1e4).astype(np.int64),
    )  # fmt: skip


def best_of_all(one: FleetProblem, most: int, download: int | None = None) -> float:
    found = [
        worth
        for count in range(1, most + 1)
        for chosen in combinations(range(len(one.values)), count)
        if download is None or one.sizes[list(chosen)].sum() <= download
        if (worth := one.worth(np.array(chosen))) is not None
    ]
    return max(found)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_plan_is_the_best_of_all_choices(seed, most):
    one = problem(seed)
    plan = plan_fleet(one, most)
    assert plan.value == pytest.approx(best_of_all(one, most), abs=1e-9)
    assert (plan.status, len(plan.models) <= most) == ("optimal", True)
    assert plan.gap <= 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_a_limit_on_downloads_is_kept(seed):
    one = problem(seed)
    download = int(one.sizes.sum() // 5)
    plan = plan_fleet(one, 3, download=download)
    assert one.sizes[list(plan.models)].sum() <= download
    assert plan.value == pytest.approx(best_of_all(one, 3, download), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_bound_without_the_integer_program_holds(seed, monkeypatch):
    one = problem(seed, classes=300, models=60)
    best = plan_fleet(one, 4)
    monkeypatch.setattr("search.fleet.relaxation._FEW_PAIRS", 0)
    bounded = plan_fleet(one, 4)
    assert bounded.value <= best.value + 1e-9 <= bounded.bound + 2e-9
    assert bounded.gap < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_it_is_never_worse_than_greedy_choice_nor_with_more_models(seed):
    one = problem(seed, classes=200, models=50)
    values = [plan_fleet(one, most).value for most in (1, 2, 3, 5)]
    assert values == sorted(values)
    for most, value in zip((1, 2, 3, 5), values, strict=True):
        greedy = greedy_models(one, most)
        worth, better = one.worth(greedy), one.worth(improved_models(one, greedy))
        assert worth is None or worth <= better <= value + 1e-9


def test_every_class_gets_the_best_chosen_model_that_it_can_run():
    one = problem(0)
    plan = plan_fleet(one, 3)
    for index, model in enumerate(plan.assigned):
        assert one.serves[index, model]
        assert one.values[model] == max(one.values[m] for m in plan.models if one.serves[index, m])
    assert plan.value == pytest.approx(float(one.values[list(plan.assigned)] @ one.shares))


def test_more_models_than_are_useful_are_not_used():
    one = problem(1)
    assert len(plan_fleet(one, 12).models) <= len(undominated(one))


def test_classes_that_can_run_the_same_are_one():
    one = problem(2, classes=500, models=6)
    small = grouped(one)
    assert len(small.shares) < 60
    assert small.shares.sum() == pytest.approx(1)
    assert small.worth(np.array([0, 3])) == pytest.approx(one.worth(np.array([0, 3])))


def test_a_class_that_nothing_fits_is_named():
    one = problem(3)
    one.serves[7] = False
    with pytest.raises(BudgetError, match="no model keeps the budgets of 1 class of the fleet: 'class 7'; raise"):
        plan_fleet(one, 2)


def test_classes_that_no_few_models_serve_are_refused():
    serves = np.eye(3, dtype=bool)
    one = FleetProblem(
        classes=("a", "b", "c"), shares=np.full(3, 1 / 3), serves=serves, values=np.array([0.7, 0.8, 0.9]),
        sizes=np.array([10, 10, 10]),
    )  # fmt: skip
    assert plan_fleet(one, 3).value == pytest.approx(0.8)
    with pytest.raises(BudgetError, match="2 models cannot serve every class of the fleet; allow more models"):
        plan_fleet(one, 2)
    with pytest.raises(BudgetError, match="3 models of 20 bytes together cannot serve every class"):
        plan_fleet(one, 3, download=20)
