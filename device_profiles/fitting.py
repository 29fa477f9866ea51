"""Fitting the latency model to measured networks, shrunk towards a prior profile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHRINKAGE = 1e-3
"""Weight of the prior: the squared relative error that one coefficient at twice its scaled prior is worth."""

FLOOR = 0.02
"""Smallest allowed coefficient, relative to the scaled prior: keeps every rate finite."""


def fit_latency(
    features: NDArray[np.float64], latency_us: NDArray[np.float64], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coefficients for `latency_features` by non-negative least squares on relative errors.

    Multipliers m of the prior are sought, with s the one common multiplier that fits best by the median:
    minimise |features (prior m) / latency - 1|^2 + SHRINKAGE |m / s - 1|^2 subject to m >= FLOOR s.
    A column without any feature gets s times its prior.

    Args:
        features: (networks, columns), not negative.
        latency_us: (networks,), measured, positive.
        prior: (columns,), positive.

    Returns:
        (columns,), positive, in microseconds per unit of each column.
    """
    from scipy.optimize import nnls

    shares = features * prior / latency_us[:, None]
    shares /= (scale := float(np.median(shares.sum(axis=1))))
    pull = np.sqrt(SHRINKAGE)
    system = np.vstack([shares, pull * np.eye(len(prior))])
    target = np.concatenate([1 - FLOOR * shares.sum(axis=1), np.full(len(prior), pull * (1 - FLOOR))])
    above_floor, _ = nnls(system, target)
    return np.asarray(prior / scale * (FLOOR + above_floor))


def mean_relative_error(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> float:
    """Mean of |predicted - measured| / measured."""
    return float(np.mean(np.abs(predicted - measured) / measured))
