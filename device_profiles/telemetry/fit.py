"""Robust statistics of one device's rows: unit and rounding first, then the mixture, then what follows for each model.

Tried values and errors in the comments of this package refer to simulated fleets such as those of
`benchmarks/telemetry.py`: 25 to 1,000 rows for each device, noise of 1 to 35 %, throttling, outliers, rounding, wrong
units, and noise with a long tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import binom, t

from device_profiles.telemetry.mixture import Intervals, Mixture, fit_mixture
from device_profiles.telemetry.scale import NEGLIGIBLE, Belief, scale_of
from device_profiles.telemetry.units import NEAR, expectations, in_one_unit, rounding_steps
from device_profiles.telemetry.values import (
    FEW_ROWS,
    LOG_1000,
    Floats,
    Ints,
    Values,
    log_ratio,
    weighted_median,
    weighted_quantiles,
)

Rounding = Literal["nearest", "down"]
"""How an app rounds a latency, if it does. `down` is what integer division does."""

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Levels of the quantiles that are kept of each model's rows."""

_TRUSTED_WIDTH = 0.02
"""Relative rounding, 2 %, up to which rows count about equally for the starting point; beyond it their weight falls
with the width of the rounding. It is below the noise of single runs. Tried from 0.005 to 0.1."""

_FEWEST_OF_A_MODEL = 3
"""Rows from which a model gets a starting point of its own: the median of three survives one outlier. 1 and 10 gave the
same, except that with steps of 10 ms 1 nearly tripled the 95th percentile of the error."""

_MAD_TO_STD = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution, 1 / inv_cdf(0.75)."""

_START_NOISES = (0.005, 0.5)
"""Range of the relative noise that a fit starts from: equal latencies would give 0, and outliers only would give more.
Tried from (0.001, 1) to (0.02, 0.2)."""

_CELLS_PER_NOISE, _CELLS = 4, (0.002, 0.05)
"""Exact rows are counted in cells of a quarter of the noise, which is fine enough for its shape, within these widths:
finer cells cost time, and coarser ones would blur modes that are 12 % apart, the least throttling factor. Half and
twice as many cells, and widths from (0.0005, 0.1) to (0.01, 0.05), gave the same."""

_Z95 = 1.96
"""Half-width of the 95 % interval of a normal distribution, in standard deviations."""

_POINTS = 81
"""Centres at which the likelihood of few or rounded rows is computed. The step between them counts as uncertainty: 41
and 201 points gave intervals that are 23 % wider and 20 % narrower for whole milliseconds, and the same errors."""

_CENTRE_REACH, _ROUNDED_REACH = 5.0, 1.5
"""Range of these centres: so many standard deviations of a mean, plus so many average widths of the rounding. 4 to 8
standard deviations gave the same; 1 and 3 widths changed the step, as the number of points does, and so the
intervals."""

_OPEN_END = 1.0
"""A latency that was rounded to zero is an interval whose logarithm has no lower end. It is taken to reach down to 1 /
e of its upper end. 0.5 to 2 gave the same errors, except for coarse steps of 10 ms."""

_QUANTILE_REACH, _QUANTILE_POINTS = 3.0, 65
"""If a quantile falls into such an interval, the interval reaches down to 1 / 20 of its upper end. The quantile is
interpolated between so many points, to within 5 %, which is far less than the width of the interval."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ModelFit:
    """One model on one device.

    Attributes:
        rows_used: Rows that are neither invalid nor outliers.
        outliers: Rows that are outliers.
        median_us: Median of the rows used, microseconds.
        low_us: Lower end of the median's 95 % interval.
        high_us: Upper end of the median's 95 % interval.
        quantiles_us: Quantiles of the rows used, at `LEVELS`.
        cold_us: Median of the cold runs.
        cold_std: Standard deviation of the logarithm of `cold_us`.
    """

    rows_used: int
    outliers: int
    median_us: float
    low_us: float
    high_us: float
    quantiles_us: tuple[float, ...]
    cold_us: float
    cold_std: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DeviceFit:
    """One device.

    Attributes:
        models: One fit for each model; None if no row of the model is left.
        scale: How many times slower than expected the cold device is, and the ends of its 95 % interval; None if
            nothing is expected of its models.
        mixture: The fitted distribution.
        rival: A second fit, if slow runs may be throttling or noise; the interval of the scale includes both.
        step_us: Step of the rounding; 0 if latencies are not rounded.
        zeros: Rows with a latency of zero that were dropped.
        corrected: Rows that were in another unit than most, or all rows.
        unit_factor: Factor by which all rows were off (1000.0: written too large); 1 if most were right.
    """

    models: tuple[ModelFit | None, ...]
    scale: tuple[float, float, float] | None
    mixture: Mixture
    rival: Mixture | None
    step_us: float
    zeros: int
    corrected: int
    unit_factor: float


