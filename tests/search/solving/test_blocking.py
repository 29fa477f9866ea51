"""Budgets that no subnet keeps: which of them block each other, and the least that would do, checked by brute force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from small_space import SPACE, Everything, device

from device_profiles.budgets import Budgets
from device_profiles.cost_models.arc_costs import ArcCosts
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.costs import Costs
from search.device_target import Target
from search.objective import Objective
from search.solving.blocking import Blocking
from search.solving.solver import solve
from supernet.space import SearchSpace, SubnetConfig

NOTHING = Objective(constant=0.0, options={})


class Unfriendly:
    """The costs of subnets on a device that is slow at the smallest resolution, as measured tables can state it."""

    def __init__(self, phone: DeviceCosts) -> None:
        self._phone = phone

    def __getattr__(self, name: str) -> object:
        return getattr(self._phone, name)

    def of(self, subnets: Sequence[SubnetConfig]) -> list[Costs]:
        slow = [8 if subnet["resolution"] == 16 else 1 for subnet in subnets]
        constant = self._phone.constant_us
        return [
            replace(c, latency_us=n * (c.latency_us - constant) + constant)
            for n, c in zip(slow, self._phone.of(subnets), strict=True)
        ]

    def arcs(self) -> tuple[ArcCosts, ...]:
        factors = np.array([8.0, 1.0])
        found = []
        for arc in self._phone.arcs():
            axis = [choice.name for choice in arc.choices].index("resolution")
            shape = [1 if i != axis else 2 for i in range(len(arc.choices))]
            found.append(replace(arc, latency_us=arc.latency_us * factors.reshape(shape)))
        return tuple(found)


def blocking_of(budgets: Budgets) -> Blocking:
    found = solve(NOTHING, [Target(costs=device("midrange"), budgets=budgets)], SPACE)
    assert found.status == "infeasible"
    assert found.blocking is not None
    return found.blocking


def message_of(costs: DeviceCosts, budgets: Budgets, space: SearchSpace) -> str:
    found = solve(NOTHING, [Target(costs=costs, budgets=budgets)], space)
    assert not found.solutions
    return found.describe_failure()


def test_a_budget_that_only_others_than_the_smallest_keep_is_met(space, phone) -> None:
    costs = Unfriendly(phone)
    (fastest,) = costs.of([space.subnet(space.smallest.to_dict() | {"resolution": 24})])
    budgets = Budgets(latency=f"{int(fastest.latency_us) + 1} us")
    (found,) = solve(NOTHING, [Target(costs=costs, budgets=budgets)], space).solutions
    assert budgets.excesses(costs.of([space.smallest])[0])
    assert found["resolution"] == 24
    assert not budgets.excesses(costs.of([found])[0])


def test_the_least_latency_is_stated_and_not_that_of_the_smallest(space, phone) -> None:
    costs, budgets = Unfriendly(phone), Budgets(latency="1 us")
    (fastest,) = costs.of([space.subnet(space.smallest.to_dict() | {"resolution": 24})])
    assert fastest.latency_us < costs.of([space.smallest])[0].latency_us / 2
    (excess,) = budgets.excesses(fastest)
    message = message_of(costs, budgets, space)
    assert message.startswith(f"none of its {space.count():,} subnets meets its budgets; at best, ")
    assert f"at best, {excess.describe()}; raise this budget, or add smaller options to the model section" in message


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
def test_every_budget_that_nothing_keeps_is_named(space, phone, budgets: Budgets, broken: str) -> None:
    assert broken in message_of(phone, budgets, space)


def test_budgets_that_can_be_met_only_apart_are_named_with_what_would_do(space, phone) -> None:
    costs = Unfriendly(phone)
    small, fast = costs.of([space.smallest, space.subnet(space.smallest.to_dict() | {"resolution": 24})])
    budgets = Budgets(
        latency=f"{int(fast.latency_us) + 1} us", peak_memory=f"{small.peak_memory_bytes} B", file_size="1 MiB"
    )
    message = message_of(costs, budgets, space)
    assert "each budget can be met, but not latency and peak memory together: with the others kept, latency " in message
    assert " or peak memory " in message
    assert "file size" not in message


def test_the_least_relaxations_are_those_of_brute_force(everything: Everything) -> None:
    costs = Unfriendly(device("midrange"))
    every = costs.of(everything.subnets)
    fast, small = (min(getattr(c, field) for c in every) for field in ("latency_us", "peak_memory_bytes"))
    budgets = Budgets(latency=f"{int(1.02 * fast)} us", peak_memory=f"{int(1.01 * small)} B", file_size="20 KiB")
    assert not everything.kept(budgets, every).any()
    blocking = solve(NOTHING, [Target(costs=costs, budgets=budgets)], SPACE).blocking
    assert blocking is not None
    assert [b.name for b in blocking.budgets] == ["latency", "peak memory"]
    assert [b.least for b in blocking.budgets] == [None, None]
    for blocked, key in zip(blocking.budgets, ("latency_us", "peak_memory_bytes"), strict=True):
        others = everything.kept(budgets.model_copy(update={key: None}), every)
        assert blocked.alone is not None
        assert blocked.alone.excess.value == pytest.approx(min(getattr(every[i], key) for i in np.flatnonzero(others)))


def test_the_joint_relaxation_has_the_smallest_common_factor(everything: Everything) -> None:
    budgets = Budgets(latency="1 us", file_size="1 KiB")
    blocking = blocking_of(budgets)
    assert [b.alone for b in blocking.budgets] == [None, None]
    factors = [max(budgets.slack(costs).values()) for costs in everything.phone]
    assert max(joint.excess.ratio for joint in blocking.joint) == pytest.approx(min(factors))


def test_a_device_is_named_if_there_are_several(everything: Everything) -> None:
    limits = [Target(costs=device(name), budgets=Budgets(latency="1 us")) for name in ("midrange", "speaker")]
    blocking = solve(NOTHING, limits, SPACE).blocking
    assert blocking is not None
    least = [min(c.latency_us for c in costs) for costs in (everything.phone, everything.speaker)]
    assert [b.least.excess.value for b in blocking.budgets if b.least] == pytest.approx(least)
    assert "on 'midrange' and latency" in blocking.describe()
