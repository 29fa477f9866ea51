"""The rows of one device as a mixture: runs of the cold device, runs of the throttled device, and outliers.

In logarithms of latency over expectation, the cold and the throttled runs are two normal distributions, and outliers
are uniform within a factor of 1000 on either side. Every row is an interval (of its rounding, or of a fine grid), so
rounded rows need no special case. The fit is maximum likelihood by expectation maximisation (Dempster, Laird and Rubin,
1977). Noise, share and factor are common to all models of a device; each model has a centre of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr

from device_profiles.telemetry.values import LOG_1000, Floats, Ints

_STEPS, _TOLERANCE = 60, 1e-4
"""Most steps of a climb, and the rise of the log-likelihood at which it ends (grown by a thousandth of that for each
row). 20 steps, or a tolerance of 1e-3, found throttling on one undisturbed device in 100; 200 steps and 1e-6 changed
nothing."""

_NOISE, _NOISE_ROWS = 0.1, 2.0
"""Prior of the relative noise, and the rows that it is worth: single runs on phones scatter by 5 to 20 %. Few rows that
agree by chance must not give a noise near zero: a noise of 0.03, or half a row, found throttling on two undisturbed
devices in 100; a noise of 0.3 missed a quarter of the throttling by 1.25. Two to eight rows gave nearly the same."""

_OUTLIER_SHARE, _OUTLIER_ROWS = 0.05, 20.0
"""Prior of the share of outliers, and the rows that it is worth, so that the share stays above zero. Tried from 0.01 to
0.15, and from 5 to 80 rows."""

_CENTRE_STD = 0.5
"""Standard deviation of a model's centre around the average of all models: weak, but it keeps a model with a few coarse
rows from drifting away. Tried from 0.1 to 2."""

_LEAST_NOISE = 1e-3
"""Smallest relative noise: less than a timer resolves, and it keeps the likelihood finite. Tried from 1e-4 to 0.01."""

_START_FACTORS, _START_SHARES = (1.25, 1.6, 2.2), (0.25, 0.6)
"""Throttling that a fit of two modes starts from; the factors span the usual range in steps of 1.3. A climb finds the
nearest maximum, so a start should not be far from it: with the share 0.6 alone a fifth of the throttled devices was
missed. The share 0.25 alone, or other factors and shares, gave nearly the same."""

_FIRST_STEPS, _MOST_PROMISING, _MORE_STEPS = 3, 2, 12
"""To save time, every start climbs a few steps, and the best ones some more, before one is followed to the end. After a
single step the best is not clear yet: a fifth of the throttled devices was missed. Following 1 to 6 of them gave
nearly the same; 6 took half as much time again."""

_FACTORS = (1.12, 4.0)
"""Throttling factors that are believed. Less than 12 % looks like noise. Clocks rarely fall below a quarter,
so a larger factor is another cause. A lower end of 1.3 missed throttling by 1.25; 1.05, or an upper end of 8, changed
nothing."""

_SHARES = (0.04, 0.85)
"""Shares of throttled runs that are believed: fewer may be outliers, and with more the slow mode is the ordinary one.
Tried from (0.01, 0.95) to (0.1, 0.7)."""

_ROWS_TO_SEE_TWO_MODES = 40
"""Fewest rows for two modes, so that a share of a quarter has ten rows. 100 gave the same; with 400, throttling on
devices with 150 to 300 rows was missed. 10 also found a fifth of the throttled devices that have 25 rows."""

_LEAST_SEPARATION = 2.0
"""Distance of the modes in standard deviations from which a mixture of equal normals has two peaks. With 1.5,
throttling by 1.25 was found more often, but fewer intervals covered the truth (86 instead of 90 %); with 3 it was not
found."""

_GAIN_TO_DOUBT, _LEAST_GAIN = 4.0, 12.0
"""Gains in log-likelihood over one mode with which two modes are possible, and certain. They have three parameters
more, which cost 3 by Akaike's criterion, and 10 to 12 by the Bayesian one with 1,000 to 3,000 rows. From 2 to 8, and
from 6 to 12, the results were the same; 24 missed much of the throttling by 1.25."""

_LEAST_LEAD = 5.0
"""Log-likelihood by which two modes must be ahead of one mode with a long tail to slow runs, if they are certain.
Without the comparison every device with a long tail counted as throttled, and its scale was 8 to 14 % off. From 0 to 10
the results differed on one or two devices in 100."""

_LEAST_SLOWDOWN, _LEAST_SHARE = 0.02, 1e-3
"""Bounds within a climb, far outside of what is believed: they keep the two modes from becoming one."""

_WIDEST_THROTTLED = 2.0
"""Largest noise of throttled runs over that of cold ones. A wider mode would absorb outliers. 4 gave the same; 1, which
fits the simulated fleets, would not allow for throttling that varies."""

_TAIL_EVALUATIONS = 120
"""Evaluations for the three parameters of a tail, which a simplex settles to well below `_LEAST_LEAD`. Tried from 40 to
400."""

_FAR = 38.0
"""Standard deviations beyond which the mass of a normal distribution is zero in float64."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Intervals:
    """Rows of one device as intervals of log(latency / expected latency).

    Attributes:
        low: Lower ends; may be -inf, (intervals,).
        high: Upper ends, above `low`, (intervals,).
        model: Index of the model, (intervals,).
        count: Number of rows, above 0, (intervals,).
        models: Number of models.
    """

    low: Floats
    high: Floats
    model: Ints
    count: Floats
    models: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Mixture:
    """The fit of one device. Everything is in natural logarithms of latency over expectation.

    Attributes:
        centre: Median of the cold runs of each model, (models,).
        noise: Standard deviation of cold runs.
        throttled: Share of throttled runs among those that are not outliers; 0 if there is no second mode.
        slowdown: Logarithm of the factor by which throttled runs are slower.
        throttled_noise: Standard deviation of throttled runs.
        outliers: Share of outliers.
        likelihood: Log-likelihood.
    """

    centre: Floats
    noise: float
    throttled: float
    slowdown: float
    throttled_noise: float
    outliers: float
    likelihood: float

    def cumulated(self, x: Floats, model: Ints | int) -> Floats:
        """Return the share of runs below `x`, (points,), among those of a model that are not outliers.

        Args:
            x: Logarithms of ratios, (points,).
            model: Index of the model of each point, (points,), or of all points.
        """
        z = x - self.centre[model]
        cold = (1 - self.throttled) * ndtr(z / self.noise)
        return np.asarray(cold + self.throttled * ndtr((z - self.slowdown) / self.throttled_noise))

    def reach(self) -> tuple[Floats, Floats]:
        """Return the ends, (models,) each, of the range in which a run is less likely an outlier than not."""
        noises = np.array([self.noise, self.throttled_noise])
        shares = np.array([1 - self.throttled, max(self.throttled, 1e-9)])
        odds = shares * (1 - self.outliers) * 2 * LOG_1000 / (self.outliers * noises * math.sqrt(2 * math.pi))
        ends = noises * np.sqrt(2 * np.log(np.maximum(odds, math.e)))
        above = max(ends[0], self.slowdown + ends[1]) if self.throttled else ends[0]
        return self.centre - ends[0], self.centre + above


