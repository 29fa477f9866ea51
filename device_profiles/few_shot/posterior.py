"""A device from few measured networks: a closed-form empirical-Bayes update of a prior over known devices.

Latencies are additive: a network is a row of a design (which parts it has, and 1 for the constant), a device a vector
of what each column costs. Over devices that vector is normal,

    costs / scale ~ N(mean, shared shared' + diag(own^2)),    latency of a network = row . costs (1 + noise N(0, 1)),

where `shared` holds the known devices' deviations from their mean, and whatever structure the caller knows. The scale
of a new device is free. Ten measured networks then leave ten linear equations to solve. Empirical Bayes after Robbins
(1956) and Efron and Morris (1973); networks to measure are chosen greedily for the least total variance that remains.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

FEWEST_NETWORKS = 5
"""With fewer, intervals are wide."""

_SCALE_STD = 0.3
"""Relative: how far a new device's scale is from the median ratio of its measurements to the prior."""

_NOISES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
_USUAL_NOISE, _NOISE_SPREAD = 0.02, 1.0
"""Log-normal prior of the noise: its median, and the standard deviation of the logarithm."""

_OWN_CHOICES, _STRUCTURE_CHOICES = (0.02, 0.07, 0.2), (0.0, 0.05, 0.15)
_FLOOR = 0.1
_FEWEST_DEVICES = 3
_JUDGED_NETWORKS, _JUDGED_DRAWS, _JUDGED_MOST = 10, 4, 120
_SURPRISE_LIMIT = 5.0
"""Standard deviations: farther is no worse, so that a few disturbed measurements do not decide."""

_USUAL_STRETCH = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Freedom:
    """How far a new device may be from what known ones span.

    Attributes:
        own: relative standard deviation of each column's own deviation.
        structure: standard deviation along each direction of the structure.
    """

    own: float
    structure: float


_WIDE = Freedom(own=0.2, structure=0.15)
"""Where too few measured devices are known to choose by."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownDevice:
    """A device that many networks were measured on, or that has a table.

    Attributes:
        name: for people.
        costs_us: (columns,) microseconds of each column of the design.
        design: (networks, columns) of networks that it was measured on.
        latency_us: (networks,) of these.
        measured: whether it is a real device; those that are modelled tell nothing of how far real ones deviate.
    """

    name: str
    costs_us: Matrix
    design: Matrix
    latency_us: Matrix
    measured: bool = True
    average: Matrix = field(init=False)
    """(columns,), of its networks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "average", self.design.mean(axis=0))

    @property
    def scale_us(self) -> float:
        """The median of its networks' latencies."""
        return float(np.median(self.latency_us))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prior:
    """What is believed of a device that nobody measured, in units of its own scale.

    Attributes:
        mean: (columns,).
        shared: (columns, directions), deviations that columns have in common.
        own: (columns,), standard deviation of each column's own deviation.
        scales_us: (devices,) of the known devices.
        freedom: that was chosen.
        structure: (columns, directions) that was given.
    """

    mean: Matrix
    shared: Matrix
    own: Matrix
    scales_us: Matrix
    freedom: Freedom
    structure: Matrix


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posterior:
    """What is known of a device after some of its networks were measured.

    The covariance of the costs is `shared shared' + diag(own^2) - learnt learnt'`.

    Attributes:
        mean_us: (columns,).
        shared_us: (columns, directions).
        own_us: (columns,).
        learnt_us: (columns, measured networks).
        noise: relative standard deviation of a network's latency around its sum.
    """

    mean_us: Matrix
    shared_us: Matrix
    own_us: Matrix
    learnt_us: Matrix
    noise: float

    def predict(self, design: Matrix) -> tuple[Matrix, Matrix]:
        """Mean and standard deviation of latencies in microseconds, (networks,) each, for (networks, columns)."""
        mean = design @ self.mean_us
        gained = ((design @ self.shared_us) ** 2).sum(axis=1) + design**2 @ self.own_us**2
        lost = ((design @ self.learnt_us) ** 2).sum(axis=1)
        return mean, np.sqrt(np.maximum(gained - lost, 0.0) + (self.noise * mean) ** 2)

    def column_std_us(self) -> Matrix:
        """Standard deviation of each column's cost, (columns,) microseconds."""
        gained = (self.shared_us**2).sum(axis=1) + self.own_us**2
        return np.asarray(np.sqrt(np.maximum(gained - (self.learnt_us**2).sum(axis=1), 0.0)))


