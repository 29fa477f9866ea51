"""A device from a few measured networks: a closed-form empirical-Bayes update of a prior over known devices.

Latencies are additive: a network is a row of a design matrix (which parts it has, and 1 for the constant), and a device
is a vector with the cost of each column. Over devices this vector is normally distributed,

    costs / scale ~ N(mean, shared shared' + diag(own^2)),    latency of a network = row . costs (1 + noise N(0, 1)),

where `shared` holds the deviations of the known devices from their mean, and any structure that the caller knows. The
scale of a new device is free. Conditioning on ten measured networks then means solving ten linear equations. Source:
empirical Bayes after Robbins (1956) and Efron and Morris (1973). Networks to measure are chosen greedily, so that the
total remaining variance is smallest.

Constants below that state a range were varied over it on HELP's latencies (5,000 networks of the FBNet space; nine
known and three new devices with 5 or 10 networks, and eight measured devices left out in turn). The mean error of
predictions changed by at most 0.3 percentage points and their rank correlation by at most 0.006.
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
"""With fewer measured networks, intervals are wide; 5 to 10 is what the method is evaluated with."""

_SCALE_STD = 0.3
"""Relative standard deviation of a new device's scale around the median ratio of its measurements to the prior. It only
has to leave the scale free; tried from 0.1 to 1."""

_NOISES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
"""Grid of the relative noise: from less than the repeatability of a quiet machine to phones whose latencies are whole
milliseconds. Twice as many steps gave the same predictions."""

_USUAL_NOISE, _NOISE_SPREAD = 0.02, 1.0
"""Log-normal prior of the noise: its median, and the standard deviation of its logarithm. An additive model fits the
networks of one machine to about 2 %. Tried from 0.01 to 0.04, and from 0.5 to 3."""

_OWN_CHOICES, _STRUCTURE_CHOICES = (0.02, 0.07, 0.2), (0.0, 0.05, 0.15)
"""Grids of the freedom that is chosen from the known devices: from nearly none to 20 % a column, in factors of three. A
grid with seven steps from 0.01 to 0.4 chose the same value. Each value of `own` alone gives nearly the same
predictions; a larger one widens intervals."""

_FLOOR = 0.1
"""Smallest magnitude of a column's cost in deviations, relative to the average column: a column that costs almost
nothing on the known devices may cost something on a new one. Tried from 0.02 to 0.5."""

_FEWEST_DEVICES = 3
"""Fewest measured devices for leaving one out: the remaining two still span a deviation."""

_LEFT_OUT_MEASURED = 10
"""Networks that count as measured on a left-out device when the freedom is chosen; as many as are recommended for a new
device. Tried from 5 to 20."""

_LEFT_OUT_DRAWS, _LEFT_OUT_NETWORKS = 4, 120
"""Random draws for each left-out device, and networks in each draw. They trade time for variance of the stretch: 12
draws or 60 to 500 networks changed the share below a bound by at most 2 percentage points, one draw by up to 5."""

_SURPRISE_LIMIT = 5.0
"""Deviations beyond so many standard deviations count as this many, so that a few disturbed measurements do not decide
the choice. Tried from 3 to 10."""

_USUAL_STRETCH = 1.5
"""Stretch if there are too few known devices to estimate it. With random pairs of known devices in HELP's latencies, a
third device needed 1.0 in the median and 1.3 at the 80th percentile; with 1.5 the bound held for 95 instead of 90 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freedom:
    """How far a new device may deviate from what the known devices span.

    Attributes:
        own: Relative standard deviation of the deviation that each column has on its own.
        structure: Standard deviation along each direction of the structure, relative to an average network's latency.
    """

    own: float
    structure: float


