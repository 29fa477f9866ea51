"""The exact solver against brute force: every subnet of a small space is costed and judged."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import milp
from small_space import SPACE, Everything, device, quantiles

from device_profiles.budgets import Budgets
from factory_base.errors import ConfigError
from search.device_target import Target
from search.objective import Curve, Objective
from search.solving import reduced_search
from search.solving.solver import Solved, solve


def objective_of(seed: int, curves: int = 1) -> Objective:
    """Random values of all options, of both signs, and concave curves of the MACs and of the options."""
    rng = np.random.default_rng(seed)
    options = {choice.name: rng.normal(size=len(choice.options)) for choice in SPACE}
    bends = np.geomspace(1e4, 1e6, 6)
    logs = 3.0 * np.log(bends)
    slopes = np.diff(logs) / np.diff(bends)
    of_macs = Curve(slopes=slopes, intercepts=logs[:-1] - slopes * bends[:-1], macs_weight=1.0)
    depth = {choice.name: np.array(choice.options, dtype=float) for choice in SPACE if choice.name.endswith("depth")}
    kernel = {choice.name: np.array(choice.options) / 3.0 for choice in SPACE if choice.name.endswith("kernel")}
    of_options = Curve(slopes=np.array([2.0, 0.5, -1.0]), intercepts=np.array([0.0, 3.0, 9.0]), options=depth | kernel)
    return Objective(constant=0.5, options=options, curves=(of_macs, of_options)[:curves])


def found_by(objective: Objective, budgets: Budgets, **options: object) -> Solved:
    return solve(objective, [Target(costs=device("midrange"), budgets=budgets)], SPACE, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("budgets", [("latency",), ("peak_memory", "file_size"), ("latency", "peak_memory", "macs")])
def test_the_best_is_that_of_brute_force(everything: Everything, budgets: tuple[str, ...], share: float) -> None:
    limits = quantiles(everything.phone, share, *budgets)
    objective = objective_of(seed=len(budgets), curves=2)
    kept = everything.kept(limits)
    found = found_by(objective, limits)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(everything.values(objective)[kept].max(), rel=1e-9)
    assert found.gap == 0
    assert everything.subnets.index(found.solutions[0]) in np.flatnonzero(kept)


def test_the_best_few_come_in_order_and_without_those_that_are_not_wanted(everything: Everything) -> None:
    objective, limits = objective_of(seed=3), quantiles(everything.phone, 0.4, "latency", "peak_memory")
    values = np.where(everything.kept(limits), everything.values(objective), -np.inf)
    order = np.argsort(-values)
    unwanted = [everything.subnets[i] for i in (order[0], order[2], order[-1])]
    expected = [i for i in order if everything.subnets[i] not in unwanted][:12]
    found = found_by(objective, limits, count=12, without=unwanted)
    assert found.objectives == pytest.approx(values[expected], rel=1e-9)
    assert set(found.solutions) == {everything.subnets[i] for i in expected}
    assert (found.status, found.gap) == ("optimal", 0)


@pytest.mark.parametrize("count", [1, 5])
def test_where_all_subnets_are_equally_good_some_are_returned(count: int) -> None:
    flat = Objective(constant=0.8, options={choice.name: np.full(len(choice.options), 1e-17) for choice in SPACE})
    found = found_by(flat, Budgets(), count=count)
    assert len(set(found.solutions)) == count
    assert (found.status, found.gap) == ("optimal", 0)


def test_fewer_are_returned_if_there_are_no_more(everything: Everything) -> None:
    limits = quantiles(everything.phone, 0.001, "latency")
    kept = everything.kept(limits)
    found = found_by(objective_of(seed=4), limits, count=50)
    assert {everything.subnets[i] for i in np.flatnonzero(kept)} == set(found.solutions)
    assert found.status == "optimal"


def test_several_devices_are_just_more_budgets(everything: Everything) -> None:
    objective = objective_of(seed=5)
    ours = quantiles(everything.phone, 0.5, "latency"), quantiles(everything.speaker, 0.2, "latency", "file_size")
    kept = everything.kept(ours[0]) & everything.kept(ours[1], everything.speaker)
    targets = [Target(costs=device(d), budgets=b) for d, b in zip(("midrange", "speaker"), ours, strict=True)]
    assert solve(objective, targets, SPACE).objective == pytest.approx(everything.values(objective)[kept].max())


def test_a_confidence_and_an_energy_budget_are_kept(everything: Everything) -> None:
    objective = objective_of(seed=6)
    limits = quantiles(everything.phone, 0.4, "latency", confidence="90 %", energy="1 mJ")
    energies = [costs.energy_uj for costs in everything.phone if costs.energy_uj is not None]
    limits = limits.model_copy(update={"energy_uj": int(np.quantile(energies, 0.3))})
    assert 0 < everything.kept(limits).sum() < everything.kept(quantiles(everything.phone, 0.4, "latency")).sum()
    found = found_by(objective, limits)
    assert found.objective == pytest.approx(everything.values(objective)[everything.kept(limits)].max())


def test_an_energy_budget_needs_energy_costs() -> None:
    limits = [Target(costs=device("browser"), budgets=Budgets.model_validate({"energy": "1 mJ"}))]
    with pytest.raises(ConfigError, match="cannot be checked"):
        solve(objective_of(seed=7), limits, SPACE)


def test_a_search_that_hits_a_limit_says_so_and_has_a_gap(everything: Everything) -> None:
    objective, limits = objective_of(seed=8, curves=2), quantiles(everything.phone, 0.3, "latency", "peak_memory")
    best = everything.values(objective)[everything.kept(limits)].max()
    late = found_by(objective, limits, max_seconds=0.0)
    assert (late.status, late.solutions, late.gap) == ("time limit", (), None)
    assert "was found before the search ended (time limit" in late.describe_failure()
    few = found_by(objective, limits, max_nodes=0)
    assert few.bound is None or few.bound >= best - 1e-9
    assert few.objective is None or (few.objective <= best + 1e-9 and few.gap is not None)


def test_a_search_that_ends_early_returns_the_best_found_with_its_gap(
    everything: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective, limits = objective_of(seed=12), quantiles(everything.phone, 0.3, "latency")
    best = found_by(objective, limits)

    def stopped(*arguments: object, **options: object) -> object:
        result = milp(*arguments, **options)  # type: ignore[arg-type]
        result.status, result.message = 1, "Time limit reached."
        result.mip_dual_bound = result.fun - 1.0
        return result

    monkeypatch.setattr(reduced_search, "milp", stopped)
    found = found_by(objective, limits, count=3)
    assert found.status == "time limit"
    assert found.solutions == best.solutions
    assert found.gap is not None
    assert found.gap > 0
    assert found.bound == pytest.approx(best.objective + found.gap)
