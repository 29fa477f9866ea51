"""The costs of the arcs of a chain of parts: what an exact solver adds up. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.link_parts import Presence
from supernet.space import Choice, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArcCosts:
    """The costs that the part at one link adds, for each combination of options of the choices that determine it.

    Every array has one axis for each of `choices`. A subnet that does not meet all conditions of `presence` has no part
    at the link, which then adds nothing and needs no activations. `DeviceCosts.sum_of_arcs` shows what is added to the
    sums.

    Attributes:
        link: Name of the link.
        presence: Conditions under which the link holds a part: one for its depth choice, one for the choice on which
            that one depends, and so on. Without any, it always holds one.
        choices: Choices that determine the part; each array axis is as long as its choice has options.
        latency_us: Latency that the part adds.
        latency_std_us: Addition to an upper bound of the latency's standard deviation; None if it is unknown.
        held_bytes: Memory that the part adds to what is held throughout an inference.
        arena_bytes: Peak memory of the activations while the part runs. A network needs the maximum over its parts.
        file_bytes: Size that the part adds to the graph in the file: integers, whose sums are exact.
        macs: MACs that the part adds: integers, whose sums are exact.
        energy_uj: Energy that the part adds; None if the profile has no energy costs.
    """

    link: str
    presence: tuple[Presence, ...]
    choices: tuple[Choice, ...]
    latency_us: NDArray[np.float64]
    latency_std_us: NDArray[np.float64] | None
    held_bytes: NDArray[np.float64]
    arena_bytes: NDArray[np.float64]
    file_bytes: NDArray[np.float64]
    macs: NDArray[np.float64]
    energy_uj: NDArray[np.float64] | None

    def present(self, space: SearchSpace, vectors: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return whether each subnet has a part at the link, (subnets,).

        Args:
            space: The search space of the arcs.
            vectors: Subnets as `SearchSpace.encode` returns them, (subnets, choices).
        """
        present = np.ones(len(vectors), dtype=bool)
        for condition in self.presence:
            present &= vectors[:, space.choices.index(condition.choice)] >= condition.first
        return present

    def of(self, values: NDArray[np.float64], space: SearchSpace, vectors: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return what the part at the link adds to each subnet, (subnets,): 0 if there is none.

        Args:
            values: One of the arrays of these costs.
            space: The search space of the arcs.
            vectors: Subnets as `SearchSpace.encode` returns them, (subnets, choices).
        """
        columns = [space.choices.index(choice) for choice in self.choices]
        found = values[tuple(vectors[:, column] for column in columns)]
        return np.where(self.present(space, vectors), found, 0.0)