def fit_mixture(rows: Intervals, centre: Floats, noise: float) -> tuple[Mixture, Mixture | None]:
    """Fit one device, starting at `centre`, (models,), and `noise`.

    Returns:
        The fit, with two modes if the rows certainly have them. Then, if slow runs may be throttling or a long tail of
        the noise, the fit with two modes that was not taken, otherwise None.
    """
    start = Mixture(
        centre=centre, noise=noise, throttled=0.0, slowdown=0.0, throttled_noise=noise, outliers=_OUTLIER_SHARE,
        likelihood=-math.inf,
    )  # fmt: skip
    single = _climb(rows, start)
    if rows.count.sum() < _ROWS_TO_SEE_TWO_MODES:
        return single, None
    parted = [_parted(single, factor, share) for factor in _START_FACTORS for share in _START_SHARES]
    starts = sorted((_climb(rows, start, _FIRST_STEPS) for start in parted), key=lambda start: -start.likelihood)
    promising = [_climb(rows, start, _MORE_STEPS) for start in starts[:_MOST_PROMISING]]
    # Half of the gain: the climb is not finished.
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
    """The log-likelihood of one mode with a long tail to slow runs: the sum of a normal and an exponential variable, as
    in the distribution of reaction times, with the outliers of `single`."""

    def lost(parameters: Floats) -> float:
        shift, noise, tail = parameters[0], math.exp(parameters[1]), math.exp(parameters[2])
        below = _cumulated_with_tail(rows.low - single.centre[rows.model] - shift, noise, tail)
        mass = _cumulated_with_tail(rows.high - single.centre[rows.model] - shift, noise, tail) - below
        mass = (1 - single.outliers) * np.maximum(mass, 0.0) + _outlying(rows, single.outliers)
        return -float(rows.count @ np.log(mass))

    # The start splits the variance of the single mode between both parts, as 0.5^2 + 0.8^2 is about 1, and shifts the
    # normal one down by about the mean of the tail.
    start = np.array([-0.7 * single.noise, math.log(0.5 * single.noise), math.log(0.8 * single.noise)])
    simplex = start + np.vstack([np.zeros(3), np.diag([0.3 * single.noise, 0.5, 0.5])])
    options = {"maxfev": _TAIL_EVALUATIONS, "initial_simplex": simplex}
    found = minimize(lost, start, method="Nelder-Mead", options=options)
    return -float(found.fun)


