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
from device_profiles.workload.parts import encoded
from factory_base.errors import SpaceError
from search.arc_program import arc_program
from search.blocking import Blocking, blocking_of, excesses_of
from search.budget_rows import arc_values, uses_of
from search.clock import Clock
from search.device_target import Target
from search.evolution import evolve
from search.integer_program import IntegerProgram
from search.objective import Objective
from search.reduced_search import Outcome, Status, Vector
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

    @property
    def relative_gap(self) -> float | None:
        """The gap as a share of the bound; None if unknown, or if the bound is 0 and the gap is not."""
        if self.gap is None or self.bound is None:
            return None
        if self.gap == 0:
            return 0.0
        return self.gap / abs(self.bound) if self.bound else None


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
        self._excluded: list[Vector] = []
        self._uses = uses_of(limits, arcs)
        macs = arc_values([arc.macs for arc in arcs[0]])
        self._program = IntegerProgram(arc_program(space, arcs[0]), objective, macs, self._uses)

    def solved(self, count: int, without: Sequence[SubnetConfig]) -> Solved:
        self._excluded += [
            self._space.encode(subnet) for subnet in dict.fromkeys(without) if not excesses_of(self._limits, subnet)
        ]
        skipped = bool(self._excluded)
        found: list[tuple[float, SubnetConfig]] = []
        bounds: list[float] = []
        status: Status = "optimal"
        while len(found) < count and status == "optimal":
            outcome, subnet = self._next()
            status = outcome.status
            bounds.append(-outcome.bound)
            found += [] if subnet is None else [(self._value(subnet), subnet)]
        if status == "infeasible" and (found or skipped):
            status = "optimal"  # there are no more
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        blocking = None
        if status == "infeasible":
            blocking = blocking_of(self._program, self._uses, self._limits, self._space, self._clock)
        return Solved(
            solutions=tuple(subnet for _, subnet in found),
            objectives=tuple(value for value, _ in found),
            bound=self._bound(bounds[0], found) if bounds and np.isfinite(bounds[0]) else None,
            status=status,
            seconds=self._clock.seconds,
            nodes=self._clock.nodes,
            blocking=blocking,
        )

    def _next(self) -> tuple[Outcome, SubnetConfig | None]:
        """The best subnet that was not excluded yet, which is excluded from then on."""
        for _ in range(_REPAIRS):
            outcome = self._clock.timed(partial(self._program.maximise, self._excluded))
            if outcome.vector is None:
                return outcome, None
            self._excluded.append(outcome.vector)
            subnet = self._space.decode(outcome.vector)
            if not excesses_of(self._limits, subnet):
                return outcome, subnet
        return replace(outcome, status="no proof"), None

    def _value(self, subnet: SubnetConfig) -> float:
        vectors = encoded(self._space, [subnet])
        macs = np.array([self._limits[0].costs.of([subnet])[0].macs], dtype=np.float64)
        return float(self._objective.values(self._space, vectors, macs)[0])

    def _bound(self, bound: float, found: Sequence[tuple[float, SubnetConfig]]) -> float:
        """The bound of the best solution, which is its objective if they differ by less than rounding."""
        if found and bound - found[0][0] <= self._program.tolerance:
            return found[0][0]
        return bound


def _check_chains(arcs: Sequence[Sequence[ArcCosts]]) -> None:
    chains = [[(arc.link, arc.choices, arc.presence) for arc in own] for own in arcs]
    if any(chain != chains[0] for chain in chains):
        raise SpaceError("the targets that are searched together belong to different model spaces; use one for all")
