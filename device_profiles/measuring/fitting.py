"""Fitting the latency model to measured networks, shrunk towards a prior profile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHRINKAGE = 1e-3
"""Weight of the prior: a coefficient at twice its scaled prior costs as much as one network with a relative error of
sqrt(1e-3) = 3 %. So forty networks outweigh the prior, and a few do not."""

_RIDGES = tuple(10.0**power for power in range(-7, 1))
"""Candidate strengths, relative to columns of mean square 1: from practically none, at which only the numerical
solution is stabilised, to as strong as the data. Powers of ten are fine enough, as the error changes slowly with the
strength."""

FLOOR = 0.02
"""Smallest allowed coefficient, relative to the scaled prior. It keeps every rate finite: a kernel may be up to 50
times faster than the prior has it."""


def fit_latency(
    features: NDArray[np.float64], latency_us: NDArray[np.float64], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coefficients for `latency_features` by non-negative least squares on relative errors.

    The fit is for multipliers m of the prior, given s, the common multiplier that fits best by the median:
    minimise |features (prior m) / latency - 1|^2 + SHRINKAGE |m / s - 1|^2 subject to m >= FLOOR s.
    A column of zeros gets s times its prior.

    Args:
        features: (networks, columns) non-negative features.
        latency_us: (networks,) measured latencies, positive.
        prior: (columns,) positive coefficients.

    Returns:
        (columns,) positive coefficients, in microseconds per unit of each column.
    """
    from scipy.optimize import nnls

    shares = features * prior / latency_us[:, None]
    shares /= (scale := float(np.median(shares.sum(axis=1))))
    pull = np.sqrt(SHRINKAGE)
    system = np.vstack([shares, pull * np.eye(len(prior))])
    target = np.concatenate([1 - FLOOR * shares.sum(axis=1), np.full(len(prior), pull * (1 - FLOOR))])
    above_floor, _ = nnls(system, target)
    return np.asarray(prior / scale * (FLOOR + above_floor))


def fit_correction(sums: NDArray[np.float64], latency_us: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """A constant and coefficients that map sums over parts to latencies of networks.

    Ridge regression on relative errors, shrunk towards a coefficient of 1 for the parts' own latencies and 0 for
    everything else. The strength is chosen by leave-one-out cross-validation.

    Args:
        sums: (networks, terms) sums over a network's parts of their terms; the first term is a part's own latency.
        latency_us: (networks,) measured latencies.

    Returns:
        The constant in microseconds, and (terms,) coefficients.
    """
    columns = np.column_stack([np.ones(len(sums)), sums]) / latency_us[:, None]
    scale = np.sqrt((columns**2).mean(axis=0))
    scale[scale == 0] = 1
    system, start = columns / scale, np.zeros(columns.shape[1])
    start[1] = scale[1]
    residual = 1 - system @ start
    best = min(_RIDGES, key=lambda ridge: _left_out_error(system, residual, ridge))
    found = (start + _ridge_solution(system, residual, best)) / scale
    return float(found[0]), found[1:]


def _ridge_solution(system: NDArray[np.float64], target: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    gram = system.T @ system + ridge * len(system) * np.eye(system.shape[1])
    return np.asarray(np.linalg.solve(gram, system.T @ target))


def _left_out_error(system: NDArray[np.float64], target: NDArray[np.float64], ridge: float) -> float:
    """Mean squared error of each row predicted from all others (Golub, Heath and Wahba, 1979)."""
    gram = system.T @ system + ridge * len(system) * np.eye(system.shape[1])
    hat = system @ np.linalg.solve(gram, system.T)
    return float(np.mean(((target - hat @ target) / (1 - np.diag(hat))) ** 2))
