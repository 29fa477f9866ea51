"""Budgets as linear functions of the arcs that a subnet takes. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from device_profiles.budgets import Limit
from device_profiles.cost_models.arc_costs import ArcCosts
from device_profiles.cost_models.device_costs import DeviceCosts
from search.device_target import Target

Arcs = Sequence[ArcCosts]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Use:
    """What a subnet uses of one budget, as a share of its limit.

    It is `constant` plus the sum of `added` over the subnet's arcs plus the largest `peak` of these arcs.

    Attributes:
        target: Index of the target.
        limit: The budget.
        constant: Share that every subnet uses.
        added: Shares that arcs add, (arcs,).
        peak: Shares of which the largest counts, (arcs,); None if nothing counts that way.
        most: The share up to which the budget is kept: 1, or a trifle more where costs are rounded down.
    """

    target: int
    limit: Limit
    constant: float
    added: NDArray[np.float64]
    peak: NDArray[np.float64] | None
    most: float


def uses_of(targets: Sequence[Target], arcs: Sequence[Arcs]) -> tuple[Use, ...]:
    """The use of every budget of every target.

    Args:
        targets: The targets.
        arcs: What `DeviceCosts.arcs` returned for each target.
    """
    return tuple(
        _USES[limit.budget](index, target.costs, own, limit)
        for index, (target, own) in enumerate(zip(targets, arcs, strict=True))
        for limit in target.budgets.limits()
    )


def arc_values(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """One array of values for all arcs, link by link, from one for each link."""
    return np.concatenate([array.ravel() for array in arrays])


def _latency(target: int, costs: DeviceCosts, arcs: Arcs, limit: Limit) -> Use:
    added, constant = arc_values([arc.latency_us for arc in arcs]), costs.constant_us
    stds = [arc.latency_std_us for arc in arcs if arc.latency_std_us is not None]
    if limit.confidence is not None and len(stds) == len(arcs):
        quantile = NormalDist().inv_cdf(limit.confidence)
        added = added + quantile * arc_values(stds)
        constant += quantile * (costs.constant_std_us or 0.0)
    return _use(target, limit, constant, added)


def _peak_memory(target: int, costs: DeviceCosts, arcs: Arcs, limit: Limit) -> Use:
    held = arc_values([arc.held_bytes for arc in arcs])
    arena = arc_values([arc.arena_bytes for arc in arcs])
    whole = (limit.value + 1) / limit.value  # costs are rounded down to whole bytes
    return _use(target, limit, costs.constant_held_bytes, held, arena, whole)


def _file_size(target: int, costs: DeviceCosts, arcs: Arcs, limit: Limit) -> Use:
    constant = limit.value - costs.most_file_bytes(limit.value)
    return _use(target, limit, constant, arc_values([arc.file_bytes for arc in arcs]))


def _macs(target: int, _: DeviceCosts, arcs: Arcs, limit: Limit) -> Use:
    return _use(target, limit, 0.0, arc_values([arc.macs for arc in arcs]))


def _energy(target: int, costs: DeviceCosts, arcs: Arcs, limit: Limit) -> Use:
    added = [arc.energy_uj for arc in arcs if arc.energy_uj is not None]
    return _use(target, limit, costs.constant_energy_uj or 0.0, arc_values(added))


def _use(
    target: int,
    limit: Limit,
    constant: float,
    added: NDArray[np.float64],
    peak: NDArray[np.float64] | None = None,
    most: float = 1.0,
) -> Use:
    return Use(
        target=target,
        limit=limit,
        constant=constant / limit.value,
        added=added / limit.value,
        peak=None if peak is None else peak / limit.value,
        most=most,
    )


_USES: dict[str, Callable[[int, DeviceCosts, Arcs, Limit], Use]] = {
    "latency": _latency,
    "peak_memory": _peak_memory,
    "file_size": _file_size,
    "macs": _macs,
    "energy": _energy,
}
"""Name of a budget -> what subnets use of it."""