def fit_costs(design: Matrix, latency_us: Matrix, start_us: Matrix, own: float) -> Matrix:
    """Costs of the columns for one device, shrunk towards `start_us`.

    Args:
        design: (networks, columns), any number of networks.
        latency_us: (networks,).
        start_us: (columns,), not negative.
        own: relative standard deviation of a column around its start.

    Returns:
        (columns,) in microseconds.
    """
    expected = design @ start_us
    spread = own * _floored(start_us, design.mean(axis=0))
    scaled = design * spread / latency_us[:, None]
    residual = 1 - expected / latency_us
    noise = _USUAL_NOISE**2
    if len(design) <= design.shape[1]:
        weights = np.linalg.solve(scaled @ scaled.T + noise * np.eye(len(design)), residual)
        return np.asarray(start_us + spread * (scaled.T @ weights))
    gram = scaled.T @ scaled + noise * np.eye(design.shape[1])
    return np.asarray(start_us + spread * np.linalg.solve(gram, scaled.T @ residual))


def fit_prior(devices: Sequence[KnownDevice], structure: Matrix | None = None, seed: int = 0) -> Prior:
    """The prior that `devices` span; its freedom is chosen by leaving each measured device out, from three of them on.

    A device that is left out gets some random networks "measured", and the likelihood of its others counts.

    Args:
        devices: at least one, all of one design.
        structure: (columns, directions), costs of directions in which any device may deviate, in any unit.
        seed: of the random networks.
    """
    directions = np.zeros((devices[0].costs_us.size, 0)) if structure is None else structure
    if sum(device.measured for device in devices) < _FEWEST_DEVICES:
        return _prior(devices, directions, _WIDE)
    choices = itertools.product(_OWN_CHOICES, _STRUCTURE_CHOICES if directions.size else (0.0,))
    tried = [Freedom(own=own, structure=structure) for own, structure in choices]
    return _prior(devices, directions, max(tried, key=lambda f: _left_out_likelihood(devices, directions, f, seed)))


def update(prior: Prior, design: Matrix, latency_us: Matrix, stretch: float = 1.0) -> Posterior:
    """Condition on measured networks; the noise is the most likely one of a grid.

    Args:
        prior: of the same columns.
        design: (networks, columns), at least one.
        latency_us: (networks,), positive.
        stretch: what standard deviations are multiplied by, see `stretch_of`.
    """
    expected = design @ prior.mean
    scale = float(np.median(latency_us / expected))
    residual = latency_us / (scale * expected) - 1
    relative = design / expected[:, None]
    shared = np.column_stack([prior.shared, _SCALE_STD * prior.mean])
    cross = _covariance_with(relative, shared, prior.own)
    roots: list[Matrix] = [
        np.asarray(np.linalg.cholesky(relative @ cross + noise**2 * np.eye(len(residual)))) for noise in _NOISES
    ]
    likely = [_noise_likelihood(root, residual, noise) for root, noise in zip(roots, _NOISES, strict=True)]
    best = int(np.argmax(likely))
    learnt: Matrix = np.asarray(np.linalg.solve(roots[best], cross.T).T)
    return Posterior(
        mean_us=scale * (prior.mean + learnt @ np.linalg.solve(roots[best], residual)),
        shared_us=stretch * scale * shared,
        own_us=stretch * scale * prior.own,
        learnt_us=stretch * scale * learnt,
        noise=stretch * _NOISES[best],
    )


def stretch_of(devices: Sequence[KnownDevice], prior: Prior, measured: int, seed: int = 0) -> float:
    """How many times wider standard deviations must be for 90 % of what is not measured to stay below its bound.

    Each device is left out in turn, `measured` of its random networks are "measured", and the surprise of the others
    is looked at: the larger of what 90 % of all surprises need, and 1.

    Args:
        devices: that `prior` was fitted to; fewer than three measured ones tell nothing: then the usual stretch.
        prior: for its freedom and structure.
        measured: how many networks a new device has.
        seed: of the random networks.
    """
    if sum(device.measured for device in devices) < _FEWEST_DEVICES:
        return _USUAL_STRETCH
    surprises = [
        (truth - mean) / std for truth, mean, std in _left_out(devices, prior.structure, prior.freedom, measured, seed)
    ]
    return max(1.0, float(np.quantile(np.concatenate(surprises), 0.9)) / NormalDist().inv_cdf(0.9))


