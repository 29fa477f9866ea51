"""Timing many models against each other: interleaved rounds, so that a drift of the machine hits all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import Session

VISIT_SECONDS = 0.0015
"""Each visit to a model repeats it for about this long, within `REPEATS`."""

REPEATS = (3, 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Latencies of some models on one machine.

    Attributes:
        latency_us: (models,); the median over rounds, each round divided by its drift.
        differences: (models,); the relative difference between the medians of odd and even rounds.
        slowdown: drift of the last third of the rounds over that of the first: 1 on a steady machine, more on one
            that gets hot.
    """

    latency_us: NDArray[np.float64]
    differences: NDArray[np.float64]
    slowdown: float

    def repeatability_p95(self, models: slice = slice(None)) -> float:
        """95th percentile of the differences of some models."""
        return float(np.percentile(self.differences[models], 95))


def visit(session: Session, batch: NDArray[np.float32]) -> list[float]:
    """Warm up, then run some times in a row; microseconds of each run."""
    warm_up = _run_us(session, batch)
    repeats = min(max(int(VISIT_SECONDS * 1e6 / warm_up), REPEATS[0]), REPEATS[1])
    return [_run_us(session, batch) for _ in range(repeats)]


def summarise(rounds: Sequence[Sequence[float]]) -> Timing:
    """Latencies from `rounds` of one number of microseconds per model, at least three rounds.

    The drift of a round is the median over models of its time relative to the model's median over all rounds.
    """
    times = np.array(rounds, dtype=np.float64)
    drift = np.median(times / np.median(times, axis=0), axis=1)
    steady = times / drift[:, None]
    odd, even = np.median(steady[1::2], axis=0), np.median(steady[0::2], axis=0)
    third = max(1, len(drift) // 3)
    return Timing(
        latency_us=np.median(steady, axis=0),
        differences=2 * np.abs(odd - even) / (odd + even),
        slowdown=float(np.median(drift[-third:]) / np.median(drift[:third])),
    )


def run_for(session: Session, batch: NDArray[np.float32], seconds: float) -> NDArray[np.float64]:
    """Run without a pause for so long; (runs,) microseconds of each."""
    end = time.perf_counter() + seconds
    times = [_run_us(session, batch)]
    while time.perf_counter() < end:
        times.append(_run_us(session, batch))
    return np.array(times)


def _run_us(session: Session, batch: NDArray[np.float32]) -> float:
    start = time.perf_counter_ns()
    session.run(batch)
    return max(time.perf_counter_ns() - start, 1) / 1e3


def medians(runs: Sequence[Sequence[float]]) -> list[float]:
    """Of the runs of each model."""
    return [statistics.median(times) for times in runs]