def fit_device(values: Values, rounding: Rounding) -> DeviceFit | None:
    """Fit one device. Returns None if no row is above zero."""
    positive = values.latency_us > 0
    if not positive.any():
        return None
    expected = expectations(values)
    unit = in_one_unit(values, expected)
    latency = unit.latency_us
    width = rounding_steps(latency, values.count)
    step = float(width.max(initial=0.0))
    kept = positive | (step > 0)
    zeros = int(values.count[~kept].sum())
    latency, width, model, count = latency[kept], width[kept], values.model[kept], values.count[kept]
    width = np.where(latency > 0, width, step)
    below = 0.0 if rounding == "down" else 0.5
    low = log_ratio(latency - below * width, expected[model])
    high = np.maximum(log_ratio(latency + (1 - below) * width, expected[model]), low)
    rows = _Rows(low=low, high=high, model=model, count=count, expected=expected)
    mixture, rival = _fit(rows, unit.mode)
    known = ~np.isnan(values.expected_us)
    beliefs = [_belief(rows, mixture, index) for index in range(len(expected))]
    models = tuple(_model(rows, mixture, belief, index) for index, belief in enumerate(beliefs))
    scale = scale_of([belief for belief, is_known in zip(beliefs, known, strict=True) if is_known])
    if scale is not None and rival is not None:
        slower = scale_of([_belief(rows, rival, int(index)) for index in np.flatnonzero(known)]) or scale
        scale = scale[0], min(scale[1], slower[1]), max(scale[2], slower[2])
    return DeviceFit(
        models=models, scale=scale, mixture=mixture, rival=rival, step_us=step, zeros=zeros, corrected=unit.corrected,
        unit_factor=unit.factor,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Rows:
    """Rows as intervals of log(latency / expected). An exact latency is an interval without width."""

    low: Floats
    high: Floats
    model: Ints
    count: Floats
    expected: Floats

    @property
    def middle(self) -> Floats:
        """The middle of each interval, (entries,)."""
        return np.asarray(0.5 * (_low_end(self.low, self.high) + self.high))

    @property
    def width(self) -> Floats:
        """The width of each interval, (entries,)."""
        return np.asarray(np.minimum(self.high - self.low, _OPEN_END))


def _low_end(low: Floats, high: Floats) -> Floats:
    """The lower ends of intervals; for one that starts at zero, a value not far below its upper end."""
    return np.asarray(np.maximum(low, high - _OPEN_END))


def _fit(rows: _Rows, mode: float) -> tuple[Mixture, Mixture | None]:
    """Fit the mixture and its rival to rows on a grid that is fine compared with the noise, starting near `mode`."""
    middle, width = rows.middle, rows.width
    near = (middle > mode + NEAR[0]) & (middle < mode + NEAR[1])
    trust = np.where(near, rows.count / (width + _TRUSTED_WIDTH), 0.0)
    if not near.any():
        near, trust = np.ones(len(middle), np.bool_), rows.count
    common = weighted_median(middle, trust)
    centre = np.full(len(rows.expected), common)
    for index in range(len(rows.expected)):
        mine = near & (rows.model == index)
        if rows.count[mine].sum() >= _FEWEST_OF_A_MODEL:
            own = weighted_median(middle[mine], rows.count[mine])
            half = 0.5 * width[mine][np.abs(middle[mine] - own).argmin()]
            centre[index] = np.clip(common, own - half, own + half)
    away = np.abs(middle - centre[rows.model])
    noise = min(max(_MAD_TO_STD * weighted_median(away, trust), _START_NOISES[0]), _START_NOISES[1])
    grid = min(max(noise / _CELLS_PER_NOISE, _CELLS[0]), _CELLS[1])
    inside = np.abs(middle) < LOG_1000
    return fit_mixture(_gridded(rows, inside if inside.any() else near, grid), centre, noise)


def _gridded(rows: _Rows, inside: NDArray[np.bool_], grid: float) -> Intervals:
    """Count the rows that are more exact than `grid` in its cells. Rounded rows keep their interval."""
    low, high, model, count = rows.low[inside], rows.high[inside], rows.model[inside], rows.count[inside]
    exact = high - low < grid
    cell = np.floor(0.5 * (low[exact] + high[exact]) / grid).astype(np.int64)
    first = int(cell.min()) if len(cell) else 0
    span = int(cell.max()) - first + 1 if len(cell) else 1
    keys, inverse = np.unique(model[exact] * span + cell - first, return_inverse=True)
    cells = (keys % span + first) * grid
    return Intervals(
        low=np.concatenate([cells, low[~exact]]),
        high=np.concatenate([cells + grid, high[~exact]]),
        model=np.concatenate([keys // span, model[~exact]]),
        count=np.concatenate([np.bincount(inverse, count[exact], minlength=len(keys)), count[~exact]]),
        models=len(rows.expected),
    )


def _belief(rows: _Rows, mixture: Mixture, index: int) -> Belief | None:
    """Estimate the centre of the cold runs of a model; None without rows.

    With many exact rows the estimate is the weighted median and its binomial interval, which needs no distribution. Few
    or coarsely rounded rows are compared with the fitted distribution.
    """
    mine = rows.model == index
    low, high, count = rows.low[mine], rows.high[mine], rows.count[mine]
    bottom, top = mixture.reach()
    near = (high >= bottom[index]) & (low <= top[index])
    if not near.any():
        return None
    low, high, count = low[near], high[near], count[near]
    middle = 0.5 * (_low_end(low, high) + high)
    cold = count * _cold_share(mixture, middle, index)
    width = float(np.average(high - _low_end(low, high), weights=count))
    if cold.sum() >= FEW_ROWS and width < mixture.noise:
        # The ranks of a median's interval: the normal approximation of a binomial distribution, std 0.5 / sqrt(rows).
        half = 0.5 * _Z95 / math.sqrt(float(cold.sum()))
        ends = weighted_quantiles(middle, cold, np.array([0.5 - half, 0.5, 0.5 + half]))
        # The spacing of few rows around the median is itself uncertain, so the standard deviation is at least that of
        # the median of normal noise.
        normal = mixture.noise * math.sqrt(math.pi / 2 / float(cold.sum()))
        std = max(float(ends[2] - ends[0]) / (2 * _Z95), normal)
        rounding = width**2 / 12 / float(cold.sum())  # width^2 / 12: variance of a uniform distribution
        return Belief(points=ends[1:2], weights=np.ones(1), variance=std**2 + rounding)
    return _compared_with(mixture, low, high, count, index)


def _cold_share(mixture: Mixture, x: Floats, index: int) -> Floats:
    """(points,): the probability that a run at `x` that is not an outlier is a cold one."""
    if not mixture.throttled:
        return np.ones(len(x))
    z = x - mixture.centre[index]
    cold = (1 - mixture.throttled) / mixture.noise * np.exp(-0.5 * (z / mixture.noise) ** 2)
    hot_z = (z - mixture.slowdown) / mixture.throttled_noise
    hot = mixture.throttled / mixture.throttled_noise * np.exp(-0.5 * hot_z**2)
    share = cold / (cold + hot + 1e-300)  # 1e-300: both densities may underflow to zero
    return np.asarray(np.where((hot_z <= 0) & (z < 0), 1.0, share))


def _compared_with(mixture: Mixture, low: Floats, high: Floats, count: Floats, index: int) -> Belief:
    """The likelihood of every possible centre, given the other parameters of the fit.

    The noise is widened as in a t distribution for the number of rows. It has one degree of freedom more than there are
    rows: its prior is worth two rows, and the centre takes one.
    """
    total = float(count.sum())
    noise = mixture.noise * float(t.ppf(0.975, total + 1.0)) / _Z95
    rounded = float(np.average(high - _low_end(low, high), weights=count))
    reach = _CENTRE_REACH * noise / math.sqrt(total) + _ROUNDED_REACH * rounded
    points = mixture.centre[index] + np.linspace(-reach, reach, _POINTS)
    outlying = mixture.outliers / (2 * LOG_1000)
    # Exact rows get a width far below any noise, so that a mass is proportional to a density.
    span = np.maximum(high - np.maximum(low, -LOG_1000), 1e-9)
    width = np.maximum(high - low, 1e-6)[None, :]
    upper, lower = high[None, :] - points[:, None], (high[None, :] - width) - points[:, None]
    cold = ndtr(upper / noise) - ndtr(lower / noise)
    hot_noise = max(mixture.throttled_noise, noise)
    hot = ndtr((upper - mixture.slowdown) / hot_noise) - ndtr((lower - mixture.slowdown) / hot_noise)
    mass = (1 - mixture.outliers) * ((1 - mixture.throttled) * cold + mixture.throttled * hot) + outlying * span
    score = np.log(np.maximum(mass, 1e-300)) @ count  # 1e-300: no logarithm of zero
    weights = np.exp(score - score.max())
    kept, variance = weights > NEGLIGIBLE, float(points[1] - points[0]) ** 2
    return Belief(points=points[kept], weights=weights[kept] / weights[kept].sum(), variance=variance)


def _model(rows: _Rows, mixture: Mixture, belief: Belief | None, index: int) -> ModelFit | None:
    """Summarise one model; None if none of its rows is used."""
    mine = rows.model == index
    bottom, top = mixture.reach()
    used = mine & (rows.high >= bottom[index]) & (rows.low <= top[index])
    if belief is None or not used.any():
        return None
    n = int(rows.count[used].sum())
    order = np.argsort(rows.high[used], kind="stable")
    low, high, count = rows.low[used][order], rows.high[used][order], rows.count[used][order]
    quantiles = _quantiles(mixture, index, low, high, count, np.array(LEVELS))
    cold, cold_std = belief.moments()
    ends = _ends(mixture, index, low, high, count, (cold, cold_std))
    unit = float(rows.expected[index])
    return ModelFit(
        rows_used=n,
        outliers=int(rows.count[mine].sum()) - n,
        median_us=unit * math.exp(quantiles[LEVELS.index(0.5)]),
        low_us=unit * math.exp(ends[0]),
        high_us=unit * math.exp(ends[1]),
        quantiles_us=tuple(unit * math.exp(q) for q in quantiles),
        cold_us=unit * math.exp(cold),
        cold_std=cold_std,
    )


def _quantiles(mixture: Mixture, index: int, low: Floats, high: Floats, count: Floats, levels: Floats) -> Floats:
    """Quantiles of sorted rows. Within a rounded value its rows are distributed as in the fit."""
    ends = np.cumsum(count)
    total = float(ends[-1])
    at = np.minimum(np.searchsorted(ends, levels * total, side="left"), len(ends) - 1)
    found = np.empty(len(levels))
    for number, (level, entry) in enumerate(zip(levels, at, strict=True)):
        left, right = max(float(low[entry]), float(high[entry]) - _QUANTILE_REACH), float(high[entry])
        inner = (level * total - (ends[entry] - count[entry])) / count[entry]
        if right - left < 1e-9:  # an exact value
            found[number] = right
            continue
        points = np.linspace(left, right, _QUANTILE_POINTS)
        cumulated = mixture.cumulated(points, index)
        mass = cumulated[-1] - cumulated[0]
        # So far out in the tail that the difference of two values near 1 has no digits left, the rows count as uniform.
        shares = (cumulated - cumulated[0]) / mass if mass > 1e-12 else np.linspace(0, 1, _QUANTILE_POINTS)
        found[number] = np.interp(inner, shares, points)
    return found


def _ends(
    mixture: Mixture, index: int, low: Floats, high: Floats, count: Floats, cold: tuple[float, float]
) -> tuple[float, float]:
    """The 95 % interval of the median: by ranks, extended to the ends of rounded values; from the fit for few rows."""
    n = int(count.sum())
    if n < FEW_ROWS:
        half = float(t.ppf(0.975, n + 1)) * cold[1]
        return cold[0] - half, cold[0] + half + (mixture.slowdown if mixture.throttled else 0.0)
    below, above = binom.ppf([0.025, 0.975], n, 0.5) / n
    inner = _quantiles(mixture, index, low, high, count, np.array([below, above]))
    ends = np.cumsum(count) / n
    first, last = np.minimum(np.searchsorted(ends, [below, above], side="left"), len(ends) - 1)
    coarse = high[first] - low[first] > mixture.noise
    lowest = max(float(low[first]), float(high[first]) - _QUANTILE_REACH)
    return (lowest, float(high[last])) if coarse else (float(inner[0]), float(inner[1]))
