"""Integer programs over one branch of an `ArcProgram`, solved over the few variables that can be part of an optimum.

The linear relaxation gives a bound and a reduced cost for each variable: a subnet that takes the variable costs at
least the bound plus the reduced cost. So once a subnet is known, all variables whose reduced cost is larger than its
distance to the bound can be left out, and nothing better is lost. The search begins with the variables of small reduced
cost, and takes more only if the subnet that it finds is too far off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csc_array, csr_array, vstack

from factory_base.native_output import captured_native_output
from search.solving.arc_program import ArcProgram

Vector = tuple[int, ...]
"""A subnet as `SearchSpace.encode` returns it."""

Status = Literal["optimal", "node limit", "time limit", "infeasible", "no proof"]

_NEAR = 3.0
"""Reduced costs that are searched at first. Costs range over about 1000, and most optima are within 5 of their linear
bound. In the spaces of `benchmarks/search_optimum.py`, 1.5 and 10 took up to 1.5 times as long."""

_WIDER = 8.0
"""Factor on the reduced costs that are searched if no subnet is found there."""

_ROUNDING = 1e-5
"""What is taken off bounds from reduced costs: linear programs are solved to a tolerance of 1e-7 for each variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Limits on one run.

    Attributes:
        nodes: Most nodes of the search tree.
        seconds: Most seconds; None for no limit.
    """

    nodes: int
    seconds: float | None = None

    @property
    def options(self) -> dict[str, float]:
        """The options of `scipy.optimize` that both linear and integer programs have."""
        return {} if self.seconds is None else {"time_limit": max(0.0, self.seconds)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run found.

    Attributes:
        status: Whether the subnet is proven to be the best, and if not, why the run ended.
        vector: The best subnet found; None if none was found.
        cost: Its cost; infinite if there is none.
        bound: No subnet costs less; infinite if there is none.
        nodes: Nodes of the search trees.
    """

    status: Status
    vector: Vector | None
    cost: float
    bound: float
    nodes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constraints:
    """Linear constraints on the variables of an `ArcProgram` and further continuous ones.

    Attributes:
        equal: Coefficients of equations, (equations, variables).
        equal_to: (equations,).
        most: Coefficients of inequalities, (inequalities, variables).
        at_most: (inequalities,).
        lower: Lower bound of each variable, (variables,).
        allowed: Whether a variable may be taken, (variables,).
    """

    equal: csc_array
    equal_to: NDArray[np.float64]
    most: csc_array
    at_most: NDArray[np.float64]
    lower: NDArray[np.float64]
    allowed: NDArray[np.bool_]


