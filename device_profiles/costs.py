"""The costs of a subnet on a device: the record that budgets are checked against. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The costs of one subnet on one device, at batch 1.

    Attributes:
        load_us: Time from the file to a session that is ready; None if it was not measured.
        latency_std_us: Standard deviation of the latency around the prediction; None if it is unknown.
        energy_uj: Energy of one inference, microjoules; None if the profile has no energy costs.
    """

    latency_us: float
    peak_memory_bytes: int
    file_bytes: int
    macs: int
    load_us: float | None = None
    latency_std_us: float | None = None
    energy_uj: float | None = None

    def latency_bound_us(self, confidence: float) -> float:
        """Return the latency that is not exceeded with this probability; the prediction if no deviation is known."""
        return self.latency_us + NormalDist().inv_cdf(confidence) * (self.latency_std_us or 0.0)

    def kept_probability(self, limit_us: float) -> float | None:
        """Return the probability that the latency is at most `limit_us`; None if no deviation is known."""
        if not self.latency_std_us:
            return None
        return NormalDist(self.latency_us, self.latency_std_us).cdf(limit_us)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostArrays:
    """The costs of many subnets, each array of shape (subnets,). The fields are those of `Costs`."""

    latency_us: NDArray[np.float64]
    peak_memory_bytes: NDArray[np.float64]
    file_bytes: NDArray[np.float64]
    macs: NDArray[np.float64]
    latency_std_us: NDArray[np.float64] | None = None
    energy_uj: NDArray[np.float64] | None = None
