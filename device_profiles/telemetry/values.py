"""The latencies of one device as arrays, and weighted statistics of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOG_1000 = math.log(1000.0)
"""Latencies are compared as logarithms of ratios. A factor of 1000 is one step between the units s, ms, us and ns, so
this is the period of mistaken units, and the range on either side of the expectation in which outliers are modelled."""

FEW_ROWS = 20
"""From this many rows on, ranks give the median and its 95 % interval: with 20 rows the interval runs from the 6th to
the 14th row. With fewer rows it would span nearly all of them, and the fitted distribution says more."""

_FLOOR_US = 1e-3
"""One nanosecond: keeps the logarithm of a latency that was rounded to zero finite. Tried from 1e-6 to 1."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Values:
    """The rows of one device, equal rows as one entry.

    Attributes:
        latency_us: Finite latencies, at least 0, (entries,). Zeros count only if latencies are rounded.
        model: Index of the model, (entries,).
        count: Number of rows, (entries,).
        expected_us: Expected latency of each model, NaN if nothing is expected, (models,).
    """

    latency_us: Floats
    model: Ints
    count: Floats
    expected_us: Floats


def log_ratio(latency_us: Floats, expected_us: Floats) -> Floats:
    """Return log(latency / expected), elementwise."""
    return np.asarray(np.log(np.maximum(latency_us, _FLOOR_US) / expected_us))


def weighted_median(values: Floats, weights: Floats) -> float:
    """Return the median of `values`, each standing for `weights` rows."""
    return float(weighted_quantiles(values, weights, np.array([0.5]))[0])


def weighted_quantiles(values: Floats, weights: Floats, levels: Floats) -> Floats:
    """Return quantiles of `values`, each standing for `weights` rows.

    The middle of a value's rows is at the value; between values the quantile is interpolated.
    """
    order = np.argsort(values, kind="stable")
    sorted_weights = weights[order]
    ends = np.cumsum(sorted_weights)
    return np.asarray(np.interp(levels * ends[-1], ends - 0.5 * sorted_weights, values[order]))
