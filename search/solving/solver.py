"""The best subnets inside budgets, with a proof: an integer program over the arcs of a chain of blocks.

`solve` builds the constraints that subnets meet (`arc_program`), adds one row for each budget (`budget_rows`) and lets
HiGHS maximise the objective. Each subnet found is costed by `DeviceCosts.of` and kept only if its budgets are kept by
that judgement; then it is excluded, and the next best is searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from device_profiles.cost_models.arc_costs import ArcCosts
from factory_base.errors import SpaceError
from search.device_target import Target
from search.objective import Objective
from search.solving.arc_program import arc_program
from search.solving.blocking import Blocking, blocking_of, excesses_of
from search.solving.budget_rows import arc_values, uses_of
from search.solving.clock import Clock
from search.solving.evolution import evolve
from search.solving.integer_program import IntegerProgram
from search.solving.pool import Pool
from search.solving.reduced_search import Outcome, Status, Vector
from supernet.space import SearchSpace, SubnetConfig

_NODES = 20_000
"""Most nodes of the search tree for each subnet."""

_REPAIRS = 100
"""Most subnets that are excluded because they break a budget by less than the tolerance of the integer program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """What was found, and how good it is known to be.

    Attributes:
        solutions: Distinct subnets that keep all budgets, the best first; fewer than asked for if there are no more.
        objectives: The objective of each solution.
        bound: No subnet that keeps the budgets has a higher objective; None if no bound is known.
        status: `optimal` if the solutions are proven to be the best ones. `infeasible` if no subnet keeps the budgets.
            `node limit`, `time limit` or `no proof` if the search ended before; then the solutions are the best found.
        seconds: Wall-clock time of the search.
        nodes: Nodes of all search trees.
        blocking: Which budgets block each other if nothing keeps them; None if something does, or if it is unknown.
    """

    solutions: tuple[SubnetConfig, ...]
    objectives: tuple[float, ...]
    bound: float | None
    status: Status
    seconds: float
    nodes: int
    blocking: Blocking | None = None

    @property
    def objective(self) -> float | None:
        """The objective of the best solution; None if there is none."""
        return self.objectives[0] if self.objectives else None

    @property
    def gap(self) -> float | None:
        """How much better than the best solution another subnet could be, in the objective's unit; None if unknown."""
        return None if self.bound is None or not self.objectives else self.bound - self.objectives[0]

    def describe_failure(self) -> str:
        """One line for people on why there is no solution, and what to do."""
        if self.blocking is not None:
            return self.blocking.describe()
        if self.status == "infeasible":
            return "all subnets that meet its budgets are excluded"
        return (
            f"no subnet that meets its budgets was found before the search ended ({self.status}, {self.nodes:,} nodes, "
            f"{self.seconds:.1f} s); allow it more, or raise a budget"
        )


def solve(
    objective: Objective,
    limits: Sequence[Target],
    space: SearchSpace,
    *,
    count: int = 1,
    without: Sequence[SubnetConfig] = (),
    max_nodes: int = _NODES,
    max_seconds: float | None = None,
) -> Solved:
    """The subnets of highest `objective` that keep the budgets of all `limits`.

    Where arcs are not known, because the space declares no chain of parts or has too many arcs, they are searched by
    evolution, and nothing is proven unless the space is small enough to trace all of its subnets.

    Equal arguments give equal answers, on any machine, unless `max_seconds` ends the search.

    A latency budget with a confidence is kept by a linear bound: `DeviceCosts.arcs` adds up the standard deviations of
    the parts, as if all errors had the same sign. That is exact where a profile states one relative deviation. With the
    uncertainty of a few-shot table it is conservative: the deviation of a network of n parts with independent errors is
    overestimated by up to the square root of n, and subnets that only the exact deviation would allow are left out.

    Args:
        objective: What is maximised.
        limits: Devices and budgets, at least one. Several are several workloads of the same model space; all budgets
            must be kept.
        space: The search space.
        count: Number of subnets wanted.
        without: Subnets that are not wanted.
        max_nodes: Most nodes of the search tree for each subnet.
        max_seconds: Most seconds for all subnets; None for no limit.

    Raises:
        ConfigError: There is a budget for the energy, which a device does not know.
        SpaceError: The limits have different chains, or a part cannot be traced.
    """
    excesses_of(limits, space.smallest)  # fails if a budget cannot be judged
    clock = Clock(max_nodes, max_seconds)
    if all(target.costs.has_arcs for target in limits):
        return _Run(objective, limits, space, clock).solved(count, without)
    evolved = evolve(objective, limits, space, without, clock)
    found = evolved.found[:count]
    proven: Status = "infeasible" if evolved.blocking is not None else "optimal"
    return Solved(
        solutions=tuple(subnet for _, subnet in found),
        objectives=tuple(value for value, _ in found),
        bound=found[0][0] if evolved.complete and found else None,
        status=proven if evolved.complete else "no proof",
        seconds=clock.seconds,
        nodes=0,
        blocking=evolved.blocking,
    )


