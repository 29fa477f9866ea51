"""The standard deviation of predicted latencies: of networks, and as a linear upper bound over the arcs of a chain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.latency_table import LatencyTable, TableUncertainty, summed
from device_profiles.workload.link_parts import ABSENT
from device_profiles.workload.parts import Part


class TableSpread:
    """Standard deviations from a few-shot table.

    Args:
        table: The table.
        uncertainty: The uncertainty of `table`.
        parts: Parts in the order of their numbers; the table must hold all of them.
    """

    def __init__(self, table: LatencyTable, uncertainty: TableUncertainty, parts: Sequence[Part]) -> None:
        place = {entry.id: index for index, entry in enumerate(table.parts)}
        order = [*(place[part.id] for part in parts), len(table.parts)]
        self._shared = np.array(uncertainty.shared_us, dtype=np.float64)[order]
        self._learnt = np.array(uncertainty.learnt_us, dtype=np.float64)[order]
        self._own = np.array(uncertainty.own_us, dtype=np.float64)[order]
        self._noise = uncertainty.noise

    def network_std_us(self, rows: NDArray[np.int32], latency_us: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return standard deviations of network latencies, (networks,) microseconds.

        Args:
            rows: Part numbers, (networks, links), -1 for no part.
            latency_us: Predicted latencies, (networks,).
        """
        shared = summed(rows, self._shared[:-1]) + self._shared[-1]
        learnt = summed(rows, self._learnt[:-1]) + self._learnt[-1]
        own = np.append(self._own[:-1] ** 2, 0.0)
        variance = (shared**2).sum(axis=1) - (learnt**2).sum(axis=1) + self._own[-1] ** 2
        for column in rows.T:
            times = (rows == column[:, None]).sum(axis=1)
            variance += np.where(column == ABSENT, 0.0, own[column] * times)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0) + (self._noise * latency_us) ** 2))

    def part_std_us(self, latency_us: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the terms of an upper bound, (parts,) microseconds.

        Their sum over a network's parts plus `constant_std_us` is at least the network's standard deviation, since the
        norm of a sum is at most the sum of the norms.

        Args:
            latency_us: Latency that each part adds, (parts,).
        """
        return np.asarray(self._norms()[:-1] + self._noise * np.abs(latency_us))

    def constant_std_us(self, constant_us: float) -> float:
        """Return the term of the upper bound that belongs to the constant."""
        return float(self._norms()[-1] + self._noise * abs(constant_us))

    def _norms(self) -> NDArray[np.float64]:
        variance = (self._shared**2).sum(axis=1) + self._own**2 - (self._learnt**2).sum(axis=1)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))
