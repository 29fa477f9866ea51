"""Which budgets block each other where no subnet keeps all of them, and what it takes to make room."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from device_profiles.budgets import Excess, budget_words
from search.device_target import Target
from search.solving.budget_rows import Use
from search.solving.clock import Clock
from search.solving.integer_program import IntegerProgram
from search.solving.reduced_search import Vector
from supernet.space import SearchSpace, SubnetConfig

_REPAIRS = 20
"""Most subnets that are passed over because they break a budget by less than the tolerance of the integer program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceExcess:
    """A budget that is exceeded on a device."""

    device: str
    excess: Excess

    def describe(self, devices: int) -> str:
        """One phrase for people, which names the device if there are several."""
        return self.excess.describe() + (f" on {self.device!r}" if devices > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockingBudget:
    """A budget that cannot be kept together with the other blocking ones.

    Attributes:
        name: The budget, for people.
        least: The least that exceeds it if no other budget is set; None if it can be kept alone.
        alone: The least that exceeds it while all other budgets are kept; None if they cannot be kept either.
    """

    name: str
    least: DeviceExcess | None
    alone: DeviceExcess | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocking:
    """Why no subnet keeps all budgets.

    Attributes:
        budgets: The budgets that cannot be kept even alone, if there are any; otherwise budgets that cannot be kept
            together, while any of them could be dropped to keep the others of them.
        joint: What is exceeded if all budgets are raised by the smallest common factor.
        devices: Number of devices.
        subnets: Number of subnets among which none keeps the budgets.
        proven: Whether these are all subnets of the space, so that what is least is the least of all.
    """

    budgets: tuple[BlockingBudget, ...]
    joint: tuple[DeviceExcess, ...]
    devices: int
    subnets: int
    proven: bool

    def describe(self) -> str:
        """One line for people: what is nearest to keeping the budgets, and what to do."""
        if self.proven:
            who = f"none of its {self.subnets:,} subnets meets" if self.subnets > 1 else "its only subnet does not meet"
            return f"{who} its budgets; {self._nearest()}"
        return f"no subnet that meets its budgets was found among {self.subnets:,}; {self._nearest()}"

    def _nearest(self) -> str:
        unreachable = [budget.least for budget in self.budgets if budget.least is not None]
        alone = [budget.alone for budget in self.budgets if budget.alone is not None]
        if len(unreachable) == 1:
            return f"at best, {self._listed(alone or unreachable)}; {_raise('this budget')}"
        if unreachable:
            return f"at best, {self._listed(unreachable)}; {_raise('these budgets')}"
        names = " and ".join(budget.name for budget in self.budgets)
        apart = f"each budget can be met, but not {names} together"
        if alone:
            return f"{apart}: with the others kept, {self._listed(alone, ' or ')}; {_raise('one of them')}"
        return f"{apart}: with the nearest, {self._listed(self.joint)}; {_raise('these budgets')}"

    def _listed(self, excesses: Sequence[DeviceExcess], word: str = " and ") -> str:
        return word.join(excess.describe(self.devices) for excess in excesses)


def _raise(what: str) -> str:
    return f"raise {what}, or add smaller options to the model section"


def blocking_of(
    program: IntegerProgram, uses: Sequence[Use], limits: Sequence[Target], space: SearchSpace, clock: Clock
) -> Blocking | None:
    """Which budgets block each other; None if the effort does not suffice to tell.

    Args:
        program: The program that has no solution.
        uses: The uses of its budgets.
        limits: The targets.
        space: The space of the subnets.
        clock: What is left of the effort.
    """
    try:
        return _Analysis(program, uses, limits, space, clock).blocking()
    except _UnknownError:
        return None


class _UnknownError(Exception):
    """An integer program reached a limit."""


class _Analysis:
    """The runs that tell which budgets block."""

    def __init__(
        self, program: IntegerProgram, uses: Sequence[Use], limits: Sequence[Target], space: SearchSpace, clock: Clock
    ) -> None:
        self._program, self._uses, self._limits, self._space, self._clock = program, uses, limits, space, clock

    def blocking(self) -> Blocking:
        every = range(len(self._uses))
        least = [self._exceeded(i, self._nearest([i], [])) for i in every]
        blocking = [i for i in every if least[i] is not None] or self._conflict()
        alone = {i: self._alone(i) for i in blocking}
        nearest = self._nearest(every, [])
        joint = [self._exceeded(i, nearest) for i in every]
        return Blocking(
            budgets=tuple(BlockingBudget(name=self._name(i), least=least[i], alone=alone[i]) for i in blocking),
            joint=tuple(excess for excess in joint if excess is not None),
            devices=len(self._limits),
            subnets=self._space.count(),
            proven=True,
        )

    def _name(self, index: int) -> str:
        use = self._uses[index]
        return budget_name(use.limit.budget, self._limits, use.target)

    def _conflict(self) -> list[int]:
        """Budgets that cannot be kept together, of which none can be left out."""
        kept = list(range(len(self._uses)))
        for index in list(kept):
            rest = [i for i in kept if i != index]
            if self._broken(self._nearest(rest, []), rest):
                kept = rest
        return kept

    def _alone(self, index: int) -> DeviceExcess | None:
        others = [i for i in range(len(self._uses)) if i != index]
        return self._exceeded(index, self._nearest([index], others))

    def _nearest(self, relaxed: Collection[int], kept: Collection[int]) -> SubnetConfig | None:
        """The subnet that uses the smallest share of the relaxed budgets; None if none keeps those to be kept."""
        passed: list[Vector] = []
        for _ in range(_REPAIRS):
            outcome = self._clock.timed(partial(self._program.nearest, relaxed, kept, passed))
            if outcome.status == "infeasible":
                return None
            if outcome.status != "optimal" or outcome.vector is None:
                raise _UnknownError
            subnet = self._space.decode(outcome.vector)
            if not self._broken(subnet, kept):
                return subnet
            passed.append(outcome.vector)
        raise _UnknownError

    def _broken(self, subnet: SubnetConfig | None, budgets: Collection[int]) -> bool:
        return any(self._exceeded(index, subnet) is not None for index in budgets)

    def _exceeded(self, index: int, subnet: SubnetConfig | None) -> DeviceExcess | None:
        if subnet is None:
            return None
        use = self._uses[index]
        target = self._limits[use.target]
        excesses = target.budgets.excesses(target.costs.of([subnet])[0])
        found = [excess for excess in excesses if excess.budget == use.limit.budget]
        return DeviceExcess(device=target.costs.profile.name, excess=found[0]) if found else None


def budget_name(budget: str, limits: Sequence[Target], target: int) -> str:
    """The name of a budget of `limits[target]` for people, with the device if there are several."""
    name = budget_words(budget)
    return f"{name} on {limits[target].costs.profile.name!r}" if len(limits) > 1 else name


def excesses_of(limits: Sequence[Target], subnet: SubnetConfig) -> tuple[Excess, ...]:
    """The budgets that a subnet exceeds, over all targets."""
    return tuple(excess for target in limits for excess in target.budgets.excesses(target.costs.of([subnet])[0]))
