"""From the measured latencies of some parts to those of all: a Gaussian process on what the roofline leaves over."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.operators import Workload

_THOUSAND = 1e3
_LENGTHS = (0.3, 30.0)
"""Bounds of the length scales, in standard deviations of a feature."""
_NOISE = (1e-5, 1e-1)
"""Bounds of the noise of a measured logarithm."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """Latencies of parts.

    Attributes:
        latency_us: (parts,).
        relative_std: (parts,), of the estimate.
    """

    latency_us: NDArray[np.float64]
    relative_std: NDArray[np.float64]


def interpolate_latency(
    known: Sequence[Workload],
    latency_us: NDArray[np.float64],
    known_roofline_us: NDArray[np.float64],
    wanted: Sequence[Workload],
    wanted_roofline_us: NDArray[np.float64],
) -> Estimate:
    """Latencies of the parts `wanted`, from those of the parts `known`.

    The logarithm of measured over roofline latency is taken for a smooth function of the logarithms of what each kind
    of kernel computes, moves and holds (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006,
    chapter 2; a Matern kernel with one length scale per feature, fitted by marginal likelihood).

    Args:
        known: measured parts.
        latency_us: (known,), positive.
        known_roofline_us: (known,), positive, up to a common factor.
        wanted: any parts, the measured ones too.
        wanted_roofline_us: (wanted,), likewise.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    features = part_features(known)
    centre, scale = features.mean(axis=0), features.std(axis=0)
    used = scale > 0
    target = np.log(latency_us / known_roofline_us)
    kernel = ConstantKernel(0.1, (1e-3, 1e2)) * Matern(np.full(int(used.sum()), 3.0), _LENGTHS, nu=2.5) + WhiteKernel(
        1e-3, _NOISE
    )
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound says: this feature is idle
        process.fit(((features - centre) / np.where(used, scale, 1))[:, used], target)
    rows = ((part_features(wanted) - centre) / np.where(used, scale, 1))[:, used]
    mean, std = process.predict(rows, return_std=True)
    return Estimate(latency_us=wanted_roofline_us * np.exp(mean), relative_std=np.asarray(std))


def part_features(workloads: Sequence[Workload]) -> NDArray[np.float64]:
    """(parts, features): per kind of kernel the logarithms of MACs, moved and held elements, and the calls; the sizes
    of input and output."""
    return np.array([_features(workload) for workload in workloads])


def _features(workload: Workload) -> list[float]:
    found: list[float] = []
    for total in workload.totals:
        amounts = (total.macs, total.moved_elements, total.weight_elements)
        found += [*(float(np.log1p(amount / _THOUSAND)) for amount in amounts), float(total.operators)]
    sizes = (workload.input_elements, float(np.prod(workload.output_shape)))
    return [*found, *(float(np.log(size)) for size in sizes)]
