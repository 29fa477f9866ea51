"""Timing many models in interleaved rounds, so that a drift of the machine affects all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ModelInput, Session

VISIT_SECONDS = 0.0015
"""Each visit to a model repeats it for about this long, within `REPEATS`. Short, because a machine's speed changes
within tenths of a second, and the 17 visits that share one drift should see the same speed."""

REPEATS = (3, 50)
"""Fewest and most runs of a visit. Three have a median that one interrupted run does not change. Fifty bound the
numbers that are kept of a model of microseconds, whose median gains nothing from more."""

_NEIGHBOURS = 8
"""Visits before and after a visit, in its round, that show how fast the machine was at that moment. With 16 neighbours
in all repeatability was 3.2 %, with 4, 6, 8, 12 it was 4.4, 4.1, 3.5, 3.4 % (`benchmarks/README.md`)."""

_PASSES = 2
"""Drift and latencies depend on each other: the first pass takes medians over raw visits, the second over corrected
ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Latencies of some models on one machine.

    Attributes:
        latency_us: (models,) medians over rounds, after each visit was divided by the machine's drift at that moment.
        differences: (models,) relative differences between the medians of odd and even rounds.
        slowdown: Drift of the last third of the rounds over that of the first: 1 on a steady machine, above 1 on a
            machine that gets hot.
    """

    latency_us: NDArray[np.float64]
    differences: NDArray[np.float64]
    slowdown: float

    def repeatability_p95(self, models: slice = slice(None)) -> float:
        """95th percentile of the differences of `models`, by default all of them."""
        return float(np.percentile(self.differences[models], 95))


def visit(session: Session, batch: ModelInput) -> list[float]:
    """Warm up with one run, then run repeatedly for about `VISIT_SECONDS`; microseconds of each run."""
    warm_up = _run_us(session, batch)
    repeats = min(max(int(VISIT_SECONDS * 1e6 / warm_up), REPEATS[0]), REPEATS[1])
    return [_run_us(session, batch) for _ in range(repeats)]


def summarise(rounds: Sequence[Sequence[float]], orders: Sequence[Sequence[int]]) -> Timing:
    """Latencies from visits to each model in each of at least three rounds.

    The speed of a shared machine changes within tenths of a second. A visit's drift is the median, over its neighbours
    in time, of their times relative to their models' medians. The visit itself is not one of its neighbours, because
    that would hide its own noise.

    Args:
        rounds: (rounds, models) microseconds.
        orders: (rounds, models) indices of the models, in the order in which each round visited them.
    """
    times, order = np.array(rounds, dtype=np.float64), np.array(orders, dtype=np.intp)
    steady = times
    for _ in range(_PASSES):
        relative = np.take_along_axis(times / np.median(steady, axis=0), order, axis=1)
        drift = np.empty_like(times)
        np.put_along_axis(drift, order, _drift(relative), axis=1)
        steady = times / drift
    odd, even = np.median(steady[1::2], axis=0), np.median(steady[0::2], axis=0)
    speed = np.median(drift, axis=1)
    third = max(1, len(speed) // 3)
    return Timing(
        latency_us=np.median(steady, axis=0),
        differences=2 * np.abs(odd - even) / (odd + even),
        slowdown=float(np.median(speed[-third:]) / np.median(speed[:third])),
    )


def _drift(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rounds, visits) drift of each visit, from relative times in the order of visits; 1 if a round is one visit."""
    visits = relative.shape[1]
    size = min(2 * _NEIGHBOURS + 1, visits)
    if size == 1:
        return np.ones_like(relative)
    here = np.arange(visits)[:, None]
    near = np.clip(here - _NEIGHBOURS, 0, visits - size) + np.arange(size)
    others = near[near != here].reshape(visits, size - 1)
    return np.asarray(np.median(relative[:, others], axis=2))


def run_for(session: Session, batch: ModelInput, seconds: float) -> NDArray[np.float64]:
    """Run for `seconds` without a pause; (runs,) microseconds of each run."""
    end = time.perf_counter() + seconds
    times = [_run_us(session, batch)]
    while time.perf_counter() < end:
        times.append(_run_us(session, batch))
    return np.array(times)


def _run_us(session: Session, batch: ModelInput) -> float:
    start = time.perf_counter_ns()
    session.run(batch)
    return max(time.perf_counter_ns() - start, 1) / 1e3


def medians(runs: Sequence[Sequence[float]]) -> list[float]:
    """The median of the runs of each model."""
    return [statistics.median(times) for times in runs]
