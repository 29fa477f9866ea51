"""Integer programs over all branches of an `ArcProgram`: the branch with the best bound is searched first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from search.solving.arc_program import ArcProgram
from search.solving.reduced_search import Constraints, Effort, Outcome, ReducedSearch, Status, Vector

_EQUAL = 2e-5
"""Costs that differ by less are equal. It is above what `ReducedSearch` takes off its bounds."""


class BranchedSearch:
    """Minimises a cost.

    Args:
        program: The subnets.
        cost: The cost of each variable, (variables,).
        constraints: The constraints.
        effort: Limits on each linear program.
    """

    def __init__(
        self, program: ArcProgram, cost: NDArray[np.float64], constraints: Constraints, effort: Effort
    ) -> None:
        self._program = program
        self._branches = [ReducedSearch(program, cost, constraints, branch, effort) for branch in program.branches]
        self._known = [
            Outcome(status="optimal", vector=None, cost=np.inf, bound=branch.bound, nodes=0)
            for branch in self._branches
        ]

    def run(self, excluded: Sequence[Vector], known: float, effort: Effort) -> Outcome:
        """The subnet of least cost that is not `excluded`; later calls exclude the same subnets and more.

        Args:
            excluded: Subnets that do not count.
            known: Only subnets that cost less are looked for; infinite for all.
            effort: Limits on each integer program.
        """
        out, nodes = set(excluded), 0
        self._known = [replace(k, vector=None, cost=np.inf) if k.vector in out else k for k in self._known]
        while True:
            best = min(self._known, key=lambda outcome: outcome.cost)
            if best.cost >= known - _EQUAL:
                best = replace(best, vector=None, cost=known)
            index = min(range(len(self._known)), key=lambda i: self._known[i].bound)
            bound = self._known[index].bound
            if bound >= best.cost - _EQUAL:
                status: Status = "optimal" if np.isfinite(best.cost) else "infeasible"
                return replace(best, status=status, bound=bound, nodes=nodes)
            if self._known[index].status != "optimal":
                return replace(best, status=self._known[index].status, bound=bound, nodes=nodes)
            found = self._branches[index].run(self._inside(index, excluded), best.cost, effort)
            nodes += found.nodes
            self._known[index] = found

    def _inside(self, branch: int, excluded: Sequence[Vector]) -> list[Vector]:
        """The excluded subnets that the branch contains."""
        allowed = self._program.branches[branch]
        return [vector for vector in excluded if allowed[self._program.ones(vector)].all()]
