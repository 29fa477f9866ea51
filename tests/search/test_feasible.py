"""Budgets that no scored subnet keeps: the cheapest subnet of each cost is looked for, and the best is stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.costs import Costs
from factory_base.errors import BudgetError
from search.config import SearchConfig
from search.device_target import Target
from search.target import search_target
from supernet.space import Choice, SearchSpace, SubnetConfig

CONFIG = SearchConfig(trials_per_target=1, feasible_per_target=2, pool=40)


class Unfriendly:
    """The costs of subnets on a device that is slow at the smallest resolution, as measured tables can state it."""

    def __init__(self, phone: DeviceCosts) -> None:
        self.profile, self._phone = phone.profile, phone

    def of(self, subnets: Sequence[SubnetConfig]) -> list[Costs]:
        slow = [8 if subnet["resolution"] == 16 else 1 for subnet in subnets]
        return [replace(c, latency_us=n * c.latency_us) for n, c in zip(slow, self._phone.of(subnets), strict=True)]


@pytest.fixture
def slow_shared(shared):
    """The shared subnets of the smallest resolution."""
    return [s for s in shared if s.subnet["resolution"] == 16]


def test_a_budget_that_only_others_than_the_smallest_keep_is_met(space, slow_shared, score, phone) -> None:
    costs = Unfriendly(phone)
    (fastest,) = costs.of([space.subnet(space.smallest.to_dict() | {"resolution": 24})])
    budgets = Budgets(latency=f"{int(fastest.latency_us) + 1} us")
    result = search_target(Target(costs=costs, budgets=budgets), space, slow_shared, score, CONFIG, 0)
    assert budgets.excesses(costs.of([space.smallest])[0])
    assert result.pick.subnet["resolution"] == 24
    assert not result.pick.excesses


def test_the_best_latency_that_was_found_is_stated_and_not_that_of_the_smallest(space, shared, score, phone) -> None:
    costs = Unfriendly(phone)
    with pytest.raises(BudgetError) as caught:
        search_target(Target(costs=costs, budgets=Budgets(latency="1 us")), space, shared, score, CONFIG, 0)
    (fastest,) = costs.of([space.subnet(space.smallest.to_dict() | {"resolution": 24})])
    assert fastest.latency_us < costs.of([space.smallest])[0].latency_us / 2
    (excess,) = Budgets(latency="1 us").excesses(fastest)
    assert "'midrange': no subnet that meets its budgets was found among " in str(caught.value)
    assert f"; at best, {excess.describe()}; raise this budget, or add smaller options" in str(caught.value)


@pytest.mark.parametrize(
    ("budgets", "broken"),
    [
        (Budgets(latency="1 us", peak_memory="400 KiB"), "latency 63 us exceeds 1 us and peak memory 545 KiB exceeds"),
        (Budgets(latency="1 s", file_size="1 KiB"), "at best, file size 6.4 KiB exceeds 1 KiB; raise this budget, or"),
        (
            Budgets(peak_memory="1 KiB", file_size="4 KiB"),
            "exceeds 1 KiB and file size 6.4 KiB exceeds 4 KiB; raise th",
        ),
    ],
)
def test_every_budget_that_nothing_keeps_is_named(space, shared, score, phone, budgets: Budgets, broken: str) -> None:
    with pytest.raises(BudgetError, match=broken):
        search_target(Target(costs=phone, budgets=budgets), space, shared, score, CONFIG, 0)


def test_budgets_that_can_be_met_only_apart_are_named(space, shared, score, phone) -> None:
    costs = Unfriendly(phone)
    small, fast = costs.of([space.smallest, space.subnet(space.smallest.to_dict() | {"resolution": 24})])
    budgets = Budgets(latency=f"{int(fast.latency_us) + 1} us", peak_memory=f"{small.peak_memory_bytes} B")
    with pytest.raises(BudgetError, match=r"each budget can be met, but not together .* with the nearest, .* exceeds"):
        search_target(Target(costs=costs, budgets=budgets), space, shared, score, CONFIG, 0)


def test_a_space_that_was_tried_whole_is_said_to_have_none(space, score, phone) -> None:
    tiny = SearchSpace(tuple(Choice(name=c.name, options=c.options[: 1 + (c.name == "resolution")]) for c in space))
    known = score([tiny.smallest, tiny.largest])
    with pytest.raises(BudgetError, match="none of its 2 subnets meets its budgets; at best, latency 63 us exceeds 1"):
        search_target(Target(costs=phone, budgets=Budgets(latency="1 us")), tiny, known, score, CONFIG, 0)