_WIDE = Freedom(own=0.2, structure=0.15)
"""Freedom if there are too few measured devices to choose it from: the widest of the grids."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownDevice:
    """A device on which many networks were measured, or which has a table.

    Attributes:
        name: Name for people.
        costs_us: Cost of each column of the design, (columns,) microseconds.
        design: Rows of the networks that were measured on it, (networks, columns).
        latency_us: Latencies of these networks, (networks,).
        measured: Whether the latencies were measured on a real device. Modelled devices do not show how far real ones
            deviate.
        average: Mean of the rows of `design`, (columns,).
    """

    name: str
    costs_us: Matrix
    design: Matrix
    latency_us: Matrix
    measured: bool = True
    average: Matrix = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "average", self.design.mean(axis=0))

    @property
    def scale_us(self) -> float:
        """The median latency of its networks, microseconds."""
        return float(np.median(self.latency_us))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prior:
    """The distribution of the costs of a device before any of its networks is measured, relative to its scale.

    Attributes:
        mean: Mean cost of each column, (columns,).
        shared: Deviations that columns have in common, (columns, directions).
        own: Standard deviation of the deviation that each column has on its own, (columns,).
        scales_us: Scales of the known devices, (devices,) microseconds.
        freedom: The freedom that was chosen.
        structure: The structure that was given, (columns, directions).
    """

    mean: Matrix
    shared: Matrix
    own: Matrix
    scales_us: Matrix
    freedom: Freedom
    structure: Matrix


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posterior:
    """The distribution of the costs of a device after some of its networks were measured.

    The covariance of the costs is `shared shared' + diag(own^2) - learnt learnt'`.

    Attributes:
        mean_us: Mean cost of each column, (columns,).
        shared_us: Prior deviations that columns have in common, (columns, directions).
        own_us: Prior standard deviation that each column has on its own, (columns,).
        learnt_us: What the measurements remove from the covariance, (columns, measured networks).
        noise: Relative standard deviation of a network's latency around the sum of its costs.
    """

    mean_us: Matrix
    shared_us: Matrix
    own_us: Matrix
    learnt_us: Matrix
    noise: float

    def predict(self, design: Matrix) -> tuple[Matrix, Matrix]:
        """Return mean and standard deviation of latencies, (networks,) microseconds each.

        Args:
            design: Rows of the networks, (networks, columns).
        """
        mean = design @ self.mean_us
        gained = ((design @ self.shared_us) ** 2).sum(axis=1) + design**2 @ self.own_us**2
        lost = ((design @ self.learnt_us) ** 2).sum(axis=1)
        return mean, np.sqrt(np.maximum(gained - lost, 0.0) + (self.noise * mean) ** 2)

    def column_std_us(self) -> Matrix:
        """Standard deviation of each column's cost, (columns,) microseconds."""
        gained = (self.shared_us**2).sum(axis=1) + self.own_us**2
        return np.asarray(np.sqrt(np.maximum(gained - (self.learnt_us**2).sum(axis=1), 0.0)))


def fit_costs(design: Matrix, latency_us: Matrix, start_us: Matrix, own: float) -> Matrix:
    """Fit the costs of the columns for one device, shrunk towards `start_us`.

    Args:
        design: Rows of the measured networks, (networks, columns), any number of networks.
        latency_us: Their latencies, (networks,), positive.
        start_us: Costs to start from, (columns,), not negative.
        own: Relative standard deviation of a column's cost around its start.

    Returns:
        (columns,) microseconds.
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
    """Fit the prior that `devices` span. With three or more measured devices, its freedom is chosen by leaving one out.

    Some random networks of the left-out device count as measured, and the likelihood of the others is maximised.

    Args:
        devices: At least one device; all have the same columns.
        structure: Costs of directions in which any device may deviate, in any unit, (columns, directions).
        seed: Seed of the random networks.
    """
    directions = np.zeros((devices[0].costs_us.size, 0)) if structure is None else structure
    if sum(device.measured for device in devices) < _FEWEST_DEVICES:
        return _prior(devices, directions, _WIDE)
    choices = itertools.product(_OWN_CHOICES, _STRUCTURE_CHOICES if directions.size else (0.0,))
    tried = [Freedom(own=own, structure=structure) for own, structure in choices]
    return _prior(devices, directions, max(tried, key=lambda f: _left_out_likelihood(devices, directions, f, seed)))


def update(prior: Prior, design: Matrix, latency_us: Matrix, stretch: float = 1.0) -> Posterior:
    """Condition the prior on measured networks. The noise is the most likely value of a grid.

    Args:
        prior: Prior with the same columns.
        design: Rows of the measured networks, (networks, columns), at least one.
        latency_us: Their latencies, (networks,), positive.
        stretch: Factor on all standard deviations, see `stretch_of`.
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
    """Return the factor on standard deviations with which 90 % of the networks stay below their 90 % bound; at least 1.

    Each device is left out in turn, `measured` of its networks, drawn at random, count as measured, and the deviations
    of the others from their predictions are pooled.

    Args:
        devices: The devices that `prior` was fitted to. With fewer than three measured ones a constant is returned.
        prior: Prior whose freedom and structure are used.
        measured: Number of networks that are measured on a new device.
        seed: Seed of the random networks.
    """
    if sum(device.measured for device in devices) < _FEWEST_DEVICES:
        return _USUAL_STRETCH
    surprises = [
        (truth - mean) / std for truth, mean, std in _left_out(devices, prior.structure, prior.freedom, measured, seed)
    ]
    return max(1.0, float(np.quantile(np.concatenate(surprises), 0.9)) / NormalDist().inv_cdf(0.9))


