"""Gaussian process regression whose kernel is a weighted sum of given kernels, and whose noise is known in part.

The equations are those of Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), chapters 2 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_FLAT = 9.0
"""Prior variance of the constant around the mean of the values, in squared units: wide, so that it matters little."""
_SPREAD = 1.0
"""Standard deviation of the logarithm of a scale in its prior: a factor of e either way. It decides if scores are few,
and keeps scales away from 0 and infinity."""
_JITTER = 1e-5
"""Added variance, in squared units: 0.3 % of the values' spread. It keeps matrices well conditioned without noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel, of which the scale is to be found.

    Attributes:
        matrix: Covariances of the fitted points at scale 1, (points, points).
        typical: The scale that is most likely a priori, in units.
    """

    matrix: Array
    typical: float


class GaussianProcess:
    """A fitted Gaussian process: a constant, kernels with their scales, and noise.

    Args:
        values: The observed values, (points,).
        noise: The covariance of their known noise, (points, points).
        kernels: The kernels; the last one may be the identity, for what the others cannot explain.
        unit: The typical difference between values, greater than 0.

    Attributes:
        variances: The variance of each kernel, (kernels,): those that make the values most likely, given the prior.
        weights: What the covariances with the fitted points are multiplied with to predict, (points,).
        inverse: The inverse covariance of the values, (points, points).
        centre: The mean of the values; it is subtracted first.
        constant_variance: The prior variance of the constant around it.
    """

    def __init__(self, values: Array, noise: Array, kernels: Sequence[Kernel], unit: float) -> None:
        self.centre = float(values.mean())
        self._values = (values - self.centre) / unit
        self._fixed = noise / unit**2 + _FLAT + _JITTER * np.eye(len(values))
        self._kernels = [kernel.matrix for kernel in kernels]
        self.constant_variance = _FLAT * unit**2
        typical = np.log([kernel.typical for kernel in kernels])
        scales = np.exp(self._most_likely(typical))
        self.variances = scales**2 * unit**2
        inverse = np.linalg.inv(self._covariance(scales))
        self.inverse = inverse / unit**2
        self.weights = inverse @ self._values / unit

    def _most_likely(self, typical: Array) -> Array:
        from scipy.optimize import minimize

        limits = [(centre - 5 * _SPREAD, centre + 4 * _SPREAD) for centre in typical]
        found = minimize(self._loss, typical, args=(typical,), jac=True, method="L-BFGS-B", bounds=limits)
        return np.asarray(found.x)

    def _loss(self, logs: Array, typical: Array) -> tuple[float, Array]:
        """The negative log posterior density of the scales' logarithms and its gradient (equations 5.8 and 5.9)."""
        scales = np.exp(logs)
        covariance = self._covariance(scales)
        factor = np.linalg.cholesky(covariance)
        inverse = np.linalg.inv(covariance)
        weights = inverse @ self._values
        off = (logs - typical) / _SPREAD
        loss = self._values @ weights / 2 + np.log(np.diag(factor)).sum() + off @ off / 2
        slope = inverse - np.outer(weights, weights)
        gradient = [s**2 * np.vdot(slope, k) for s, k in zip(scales, self._kernels, strict=True)]
        return float(loss), np.array(gradient) + off / _SPREAD

    def _covariance(self, scales: Array) -> Array:
        return np.asarray(sum((s**2 * k for s, k in zip(scales, self._kernels, strict=True)), self._fixed))