def suggest(prior: Prior, design: Matrix, count: int, measured: Matrix | None = None) -> list[int]:
    """Which networks to measure next on a new device: greedily, what leaves the least variance over all of them.

    Args:
        prior: of the same columns.
        design: (networks, columns) to choose from.
        count: how many, at most as many as there are networks.
        measured: (networks, columns) of those that are measured already; their latencies make no difference.

    Returns:
        Rows of `design`, the most telling first.
    """
    everything = design if measured is None else np.concatenate([design, measured])
    relative = everything / (everything @ prior.mean)[:, None]
    shared = np.column_stack([prior.shared, _SCALE_STD * prior.mean])
    covariance = relative @ _covariance_with(relative, shared, prior.own)
    for known in range(len(design), len(everything)):
        covariance = _conditioned(covariance, known)
    covariance = covariance[: len(design), : len(design)]
    chosen: list[int] = []
    for _ in range(min(count, len(design))):
        gains = (covariance**2).sum(axis=0) / (np.diag(covariance) + _USUAL_NOISE**2)
        gains[chosen] = -1
        chosen.append(int(np.argmax(gains)))
        covariance = _conditioned(covariance, chosen[-1])
    return chosen


def _conditioned(covariance: Matrix, known: int) -> Matrix:
    column = covariance[:, known]
    return np.asarray(covariance - np.outer(column, column) / (column[known] + _USUAL_NOISE**2))


def _prior(devices: Sequence[KnownDevice], structure: Matrix, freedom: Freedom) -> Prior:
    scales = np.array([device.scale_us for device in devices])
    costs = np.stack([device.costs_us for device in devices]) / scales[:, None]
    mean = costs.mean(axis=0)
    deviations = (costs - mean).T / np.sqrt(max(len(devices) - 1, 1))
    average = np.mean([device.average for device in devices], axis=0)
    sizes = np.abs(average @ structure)
    directions = freedom.structure * structure / np.where(sizes > 0, sizes, 1.0)
    return Prior(
        mean=mean,
        shared=np.column_stack([deviations, directions]),
        own=freedom.own * _floored(mean, average),
        scales_us=scales,
        freedom=freedom,
        structure=structure,
    )


def _floored(costs: Matrix, average: Matrix) -> Matrix:
    """Magnitudes of costs, none below what a column of an average network costs on average, times `_FLOOR`."""
    usual = abs(float(average @ costs)) / max(float(average.sum()), 1.0)
    return np.maximum(np.abs(costs), _FLOOR * usual)


def _covariance_with(relative: Matrix, shared: Matrix, own: Matrix) -> Matrix:
    """(columns, networks): covariance of the columns' costs with the networks' relative latencies."""
    return np.asarray(shared @ (relative @ shared).T + (own**2)[:, None] * relative.T)


def _noise_likelihood(root: Matrix, residual: Matrix, noise: float) -> float:
    """Logarithm, of residuals whose covariance has the Cholesky factor `root`, and of the noise itself."""
    step = np.linalg.solve(root, residual)
    unusual = np.log(noise / _USUAL_NOISE) / _NOISE_SPREAD
    return float(-0.5 * step @ step - np.log(np.diag(root)).sum() - 0.5 * unusual**2)


def _left_out_likelihood(devices: Sequence[KnownDevice], structure: Matrix, freedom: Freedom, seed: int) -> float:
    """Mean logarithm of the density of relative latencies that were not measured."""
    found = []
    for truth, mean, std in _left_out(devices, structure, freedom, _JUDGED_NETWORKS, seed):
        surprise = np.minimum(np.abs(truth - mean) / std, _SURPRISE_LIMIT)
        found.append(float(np.mean(-0.5 * surprise**2 - np.log(std / truth))))
    return float(np.mean(found))


def _left_out(
    devices: Sequence[KnownDevice], structure: Matrix, freedom: Freedom, measured: int, seed: int
) -> Iterator[tuple[Matrix, Matrix, Matrix]]:
    """Truth, mean and standard deviation of networks of a device that is left out, `measured` others being known."""
    rng = np.random.default_rng(seed)
    for index, device in enumerate(devices):
        if not device.measured:
            continue
        prior = _prior([*devices[:index], *devices[index + 1 :]], structure, freedom)
        for _ in range(_JUDGED_DRAWS):
            order = rng.permutation(len(device.design))[:_JUDGED_MOST]
            known, judged = order[:measured], order[measured:]
            mean, std = update(prior, device.design[known], device.latency_us[known]).predict(device.design[judged])
            yield device.latency_us[judged], mean, std
