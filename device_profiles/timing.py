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
        repeatability_p95: 95th percentile over models of the relative difference between odd and even rounds.
    """

    latency_us: NDArray[np.float64]
    repeatability_p95: float


def time_round(sessions: Sequence[Session], inputs: Sequence[NDArray[np.float32]], order: Sequence[int]) -> list[float]:
    """Visit every session once, in `order`; the median microseconds of one run of each, in the order of `sessions`."""
    times = [0.0] * len(sessions)
    for index in order:
        times[index] = _visit(sessions[index], inputs[index])
    return times


def summarise(rounds: Sequence[Sequence[float]]) -> Timing:
    """Latencies from `rounds` of one number of microseconds per model, at least two rounds.

    The drift of a round is the median over models of its time relative to the model's median over all rounds.
    """
    times = np.array(rounds, dtype=np.float64)
    drift = np.median(times / np.median(times, axis=0), axis=1)
    steady = times / drift[:, None]
    odd, even = np.median(steady[1::2], axis=0), np.median(steady[0::2], axis=0)
    difference = 2 * np.abs(odd - even) / (odd + even)
    return Timing(latency_us=np.median(steady, axis=0), repeatability_p95=float(np.percentile(difference, 95)))


def _visit(session: Session, batch: NDArray[np.float32]) -> float:
    warm_up = _run_us(session, batch)
    repeats = min(max(int(VISIT_SECONDS * 1e6 / warm_up), REPEATS[0]), REPEATS[1])
    return statistics.median(_run_us(session, batch) for _ in range(repeats))


def _run_us(session: Session, batch: NDArray[np.float32]) -> float:
    start = time.perf_counter_ns()
    session.run(batch)
    return max(time.perf_counter_ns() - start, 1) / 1e3
