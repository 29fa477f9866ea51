"""Subnets that keep a target's budgets, where those that were scored keep none.

The smallest subnet has the smallest file, but it need not be the fastest: a measured table or an accelerator can prefer
another resolution or width. So the cheapest subnet of each cost is asked, by coordinate descent on the predicted costs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

from device_profiles.budgets import Budgets, Excess
from device_profiles.cost_models.device_costs import DeviceCosts
from factory_base.errors import BudgetError
from supernet.space import SearchSpace, SubnetConfig

_SWEEPS = 8
"""Most passes over all choices in one descent. Costs are nearly sums over blocks, so two or three usually settle it."""

Use = Mapping[str, float]
"""The used share of each budget that is set, see `Budgets.slack`; at most 1 if it is kept."""


def find_feasible(
    costs: DeviceCosts,
    budgets: Budgets,
    space: SearchSpace,
    known: Sequence[SubnetConfig],
    draws: int,
    rng: random.Random,
) -> list[SubnetConfig]:
    """Subnets inside the budgets, at least one.

    Args:
        costs: Predicts what subnets cost on the device.
        budgets: Limits on these costs.
        space: The search space of the subnets.
        known: Subnets to start from, beside the smallest.
        draws: Number of random subnets to start from if the descents from `known` find none.
        rng: The random generator.

    Raises:
        BudgetError: None was found. The message states the best that was found for each budget that is not kept.
    """
    search = _Search(costs, budgets, space)
    search.price([space.smallest, *known])
    search.descend_from_the_cheapest()
    if not search.feasible:
        search.price([space.sample_near(rng.random(), rng) for _ in range(draws)])
        search.descend_from_the_cheapest()
    if not search.feasible:
        raise BudgetError(f"target {costs.profile.name!r}: {search.describe_failure()}")
    return search.feasible


class _Search:
    """The subnets that were priced so far."""

    def __init__(self, costs: DeviceCosts, budgets: Budgets, space: SearchSpace) -> None:
        self._costs, self._budgets, self._space = costs, budgets, space
        self._uses: dict[SubnetConfig, Use] = {}
        self.feasible: list[SubnetConfig] = []
        """The priced subnets that keep all budgets."""

    def price(self, subnets: Sequence[SubnetConfig]) -> None:
        """Predict the costs of those subnets whose costs are not known yet."""
        new = [subnet for subnet in dict.fromkeys(subnets) if subnet not in self._uses]
        for subnet, costs in zip(new, self._costs.of(new), strict=True):
            self._uses[subnet] = self._budgets.slack(costs)
            if not self._budgets.excesses(costs):
                self.feasible.append(subnet)

    def descend_from_the_cheapest(self) -> None:
        """Minimise the use of each budget that is set, then the excess over all of them, until a subnet keeps all."""
        budgets = [limit.budget for limit in self._budgets.limits()]
        for aim in (*(_use_of(budget) for budget in budgets), _excess):
            if self.feasible:
                return
            self._descend(self._cheapest(aim), aim)

    def describe_failure(self) -> str:
        """What was found instead of a subnet that keeps all budgets, and what to do."""
        count = len(self._uses)
        none = (
            f"none of its {count:,} subnets meets its budgets"
            if count == self._space.count()
            else f"no subnet that meets its budgets was found among {count:,}"
        )
        broken = [self._least_excess(limit.budget) for limit in self._budgets.limits()]
        best = [excess.describe() for excess in broken if excess is not None]
        if best:
            return (
                f"{none}; at best, {' and '.join(best)}; raise {'this budget' if len(best) == 1 else 'these budgets'}, "
                "or add smaller options to the model section"
            )
        nearest = " and ".join(excess.describe() for excess in self._excesses(self._cheapest(_excess)))
        return (
            f"{none}; each budget can be met, but not together with the others: with the nearest, {nearest}; "
            "raise a budget, or add smaller options to the model section"
        )

    def _cheapest(self, aim: Callable[[Use], float]) -> SubnetConfig:
        return min(self._uses, key=lambda subnet: (aim(self._uses[subnet]), subnet))

    def _descend(self, subnet: SubnetConfig, aim: Callable[[Use], float]) -> None:
        """Take the best option of one choice after the other, until no single choice improves."""
        for _ in range(_SWEEPS):
            before = subnet
            for choice in self._space:
                options = [self._space.subnet(subnet.to_dict() | {choice.name: option}) for option in choice.options]
                self.price(options)
                subnet = min([subnet, *options], key=lambda option: aim(self._uses[option]))
            if subnet == before:
                return

    def _least_excess(self, budget: str) -> Excess | None:
        """The least that exceeds one budget; None if a priced subnet keeps it."""
        excesses = self._excesses(self._cheapest(_use_of(budget)))
        return next((excess for excess in excesses if excess.budget == budget), None)

    def _excesses(self, subnet: SubnetConfig) -> tuple[Excess, ...]:
        return self._budgets.excesses(self._costs.of([subnet])[0])


def _use_of(budget: str) -> Callable[[Use], float]:
    return lambda use: use[budget]


def _excess(use: Use) -> float:
    """How far all budgets together are exceeded: 0 if none is."""
    return sum(math.log(share) for share in use.values() if share > 1)
