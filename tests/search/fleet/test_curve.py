"""The curve over the number of models, and where another one stops paying."""

from __future__ import annotations

import numpy as np
import pytest

from factory_base.errors import BudgetError
from search.fleet.curve import fleet_curve
from search.fleet.problem import FleetProblem


def steps() -> FleetProblem:
    """Four classes, each of which can run one model more than the one before."""
    return FleetProblem(
        classes=("a", "b", "c", "d"), shares=np.array([0.4, 0.3, 0.2, 0.1]), serves=np.tri(4, dtype=bool),
        values=np.array([0.60, 0.70, 0.75, 0.76]), sizes=np.array([1, 2, 3, 4]),
    )  # fmt: skip


def test_values_grow_up_to_the_ceiling_where_the_curve_ends():
    curve = fleet_curve(steps(), 2)
    values = [plan.value for plan in curve.plans]
    assert values == pytest.approx([0.6, 0.66, 0.675, 0.676])
    assert curve.ceiling == pytest.approx(0.676)


def test_a_model_pays_if_it_gains_more_than_its_charge():
    curve = fleet_curve(steps(), 4)
    assert [curve.suggested(charge) for charge in (0.0, 0.002, 0.02, 0.1)] == [4, 3, 2, 1]


def test_numbers_that_cannot_serve_every_class_have_no_plan():
    problem = FleetProblem(
        classes=("a", "b"), shares=np.array([0.5, 0.5]), serves=np.eye(2, dtype=bool),
        values=np.array([0.6, 0.7]), sizes=np.array([1, 1]),
    )  # fmt: skip
    curve = fleet_curve(problem, 2)
    assert [plan is None for plan in curve.plans] == [True, False]
    assert curve.suggested(1.0) == 2
    with pytest.raises(BudgetError, match="1 model cannot serve every class"):
        fleet_curve(problem, 1)