class _Run:
    """One call of `solve`."""

    def __init__(self, objective: Objective, limits: Sequence[Target], space: SearchSpace, clock: Clock) -> None:
        self._objective, self._limits, self._space, self._clock = objective, limits, space, clock
        arcs = [target.costs.arcs() for target in limits]
        _check_chains(arcs)
        uses = uses_of(limits, arcs)
        macs = arc_values([arc.macs for arc in arcs[0]])
        self._program = IntegerProgram(arc_program(space, arcs[0]), objective, macs, uses)
        self._pool = Pool(space, objective, arcs[0], uses, self._keeps)
        self._uses, self._excluded = uses, list[Vector]()

    def solved(self, count: int, without: Sequence[SubnetConfig]) -> Solved:
        self._excluded += [self._space.encode(subnet) for subnet in dict.fromkeys(without)]
        self._excluded = [vector for vector in self._excluded if self._keeps(vector)]
        skipped = bool(self._excluded)
        first = self._next(-np.inf)
        found, status = self._best(count, first)
        blocking = None
        if status == "infeasible" and not skipped:
            blocking = blocking_of(self._program, self._uses, self._limits, self._space, self._clock)
        objectives = tuple(self._pool.value(vector) for vector in found)
        return Solved(
            solutions=tuple(self._space.decode(vector) for vector in found),
            objectives=objectives,
            bound=self._bound(-first.bound, objectives),
            status=status,
            seconds=self._clock.seconds,
            nodes=self._clock.nodes,
            blocking=blocking,
        )

    def _best(self, count: int, outcome: Outcome) -> tuple[list[Vector], Status]:
        """The best `count` subnets, of which `outcome` has the first: good ones are collected, then proven the best."""
        unwanted, found = dict.fromkeys(self._excluded), list[Vector]()  # in order: equal calls give equal answers
        worst = -np.inf
        while outcome.vector is not None:
            self._pool.include(outcome.vector)
            if len(found) == count and self._pool.value(outcome.vector) <= worst + self._program.tolerance:
                return found, outcome.status  # it is only as good as the worst of these, up to rounding
            if count == 1 or outcome.status != "optimal":
                return self._pool.best(count, unwanted), outcome.status
            found = self._pool.spread(count, unwanted)
            self._excluded = [*unwanted, *found]
            worst = self._pool.value(found[-1]) if len(found) == count else -np.inf
            outcome = self._next(worst)
        return found, "optimal" if found and outcome.status == "infeasible" else outcome.status

    def _next(self, floor: float) -> Outcome:
        """The best subnet that is better than `floor` and not excluded."""
        for _ in range(_REPAIRS):
            outcome = self._clock.timed(partial(self._program.maximise, self._excluded, floor))
            if outcome.vector is None or self._keeps(outcome.vector):
                return outcome
            self._excluded.append(outcome.vector)
        return replace(outcome, status="no proof", vector=None)

    def _keeps(self, vector: Vector) -> bool:
        return not excesses_of(self._limits, self._space.decode(vector))

    def _bound(self, bound: float, objectives: Sequence[float]) -> float | None:
        """The bound of the best solution, which is its objective if they differ by less than rounding."""
        if objectives and bound - objectives[0] <= self._program.tolerance:
            return objectives[0]
        return bound if np.isfinite(bound) else None


def _check_chains(arcs: Sequence[Sequence[ArcCosts]]) -> None:
    chains = [[(arc.link, arc.choices, arc.presence) for arc in own] for own in arcs]
    if any(chain != chains[0] for chain in chains):
        raise SpaceError("the targets that are searched together belong to different model spaces; use one for all")
