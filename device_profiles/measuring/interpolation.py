"""From the measured latencies of some parts to those of all: a Gaussian process on the residual of the roofline."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.operators import Workload

_AMOUNT_UNIT = 1e3
"""Below about a thousand MACs or elements a kernel's time is its overhead, so log(1 + amount / 1000) is nearly flat
there."""

_LENGTH, _LENGTHS = 3.0, (0.3, 30.0)
"""Start and bounds of the length scales, in standard deviations of a feature. A shorter scale would follow single
parts, a longer one is a feature without influence."""

_VARIANCE, _VARIANCES = 0.1, (1e-3, 1e2)
"""Start and bounds of the residual's variance, relative to that of the measured parts, to which it is normalised."""

_NOISE, _NOISES = 1e-3, (1e-5, 1e-1)
"""Start and bounds of the variance of the noise, relative likewise. Parts are medians of many visits, so it is
small."""

_SMOOTHNESS = 2.5
"""The Matern kernel of twice differentiable functions: smooth like a latency over sizes, yet not analytic as the
Gaussian kernel, which overshoots at steps such as those of vector lengths (Rasmussen and Williams, section 4.2)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """Estimated latencies of parts.

    Attributes:
        latency_us: (parts,) microseconds.
        relative_std: (parts,) standard deviations of the estimates, relative to them.
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

    The logarithm of measured over roofline latency is modelled as a smooth function of the logarithms of the amounts
    that each kind of kernel computes, moves and holds (Rasmussen and Williams, "Gaussian Processes for Machine
    Learning", 2006, chapter 2; a Matern kernel with one length scale per feature, fitted by marginal likelihood).

    Args:
        known: Measured parts.
        latency_us: (known,) measured latencies, positive.
        known_roofline_us: (known,) roofline latencies, positive, up to a common factor.
        wanted: Any parts; they may include measured ones.
        wanted_roofline_us: (wanted,) roofline latencies, up to the same factor.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    features = part_features(known)
    centre, scale = features.mean(axis=0), features.std(axis=0)
    used = scale > 0
    target = np.log(latency_us / known_roofline_us)
    smooth = Matern(np.full(int(used.sum()), _LENGTH), _LENGTHS, nu=_SMOOTHNESS)
    kernel = ConstantKernel(_VARIANCE, _VARIANCES) * smooth + WhiteKernel(_NOISE, _NOISES)
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound: the feature has no influence
        process.fit(((features - centre) / np.where(used, scale, 1))[:, used], target)
    rows = ((part_features(wanted) - centre) / np.where(used, scale, 1))[:, used]
    mean, std = process.predict(rows, return_std=True)
    return Estimate(latency_us=wanted_roofline_us * np.exp(mean), relative_std=np.asarray(std))


def part_features(workloads: Sequence[Workload]) -> NDArray[np.float64]:
    """(parts, features): for each kind of kernel the logarithms of MACs, of moved and of held elements, and the number
    of operators; then the logarithms of the sizes of input and output."""
    return np.array([_features(workload) for workload in workloads])


def _features(workload: Workload) -> list[float]:
    found: list[float] = []
    for total in workload.totals:
        amounts = (total.macs, total.moved_elements, total.weight_elements)
        found += [*(float(np.log1p(amount / _AMOUNT_UNIT)) for amount in amounts), float(total.operators)]
    sizes = (workload.input_elements, float(np.prod(workload.output_shape)))
    return [*found, *(float(np.log(size)) for size in sizes)]