def suggest(prior: Prior, design: Matrix, count: int, measured: Matrix | None = None) -> list[int]:
    """Choose the networks to measure next on a new device: greedily, so that the least total variance remains.

    Args:
        prior: Prior with the same columns.
        design: Rows of the networks to choose from, (networks, columns).
        count: Number of networks to choose; no more than there are in `design` are returned.
        measured: Rows of the networks that are measured already, (networks, columns). Their latencies do not matter.

    Returns:
        Indices into `design`, the most informative network first.
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
    """Magnitudes of costs, none below `_FLOOR` times the average cost of a column in an average network."""
    usual = abs(float(average @ costs)) / max(float(average.sum()), 1.0)
    return np.maximum(np.abs(costs), _FLOOR * usual)


def _covariance_with(relative: Matrix, shared: Matrix, own: Matrix) -> Matrix:
    """(columns, networks): covariance of the costs of columns with the relative latencies of networks."""
    return np.asarray(shared @ (relative @ shared).T + (own**2)[:, None] * relative.T)


def _noise_likelihood(root: Matrix, residual: Matrix, noise: float) -> float:
    """Log-likelihood of residuals whose covariance has the Cholesky factor `root`, plus the log-prior of the noise."""
    step = np.linalg.solve(root, residual)
    unusual = np.log(noise / _USUAL_NOISE) / _NOISE_SPREAD
    return float(-0.5 * step @ step - np.log(np.diag(root)).sum() - 0.5 * unusual**2)


def _left_out_likelihood(devices: Sequence[KnownDevice], structure: Matrix, freedom: Freedom, seed: int) -> float:
    """Mean log-density of the relative latencies that do not count as measured."""
    found = []
    for truth, mean, std in _left_out(devices, structure, freedom, _LEFT_OUT_MEASURED, seed):
        surprise = np.minimum(np.abs(truth - mean) / std, _SURPRISE_LIMIT)
        found.append(float(np.mean(-0.5 * surprise**2 - np.log(std / truth))))
    return float(np.mean(found))


def _left_out(
    devices: Sequence[KnownDevice], structure: Matrix, freedom: Freedom, measured: int, seed: int
) -> Iterator[tuple[Matrix, Matrix, Matrix]]:
    """Yield truth, mean and standard deviation for the networks of each left-out device, given `measured` others."""
    rng = np.random.default_rng(seed)
    for index, device in enumerate(devices):
        if not device.measured:
            continue
        prior = _prior([*devices[:index], *devices[index + 1 :]], structure, freedom)
        for _ in range(_LEFT_OUT_DRAWS):
            order = rng.permutation(len(device.design))[:_LEFT_OUT_NETWORKS]
            known, others = order[:measured], order[measured:]
            mean, std = update(prior, device.design[known], device.latency_us[known]).predict(device.design[others])
            yield device.latency_us[others], mean, std
