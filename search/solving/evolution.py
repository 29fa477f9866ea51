"""Evolution for spaces that declare no chain of parts: good subnets inside budgets, without a proof.

The costs of such a subnet are those of its whole network, which takes milliseconds to trace, while the objective of
thousands takes as long. So every generation is judged by the objective and by costs that are estimated from the subnets
traced so far, and only its most promising subnets are traced. What is returned was traced, and keeps its budgets.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.costs import Costs
from device_profiles.workload.parts import encoded
from search.device_target import Target
from search.enumeration import every_subnet
from search.objective import Objective
from search.solving.blocking import Blocking, BlockingBudget, DeviceExcess, budget_name
from search.solving.clock import Clock
from search.solving.reduced_search import Vector
from supernet.space import SearchSpace, SubnetConfig

_GENERATIONS, _CHILDREN = 20, 1_000
"""Generations, and subnets whose objective is computed in each: 20,000 in all."""

_SPARE = 3
"""How many times as many children are drawn, since some are equal or were traced already."""

_FIRST, _TRACED = 100, 20
"""Subnets that are traced at first, and in each generation: 500 in all, which take seconds."""

_PARENTS = 24
"""The best subnets so far, of which the children of a generation are made."""

_MUTATION = 0.1
"""Probability with which a choice of a child is redrawn."""

_RIDGE = 1e-3
"""Penalty in the regression of logarithmic costs, which are known exactly: it only keeps the system regular."""

_MARGIN = 0.005
"""Excess of the estimated costs, as a natural logarithm, that is not yet held against a subnet: estimates err."""

_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evolved:
    """What the evolution found.

    Attributes:
        found: Subnets that keep all budgets, with their objective, the best first.
        complete: Whether all subnets of the space were traced.
        blocking: Which budgets block each other as far as is known, if nothing keeps them.
    """

    found: tuple[tuple[float, SubnetConfig], ...]
    complete: bool
    blocking: Blocking | None


def evolve(
    objective: Objective, limits: Sequence[Target], space: SearchSpace, without: Sequence[SubnetConfig], clock: Clock
) -> Evolved:
    """Search by evolution, or trace all subnets if there are no more of them than the evolution would trace.

    Args:
        objective: What is maximised.
        limits: Devices and budgets.
        space: The search space.
        without: Subnets that are not wanted.
        clock: Ends the search after a generation if its time is over.
    """
    traced = _Traced(objective, limits, space)
    complete = space.count() <= _FIRST + _GENERATIONS * _TRACED
    if complete:
        traced.add(encoded(space, list(every_subnet(space))))
    else:
        _evolve(traced, objective, space, clock)
    unwanted = set(without)
    feasible = [(value, subnet) for value, subnet in traced.feasible() if subnet not in unwanted]
    feasible.sort(key=lambda pair: (-pair[0], pair[1]))
    blocking = None if traced.feasible() else traced.blocking(complete)
    return Evolved(found=tuple(feasible), complete=complete, blocking=blocking)


class _Traced:
    """The subnets that were traced.

    Attributes:
        subnets: The subnets.
        vectors: Their encodings, (subnets, choices).
        macs: Their MACs, (subnets,).
        values: Their objectives, (subnets,).
        shares: The used share of each budget of each target, (subnets, budgets).
    """

    def __init__(self, objective: Objective, limits: Sequence[Target], space: SearchSpace) -> None:
        self._objective, self._limits, self._space = objective, limits, space
        self._budgets = [(t, limit.budget) for t, target in enumerate(limits) for limit in target.budgets.limits()]
        self.subnets: list[SubnetConfig] = []
        self._known: set[Vector] = set()
        self.vectors = np.empty((0, len(space.choices)), dtype=np.int64)
        self.values, self.macs = np.empty(0), np.empty(0)
        self.shares = np.empty((0, len(self._budgets)))

    def add(self, vectors: NDArray[np.int64]) -> None:
        """Trace those of `vectors`, (subnets, choices), that are new."""
        rows = [row for row in dict.fromkeys(map(_row, vectors)) if row not in self._known]
        if not rows:
            return
        subnets = [self._space.decode(row) for row in rows]
        costs = [target.costs.of(subnets) for target in self._limits]
        added, macs = np.array(rows), np.array([float(own.macs) for own in costs[0]])
        self.subnets += subnets
        self._known |= set(rows)
        self.vectors, self.macs = np.vstack([self.vectors, added]), np.append(self.macs, macs)
        self.values = np.append(self.values, self._objective.values(self._space, added, macs))
        self.shares = np.vstack([self.shares, [self._used(own) for own in zip(*costs, strict=True)]])

    def new(self, vectors: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `vectors`, each once, that were not traced."""
        distinct = np.unique(vectors, axis=0)
        return distinct[[_row(vector) not in self._known for vector in distinct]]

    def best(self, count: int) -> NDArray[np.int64]:
        """The best subnets, (at most count, choices): the nearest to the budgets first, then by objective."""
        return self.vectors[np.lexsort((-self.values, _excess(np.log(self.shares))))[:count]]

    def feasible(self) -> list[tuple[float, SubnetConfig]]:
        """The objectives of the subnets that keep all budgets."""
        kept = np.flatnonzero((self.shares <= 1).all(axis=1))
        return [(float(self.values[i]), self.subnets[i]) for i in kept]

    def blocking(self, complete: bool) -> Blocking:
        """Which budgets block each other among the traced subnets, none of which keeps all."""
        every = range(len(self._budgets))
        least = [self._exceeded(i, int(self.shares[:, i].argmin())) for i in every]
        nearest = int(self.shares.max(axis=1).argmin())
        joint = [self._exceeded(i, nearest) for i in every]
        blocking = [i for i in every if least[i] is not None] or every
        return Blocking(
            budgets=tuple(BlockingBudget(name=self._name(i), least=least[i], alone=self._alone(i)) for i in blocking),
            joint=tuple(excess for excess in joint if excess is not None),
            devices=len(self._limits),
            subnets=len(self.subnets),
            proven=complete,
        )

    def _alone(self, index: int) -> DeviceExcess | None:
        kept = np.flatnonzero((np.delete(self.shares, index, axis=1) <= 1).all(axis=1))
        return self._exceeded(index, int(kept[self.shares[kept, index].argmin()])) if len(kept) else None

    def _exceeded(self, index: int, row: int) -> DeviceExcess | None:
        target, budget = self._budgets[index]
        own = self._limits[target]
        excesses = own.budgets.excesses(own.costs.of([self.subnets[row]])[0])
        found = [excess for excess in excesses if excess.budget == budget]
        return DeviceExcess(device=own.costs.profile.name, excess=found[0]) if found else None

    def _name(self, index: int) -> str:
        target, budget = self._budgets[index]
        return budget_name(budget, self._limits, target)

    def _used(self, costs: Sequence[Costs]) -> list[float]:
        slack = [target.budgets.slack(own) for target, own in zip(self._limits, costs, strict=True)]
        return [slack[target][budget] for target, budget in self._budgets]