class ReducedSearch:
    """Minimises a cost over one branch.

    Attributes:
        bound: No subnet of the branch costs less; infinite if it has none that meets the constraints.
        status: `optimal` or `infeasible`; otherwise why the bound is not known, which is minus infinity then.

    Args:
        program: The subnets.
        cost: The cost of each variable, (variables,).
        constraints: The constraints.
        branch: The variables of the branch, (variables of the program,).
        effort: Limits on the linear program.
    """

    def __init__(
        self,
        program: ArcProgram,
        cost: NDArray[np.float64],
        constraints: Constraints,
        branch: NDArray[np.bool_],
        effort: Effort,
    ) -> None:
        self._program, self._near = program, _NEAR
        allowed = constraints.allowed.copy()
        allowed[: program.variables] &= branch
        self._columns = np.flatnonzero(allowed)
        self._equations, self._cost, self._low = len(constraints.equal_to), cost[allowed], constraints.lower[allowed]
        self._matrix = vstack([constraints.equal[:, self._columns], constraints.most[:, self._columns]], format="csc")
        self._most = np.concatenate([constraints.equal_to, constraints.at_most])
        self._least = np.concatenate([constraints.equal_to, np.full(len(constraints.at_most), -np.inf)])
        relaxed = self._relaxed(effort)
        statuses: dict[int, Status] = {0: "optimal", 1: "time limit", 2: "infeasible"}
        self.status = statuses.get(relaxed.status, "no proof")
        self.bound = {"optimal": relaxed.fun, "infeasible": np.inf}.get(self.status, -np.inf)
        self._reduced = np.zeros(len(self._columns))
        if self.status == "optimal":
            discrete = self._columns < program.variables
            self._reduced[discrete] = relaxed.lower.marginals[discrete]

    def run(self, excluded: Sequence[Vector], known: float, effort: Effort) -> Outcome:
        """The subnet of least cost that is not `excluded`; none is looked for that costs `known` or more.

        Args:
            excluded: Subnets that do not count.
            known: The cost of a subnet of another branch; infinite if none is known.
            effort: Limits on the run.
        """
        if self.status != "optimal":
            return Outcome(status=self.status, vector=None, cost=np.inf, bound=self.bound, nodes=0)
        nodes, matrix = 0, self._matrix
        if excluded:
            matrix = vstack([matrix, self._cuts(excluded)], format="csc")
        while True:
            searched = self._reduced <= min(self._near, known - self.bound) + 2 * _ROUNDING
            outside = self.bound - _ROUNDING + self._reduced[~searched].min(initial=np.inf)
            result = self._solve(matrix, searched, len(excluded), effort)
            nodes += int(result.mip_node_count or 0)
            if result.status == 2 and outside < known:
                self._near *= _WIDER
            elif result.status == 0 and outside < min(result.fun, known):
                self._near = result.fun - self.bound
            else:
                return self._outcome(result, searched, outside, nodes)

    def _relaxed(self, effort: Effort) -> Any:
        bounds = np.column_stack([self._low, np.full(len(self._low), np.inf)])
        return linprog(
            self._cost,
            A_ub=self._matrix[self._equations :],
            b_ub=self._most[self._equations :],
            A_eq=self._matrix[: self._equations],
            b_eq=self._most[: self._equations],
            bounds=bounds,
            method="highs",
            options=effort.options,
        )

    def _solve(self, matrix: csc_array, searched: NDArray[np.bool_], cuts: int, effort: Effort) -> Any:
        most = np.append(self._most, np.full(cuts, len(self._program.space.choices) - 1.0))
        least = np.append(self._least, np.full(cuts, -np.inf))
        with captured_native_output((1,)):  # HiGHS 1.12 prints that it repaired a solution, whatever its options are
            return milp(
                self._cost[searched],
                integrality=self._columns[searched] < self._program.options,
                bounds=Bounds(self._low[searched], np.inf),
                constraints=LinearConstraint(matrix[:, searched], least, most),
                options={"mip_rel_gap": 0.0, "node_limit": effort.nodes, **effort.options},
            )

    def _cuts(self, excluded: Sequence[Vector]) -> csr_array:
        """An excluded subnet would take one of its options of every choice; all others take fewer of them."""
        rows = np.zeros((len(excluded), self._program.variables))
        for row, vector in zip(rows, excluded, strict=True):
            row[self._program.ones(vector)] = 1.0
        wide = np.zeros((len(excluded), len(self._columns)))
        discrete = self._columns < self._program.variables
        wide[:, discrete] = rows[:, self._columns[discrete]]
        return csr_array(wide)

    def _outcome(self, result: Any, searched: NDArray[np.bool_], outside: float, nodes: int) -> Outcome:
        limit: Status = "time limit" if "ime limit" in result.message else "node limit"
        statuses: dict[int, Status] = {0: "optimal", 1: limit, 2: "optimal" if np.isfinite(outside) else "infeasible"}
        if "olution limit" in result.message:  # SciPy does not know this reason of HiGHS to end without a subnet
            statuses[4] = limit
        vector, cost, inside = None, np.inf, np.inf
        if result.x is not None:
            values = np.zeros(self._program.variables)
            discrete = self._columns[searched] < self._program.variables
            values[self._columns[searched][discrete]] = result.x[discrete]
            vector, cost = self._program.vector(values), float(result.fun)
        if result.status != 2:
            inside = self.bound if result.mip_dual_bound is None else max(self.bound, float(result.mip_dual_bound))
        return Outcome(
            status=statuses.get(result.status, "no proof"),
            vector=vector,
            cost=cost,
            bound=min(inside, outside),
            nodes=nodes,
        )