def _cumulated_with_tail(x: Floats, noise: float, tail: float) -> Floats:
    """The distribution function of the sum of a normal variable and an exponential one with mean `tail`."""
    z = np.clip(x / noise, -30.0, 1e3)  # beyond, the function is 0 or 1
    ratio = noise / tail
    # exp(a) ndtr(b) in one exponential: it is at most 1, and would underflow if b is far to the left.
    exponent = np.minimum(0.5 * ratio**2 - ratio * z + log_ndtr(z - ratio), 0.0)
    return np.asarray(ndtr(z) - np.exp(exponent))


def _outlying(rows: Intervals, share: float) -> Floats:
    """The mass of outliers in each interval, (intervals,)."""
    span = np.minimum(rows.high, LOG_1000) - np.maximum(rows.low, -LOG_1000)
    return np.asarray(np.maximum(span, 1e-9) * (share / (2 * LOG_1000)))


def _parted(single: Mixture, factor: float, share: float) -> Mixture:
    """Split one mode into two with the same mean."""
    slowdown = math.log(factor)
    noise = min(single.noise, slowdown / 3)  # three standard deviations apart, so that the modes are distinct
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
    """Repeat expectation and maximisation until the likelihood no longer rises."""
    for _ in range(steps):
        following = _step(rows, mixture)
        risen = following.likelihood - mixture.likelihood
        mixture = following
        if abs(risen) < _TOLERANCE * (1 + rows.count.sum() * 1e-3):
            break
    return mixture


def _step(rows: Intervals, at: Mixture) -> Mixture:
    """One step of expectation and maximisation. The likelihood in the result is that of `at`."""
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
    # Each model's rows determine its centre, pulled weakly towards the average centre.
    own = np.bincount(rows.model, cold + ratio * hot, minlength=rows.models)
    common = float(np.average(at.centre, weights=own + 1e-9))
    pull = 1 / _CENTRE_STD**2
    moved = precision * np.bincount(rows.model, inner, minlength=rows.models)
    centre = at.centre + (moved + pull * (common - at.centre)) / (precision * own + pull)
    noise = math.sqrt((float(cold @ cold_square) + _NOISE_ROWS * _NOISE**2) / (cold_rows + _NOISE_ROWS))
    noise = max(noise, _LEAST_NOISE)
    slowdown, hot_noise, share = 0.0, noise, 0.0
    if two:
        share = min(max(hot_rows / max(cold_rows + hot_rows, 1e-9), _LEAST_SHARE), 1 - _LEAST_SHARE)
        slowdown = max(at.slowdown + float(hot @ hot_mean) / max(hot_rows, 1e-9), _LEAST_SLOWDOWN)
        hot_noise = math.sqrt((float(hot @ hot_square) + _NOISE_ROWS * noise**2) / (hot_rows + _NOISE_ROWS))
        hot_noise = min(max(hot_noise, noise), _WIDEST_THROTTLED * noise)
    outliers = (float(outlying.sum()) + _OUTLIER_ROWS * _OUTLIER_SHARE) / (float(rows.count.sum()) + _OUTLIER_ROWS)
    return Mixture(
        centre=centre, noise=noise, throttled=share, slowdown=slowdown, throttled_noise=hot_noise, outliers=outliers,
        likelihood=float(rows.count @ np.log(mass)),
    )  # fmt: skip


def _moments(rows: Intervals, centre: Floats, noise: float) -> tuple[Floats, Floats, Floats]:
    """The mass of a normal distribution in each interval, and the mean and mean square of its distance to the centre
    there, (intervals,) each."""
    low = np.clip((rows.low - centre[rows.model]) / noise, -_FAR, _FAR)
    high = np.clip((rows.high - centre[rows.model]) / noise, -_FAR, _FAR)
    flip = low > 0  # ndtr is accurate in the left tail only
    mass = ndtr(np.where(flip, -low, high)) - ndtr(np.where(flip, -high, low))
    at_low, at_high = _density(low), _density(high)
    safe = np.maximum(mass, 1e-250)  # 1e-250: no division by zero, and products with it do not underflow
    mean = np.clip((at_low - at_high) / safe, np.minimum(low, high), np.maximum(low, high))
    square = np.maximum(1 + (low * at_low - high * at_high) / safe, mean**2)
    return np.maximum(mass, 1e-250), noise * mean, noise**2 * np.minimum(square, _FAR**2)


def _density(z: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))