def _evolve(traced: _Traced, objective: Objective, space: SearchSpace, clock: Clock) -> None:
    rng, draw = np.random.default_rng(_SEED), random.Random(_SEED)
    levels = [space.sample_near(level, draw) for level in np.linspace(0, 1, _FIRST)]
    traced.add(encoded(space, [space.smallest, space.largest, *levels]))
    for _ in range(_GENERATIONS):
        if clock.over:
            return
        children = rng.permutation(traced.new(_children(traced.best(_PARENTS), space, rng)))[:_CHILDREN]
        if not len(children):
            continue
        shares, macs = _estimated(traced, space, children)
        order = np.lexsort((-objective.values(space, children, macs), _excess(shares - _MARGIN)))
        traced.add(children[order[:_TRACED]])


def _children(parents: NDArray[np.int64], space: SearchSpace, rng: np.random.Generator) -> NDArray[np.int64]:
    """Each choice comes from one of two parents, or is redrawn; (children, choices), in canonical form."""
    drawn = _SPARE * _CHILDREN
    pairs = parents[rng.integers(0, len(parents), (2, drawn))]
    children = np.where(rng.random(pairs[0].shape) < 0.5, pairs[0], pairs[1])
    redrawn = np.column_stack([rng.integers(0, len(choice.options), drawn) for choice in space])
    children = np.where(rng.random(children.shape) < _MUTATION, redrawn, children)
    return np.where(space.existing(children), children, 0)


def _estimated(
    traced: _Traced, space: SearchSpace, vectors: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of the used shares, (subnets, budgets), and MACs, (subnets,), by regression on the options taken."""
    known, wanted = _taken(space, traced.vectors), _taken(space, vectors)
    targets = np.log(np.column_stack([traced.shares, np.maximum(traced.macs, 1.0)]))
    mean = targets.mean(axis=0)
    normal = known.T @ known + _RIDGE * np.eye(known.shape[1])
    found = wanted @ np.linalg.solve(normal, known.T @ (targets - mean)) + mean
    return found[:, :-1], np.exp(found[:, -1])


def _taken(space: SearchSpace, vectors: NDArray[np.int64]) -> NDArray[np.float64]:
    """Whether each option is taken by a present block, (subnets, options)."""
    exists = space.existing(vectors)
    columns = [
        exists[:, column] & (vectors[:, column] == index)
        for column, choice in enumerate(space)
        for index in range(len(choice.options))
    ]
    return np.column_stack(columns).astype(np.float64)


def _excess(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest of the logarithms of used shares, (subnets, budgets), and at least 0, (subnets,)."""
    return np.asarray(shares.max(axis=1, initial=0.0))


def _row(vector: NDArray[np.int64]) -> Vector:
    return tuple(int(index) for index in vector)
