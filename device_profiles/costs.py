"""What a subnet takes on a device: the record that budgets are held against. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What one subnet takes on one device, at batch 1.

    Attributes:
        load_us: from the file to a session that is ready; None where nobody measured it.
        latency_std_us: standard deviation of the latency around the prediction; None where nobody knows.
        energy_uj: microjoules of one inference; None where the profile has no figures for it.
    """

    latency_us: float
    peak_memory_bytes: int
    file_bytes: int
    macs: int
    load_us: float | None = None
    latency_std_us: float | None = None
    energy_uj: float | None = None

    def latency_bound_us(self, confidence: float) -> float:
        """What the latency stays below with that probability; the prediction itself where no deviation is known."""
        return self.latency_us + NormalDist().inv_cdf(confidence) * (self.latency_std_us or 0.0)

    def kept_probability(self, limit_us: float) -> float | None:
        """The probability that the latency is at most `limit_us`; None where no deviation is known."""
        if not self.latency_std_us:
            return None
        return NormalDist(self.latency_us, self.latency_std_us).cdf(limit_us)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostArrays:
    """Costs of many subnets, (subnets,) each.

    Attributes:
        latency_std_us: None where nobody knows.
        energy_uj: None where the profile has no figures for it.
    """

    latency_us: NDArray[np.float64]
    peak_memory_bytes: NDArray[np.float64]
    file_bytes: NDArray[np.float64]
    macs: NDArray[np.float64]
    latency_std_us: NDArray[np.float64] | None = None
    energy_uj: NDArray[np.float64] | None = None
