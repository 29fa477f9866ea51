"""What one device's rows are made of: runs of a cold device, runs of a throttled one, and outliers.

In logarithms, relative to what is expected of each model, the cold and the throttled runs are two normal distributions
and outliers lie anywhere within a factor of 1000. Every row is an interval (of rounding, or of a fine grid), so rounded
rows need no case of their own. The fit is maximum likelihood by expectation and maximisation; noise, share and factor
are common to all models of a device, the centres are the models' own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr

from device_profiles.telemetry.values import LOG_1000, Floats, Ints

_STEPS = 60
_TOLERANCE = 1e-4
_NOISE = 0.1
_NOISE_ROWS = 2.0
_OUTLIER_SHARE = 0.05
_OUTLIER_ROWS = 20.0
_CENTRE_STD = 0.5
"""Weak priors, each worth few rows: of the relative noise, of the share of outliers, of a model's own centre."""

_LEAST_NOISE = 1e-3
_START_FACTORS = (1.25, 1.6, 2.2)
_START_SHARES = (0.25, 0.6)
_FACTORS = (1.12, 4.0)
_SHARES = (0.04, 0.85)
_ROWS_TO_SEE_TWO_MODES = 40
_LEAST_SEPARATION = 2.0
_GAIN_TO_DOUBT, _LEAST_GAIN = 4.0, 12.0
_LEAST_LEAD = 5.0
"""A second mode is plausible with enough rows, a factor and a share in these ranges, and a log-likelihood above that of
one mode by the first gain; it is sure by the second one, where also its centre is so many standard deviations away, and
the log-likelihood so much above that of one mode with a long tail to slow runs."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Intervals:
    """Rows of one device as intervals of log(latency / expected latency).

    Attributes:
        low: (intervals,) may be -inf.
        high: (intervals,) above `low`.
        model: (intervals,) index of the model.
        count: (intervals,) rows, above 0.
        models: how many models there are.
    """

    low: Floats
    high: Floats
    model: Ints
    count: Floats
    models: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Mixture:
    """The fit of one device; everything in natural logarithms of ratios.

    Attributes:
        centre: (models,) median of the cold runs.
        noise: standard deviation of cold runs.
        throttled: share of throttled runs among those that are no outliers; 0 where there is no second mode.
        slowdown: logarithm of the factor by which they are slower.
        throttled_noise: standard deviation of throttled runs.
        outliers: share of outliers.
        likelihood: logarithm of it.
    """

    centre: Floats
    noise: float
    throttled: float
    slowdown: float
    throttled_noise: float
    outliers: float
    likelihood: float

    def cumulated(self, x: Floats, model: Ints | int) -> Floats:
        """The share of runs that are no outliers and lie below `x` (points,), of the given models (points,)."""
        z = x - self.centre[model]
        cold = (1 - self.throttled) * ndtr(z / self.noise)
        return np.asarray(cold + self.throttled * ndtr((z - self.slowdown) / self.throttled_noise))

    def reach(self) -> tuple[Floats, Floats]:
        """(models,) each: the ends of the range in which a run is rather no outlier."""
        noises = np.array([self.noise, self.throttled_noise])
        shares = np.array([1 - self.throttled, max(self.throttled, 1e-9)])
        odds = shares * (1 - self.outliers) * 2 * LOG_1000 / (self.outliers * noises * math.sqrt(2 * math.pi))
        ends = noises * np.sqrt(2 * np.log(np.maximum(odds, math.e)))
        above = max(ends[0], self.slowdown + ends[1]) if self.throttled else ends[0]
        return self.centre - ends[0], self.centre + above


def fit_mixture(rows: Intervals, centre: Floats, noise: float) -> tuple[Mixture, Mixture | None]:
    """Fit one device, starting at `centre` (models,) and `noise`.

    Returns:
        The fit, with two modes where the rows surely have them; and, where slow runs may be throttling or a long tail
        of the noise, the fit with two modes that was not taken.
    """
    start = Mixture(
        centre=centre, noise=noise, throttled=0.0, slowdown=0.0, throttled_noise=noise, outliers=_OUTLIER_SHARE,
        likelihood=-math.inf,
    )  # fmt: skip
    single = _climb(rows, start)
    if rows.count.sum() < _ROWS_TO_SEE_TWO_MODES:
        return single, None
    starts = [_climb(rows, _parted(single, factor, share), 3) for factor in _START_FACTORS for share in _START_SHARES]
    promising = [_climb(rows, start, 12) for start in sorted(starts, key=lambda start: -start.likelihood)[:2]]
    ahead = [start for start in promising if start.likelihood - single.likelihood > 0.5 * _GAIN_TO_DOUBT]
    doubles = [double for double in (_climb(rows, start) for start in ahead) if _is_plausible(double, single)]
    if not doubles:
        return single, None
    best = max(doubles, key=lambda double: double.likelihood)
    apart = best.slowdown >= _LEAST_SEPARATION * best.noise
    is_sure = (
        apart
        and best.likelihood >= single.likelihood + _LEAST_GAIN
        and best.likelihood >= _skewed_likelihood(rows, single) + _LEAST_LEAD
    )
    return (best, None) if is_sure else (single, best)


def _skewed_likelihood(rows: Intervals, single: Mixture) -> float:
    """The logarithm of the likelihood if there were one mode with a long tail to slow runs: a normal distribution plus
    an exponential one, and the outliers of `single`."""

    def lost(parameters: Floats) -> float:
        shift, noise, tail = parameters[0], math.exp(parameters[1]), math.exp(parameters[2])
        below = _cumulated_with_tail(rows.low - single.centre[rows.model] - shift, noise, tail)
        mass = _cumulated_with_tail(rows.high - single.centre[rows.model] - shift, noise, tail) - below
        mass = (1 - single.outliers) * np.maximum(mass, 0.0) + _outlying(rows, single.outliers)
        return -float(rows.count @ np.log(mass))

    start = np.array([-0.7 * single.noise, math.log(0.5 * single.noise), math.log(0.8 * single.noise)])
    simplex = start + np.vstack([np.zeros(3), np.diag([0.3 * single.noise, 0.5, 0.5])])
    found = minimize(lost, start, method="Nelder-Mead", options={"maxfev": 120, "initial_simplex": simplex})
    return -float(found.fun)


def _cumulated_with_tail(x: Floats, noise: float, tail: float) -> Floats:
    """Of a normal distribution plus an exponential one of mean `tail`."""
    z = np.clip(x / noise, -30.0, 1e3)
    ratio = noise / tail
    # exp(a) ndtr(b) underflows or is at most 1 where b is far to the left.
    exponent = np.minimum(0.5 * ratio**2 - ratio * z + log_ndtr(z - ratio), 0.0)
    return np.asarray(ndtr(z) - np.exp(exponent))


def _outlying(rows: Intervals, share: float) -> Floats:
    """(intervals,) the mass of outliers there."""
    span = np.minimum(rows.high, LOG_1000) - np.maximum(rows.low, -LOG_1000)
    return np.asarray(np.maximum(span, 1e-9) * (share / (2 * LOG_1000)))


def _parted(single: Mixture, factor: float, share: float) -> Mixture:
    """Two modes where there was one."""
    slowdown = math.log(factor)
    noise = min(single.noise, slowdown / 3)
    return replace(
        single, centre=single.centre - share * slowdown, noise=noise, throttled=share, slowdown=slowdown,
        throttled_noise=noise,
    )  # fmt: skip


def _is_plausible(double: Mixture, single: Mixture) -> bool:
    return (
        math.log(_FACTORS[0]) <= double.slowdown <= math.log(_FACTORS[1])
        and _SHARES[0] <= double.throttled <= _SHARES[1]
        and double.likelihood - single.likelihood >= _GAIN_TO_DOUBT
    )


def _climb(rows: Intervals, mixture: Mixture, steps: int = _STEPS) -> Mixture:
    """Expectation and maximisation until the likelihood stands."""
    for _ in range(steps):
        following = _step(rows, mixture)
        risen = following.likelihood - mixture.likelihood
        mixture = following
        if abs(risen) < _TOLERANCE * (1 + rows.count.sum() * 1e-3):
            break
    return mixture


def _step(rows: Intervals, at: Mixture) -> Mixture:
    """One step. The likelihood in the result is that of `at`."""
    two = at.throttled > 0
    cold, cold_mean, cold_square = _moments(rows, at.centre, at.noise)
    cold = cold * ((1 - at.outliers) * (1 - at.throttled))
    outlying = _outlying(rows, at.outliers)
    hot, hot_mean, hot_square = cold * 0, cold_mean, cold_square
    if two:
        hot, hot_mean, hot_square = _moments(rows, at.centre + at.slowdown, at.throttled_noise)
        hot = hot * ((1 - at.outliers) * at.throttled)
    mass = cold + hot + outlying
    weights = rows.count / mass
    cold, hot, outlying = cold * weights, hot * weights, outlying * weights
    cold_rows, hot_rows = float(cold.sum()), float(hot.sum())
    precision, ratio = 1 / at.noise**2, (at.noise / at.throttled_noise) ** 2
    inner = cold * cold_mean + ratio * hot * hot_mean
    # What the models' own rows say of their centres, drawn weakly to the centre of all models.
    own = np.bincount(rows.model, cold + ratio * hot, minlength=rows.models)
    common = float(np.average(at.centre, weights=own + 1e-9))
    pull = 1 / _CENTRE_STD**2
    moved = precision * np.bincount(rows.model, inner, minlength=rows.models)
    centre = at.centre + (moved + pull * (common - at.centre)) / (precision * own + pull)
    noise = math.sqrt((float(cold @ cold_square) + _NOISE_ROWS * _NOISE**2) / (cold_rows + _NOISE_ROWS))
    noise = max(noise, _LEAST_NOISE)
    slowdown, hot_noise, share = 0.0, noise, 0.0
    if two:
        share = min(max(hot_rows / max(cold_rows + hot_rows, 1e-9), 1e-3), 1 - 1e-3)
        slowdown = max(at.slowdown + float(hot @ hot_mean) / max(hot_rows, 1e-9), 0.02)
        hot_noise = math.sqrt((float(hot @ hot_square) + _NOISE_ROWS * noise**2) / (hot_rows + _NOISE_ROWS))
        hot_noise = min(max(hot_noise, noise), 2 * noise)
    outliers = (float(outlying.sum()) + _OUTLIER_ROWS * _OUTLIER_SHARE) / (float(rows.count.sum()) + _OUTLIER_ROWS)
    return Mixture(
        centre=centre, noise=noise, throttled=share, slowdown=slowdown, throttled_noise=hot_noise, outliers=outliers,
        likelihood=float(rows.count @ np.log(mass)),
    )  # fmt: skip


def _moments(rows: Intervals, centre: Floats, noise: float) -> tuple[Floats, Floats, Floats]:
    """(intervals,) each: mass of the normal within, mean and mean square of the distance to the centre there."""
    low = np.clip((rows.low - centre[rows.model]) / noise, -38.0, 38.0)
    high = np.clip((rows.high - centre[rows.model]) / noise, -38.0, 38.0)
    flip = low > 0  # the tails are exact on the left only
    mass = ndtr(np.where(flip, -low, high)) - ndtr(np.where(flip, -high, low))
    at_low, at_high = _density(low), _density(high)
    safe = np.maximum(mass, 1e-250)
    mean = np.clip((at_low - at_high) / safe, np.minimum(low, high), np.maximum(low, high))
    square = np.maximum(1 + (low * at_low - high * at_high) / safe, mean**2)
    return np.maximum(mass, 1e-250), noise * mean, noise**2 * np.minimum(square, 38.0**2)


def _density(z: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))
