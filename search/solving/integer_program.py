"""The integer program over the arcs of a chain: an objective or the nearest budgets, and subnets that are excluded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, vstack

from search.objective import Objective
from search.solving.arc_program import ArcProgram
from search.solving.branched_search import BranchedSearch
from search.solving.budget_rows import Use
from search.solving.curve_rows import ScaledCurve, linear, spread_of
from search.solving.reduced_search import Constraints, Effort, Outcome, Vector

_RANGE = 1000.0
"""The range to which objectives are scaled. HiGHS stops at an absolute gap of 1e-6, a billionth of that."""

_EXACT = 1e-7
"""A bound that differs from an objective by less than this share of its range equals it: linear programs are solved to
a tolerance of 1e-7."""


class IntegerProgram:
    """Maximises an objective over the subnets that keep budgets, or finds the subnet that is nearest to keeping them.

    The variables are those of `ArcProgram`, then the largest `peak` of each use that has one, then the argument and the
    value of each curve, and last the share of their limits up to which relaxed budgets are used.

    Attributes:
        tolerance: A bound and an objective that differ by less than this are equal.

    Args:
        program: The subnets.
        objective: What is maximised.
        macs: MACs of each arc, (arcs,).
        uses: The use of each budget.
    """

    def __init__(
        self, program: ArcProgram, objective: Objective, macs: NDArray[np.float64], uses: Sequence[Use]
    ) -> None:
        self._program, self._uses = program, tuple(uses)
        self._peaked = [index for index, use in enumerate(uses) if use.peak is not None]
        self._first_curve = program.variables + len(self._peaked)
        self._share = self._first_curve + 2 * len(objective.curves)
        self._count = self._share + 1
        gain, constant = linear(program, objective.options)
        self._constant = objective.constant + constant
        curves = [ScaledCurve(program, curve, macs, _RANGE) for curve in objective.curves]
        spread = spread_of(program, gain) + sum(curve.spread for curve in curves)
        self._scale = _RANGE / spread if spread > 0 else 1.0
        self.tolerance = _EXACT * spread
        self._gain = self._empty()
        self._gain[: program.options] = gain * self._scale
        self._gain[self._first_curve + 1 : self._share : 2] = 1.0
        self._curves = curves
        self._best: BranchedSearch | None = None

    def maximise(self, excluded: Sequence[Vector], known: float, effort: Effort) -> Outcome:
        """The best subnet that keeps all budgets and is not `excluded`; later calls exclude the same ones and more.

        Args:
            excluded: Subnets that do not count.
            known: Only subnets with a higher objective are looked for; minus infinity for all.
            effort: Limits on each run of the solver.

        Returns:
            The outcome; its cost is minus the objective.
        """
        if self._best is None:
            self._best = self._search(-self._gain, range(len(self._uses)), (), effort)
        found = self._best.run(excluded, (self._constant - known) * self._scale, effort)
        cost, bound = (value / self._scale - self._constant for value in (found.cost, found.bound))
        return replace(found, cost=cost, bound=bound)

    def nearest(
        self, relaxed: Collection[int], kept: Collection[int], excluded: Sequence[Vector], effort: Effort
    ) -> Outcome:
        """The subnet that uses the smallest share of the budgets that are `relaxed`, while it keeps those of `kept`.

        Args:
            relaxed: Indices of uses. The largest share counts.
            kept: Indices of uses.
            excluded: Subnets that do not count.
            effort: Limits on the run.

        Returns:
            The outcome; its cost is the share.
        """
        cost = self._empty()
        cost[self._share] = _RANGE  # shares near 1 are told apart as finely as values of the objective
        found = self._search(cost, kept, relaxed, effort).run(excluded, np.inf, effort)
        return replace(found, cost=found.cost / _RANGE, bound=found.bound / _RANGE)

    def _search(
        self, cost: NDArray[np.float64], kept: Collection[int], relaxed: Collection[int], effort: Effort
    ) -> BranchedSearch:
        equal, most = [], []
        for place, curve in enumerate(self._curves):
            equal.append(self._argument_row(place, curve))
            most += self._line_rows(place, curve)
        for place, index in enumerate(self._peaked):
            most += self._peak_rows(place, index)
        most += [self._use_row(index, self._uses[index].most, 0.0) for index in kept]
        most += [self._use_row(index, 0.0, 1.0) for index in relaxed]
        constraints = Constraints(
            equal=self._stacked(self._program.equal, equal),
            equal_to=np.append(self._program.equal_to, [bound for _, bound in equal]),
            most=self._stacked(self._program.most, most),
            at_most=np.append(self._program.at_most, [bound for _, bound in most]),
            lower=self._lower(),
            allowed=self._allowed(kept),
        )
        return BranchedSearch(self._program, cost, constraints, effort)

    def _lower(self) -> NDArray[np.float64]:
        lower = self._empty()
        lower[self._first_curve : self._share] = -np.inf
        return lower

    def _allowed(self, kept: Collection[int]) -> NDArray[np.bool_]:
        """All variables but arcs whose peak alone breaks a budget that is kept."""
        allowed = np.ones(self._count, dtype=bool)
        for index in kept:
            use = self._uses[index]
            if use.peak is not None:
                self._arcs(allowed)[use.peak + use.constant > use.most] = False
        return allowed

    def _use_row(self, index: int, most: float, relaxed: float) -> tuple[NDArray[np.float64], float]:
        use, row = self._uses[index], self._empty()
        self._arcs(row)[:] = use.added
        if use.peak is not None:
            row[self._program.variables + self._peaked.index(index)] = 1.0
        row[self._share] = -relaxed
        return row, most - use.constant

    def _peak_rows(self, place: int, index: int) -> list[tuple[NDArray[np.float64], float]]:
        """The largest peak is at least that of the arc taken at each link."""
        rows, peak = [], self._uses[index].peak
        for first, last in pairwise(self._program.links):
            row = self._empty()
            self._arcs(row)[first:last] = 0.0 if peak is None else peak[first:last]
            row[self._program.variables + place] = -1.0
            rows.append((row, 0.0))
        return rows

    def _argument_row(self, place: int, curve: ScaledCurve) -> tuple[NDArray[np.float64], float]:
        row = self._empty()
        row[: self._program.variables] = curve.coefficients
        row[self._first_curve + 2 * place] = -1.0
        return row, -curve.constant

    def _line_rows(self, place: int, curve: ScaledCurve) -> list[tuple[NDArray[np.float64], float]]:
        rows, argument = [], self._first_curve + 2 * place
        for slope, intercept in zip(curve.slopes * self._scale, curve.intercepts * self._scale, strict=True):
            row = self._empty()
            row[argument : argument + 2] = -slope, 1.0
            rows.append((row, float(intercept)))
        return rows

    def _stacked(self, structure: csr_array, rows: Sequence[tuple[NDArray[np.float64], float]]) -> csc_array:
        wide = csr_array((structure.data, structure.indices, structure.indptr), shape=(structure.shape[0], self._count))
        return vstack([wide, *(csr_array(row[None]) for row, _ in rows)], format="csc")

    def _empty(self) -> NDArray[np.float64]:
        return np.zeros(self._count)

    def _arcs(self, row: NDArray[Any]) -> NDArray[Any]:
        return row[self._program.options : self._program.variables]
