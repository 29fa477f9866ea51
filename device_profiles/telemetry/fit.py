"""Robust statistics of one device's rows: units and rounding first, then the mixture, then what can be said of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import binom, t

from device_profiles.telemetry.mixture import LOG_1000, Floats, Intervals, Ints, Mixture, fit_mixture

Rounding = Literal["nearest", "down"]
"""What an app does to a latency that it rounds: `down` is what whole-number division does."""

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Of the quantiles that are kept of each model's rows."""

_STEPS_US = (100_000.0, 10_000.0, 1_000.0, 100.0)
_WHOLE_MS = 1_000.0
_SHARE_OF_MULTIPLES = 0.5
_FLOOR_US = 1e-3
_FOLD = 0.02
_BLUR = 12
_NEAR = (-1.4, 1.8)
_CLASS_SHARE = 0.01
_UNCLEAR = math.log(10.0)
_SURELY_WRONG = math.log(100.0)
_TRUSTED_WIDTH = 0.02
_FEW_ROWS = 20
_POINTS, _GRID = 81, 301
_NEGLIGIBLE = 1e-6
_MODEL_STDS = np.array([0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32])
_MODEL_STD_WEIGHTS = np.gradient(_MODEL_STDS) / (1 + (_MODEL_STDS / 0.1) ** 2)
"""How far models may be from the device's scale by themselves: all of these are weighed by the models' agreement. The
weights are a Cauchy density, flat where models usually are."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Values:
    """The rows of one device, equal ones as one entry.

    Attributes:
        latency_us: (entries,) finite and at least 0; 0 counts only where values are rounded.
        model: (entries,) index of the model.
        count: (entries,) rows.
        expected_us: (models,) NaN where nothing is expected of a model.
    """

    latency_us: Floats
    model: Ints
    count: Floats
    expected_us: Floats


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ModelFit:
    """One model on one device; microseconds.

    Attributes:
        rows_used: neither invalid nor outliers.
        median_us: of the rows used, with its 95 % interval.
        quantiles_us: at `LEVELS`.
        cold_us: median of the cold runs.
        cold_std: standard deviation of its logarithm.
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
        models: None where no row of a model is left.
        scale: how many times slower than expected the cold device is, with its 95 % interval; None where nothing is
            expected of its models.
        mixture: the fit.
        rival: another one, where slow runs may be throttling; the interval of the scale holds both.
        step_us: of rounding; 0 where values are not rounded.
        zeros: rows of zero that were dropped.
        corrected: rows that were in another unit than most, or all of them.
        unit_factor: what all rows were off by (1000.0: written too large); 1 where most were right.
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
    """Everything that is said of one device; None where no row is above zero."""
    positive = values.latency_us > 0
    if not positive.any():
        return None
    expected = _expectations(values)
    unit = _in_one_unit(values, expected)
    latency = unit.latency_us
    width = _widths(latency, values.count)
    step = float(width.max(initial=0.0))
    kept = positive | (step > 0)
    zeros = int(values.count[~kept].sum())
    latency, width, model, count = latency[kept], width[kept], values.model[kept], values.count[kept]
    width = np.where(latency > 0, width, step)
    below = 0.0 if rounding == "down" else 0.5
    low = _log(latency - below * width, expected[model])
    high = np.maximum(_log(latency + (1 - below) * width, expected[model]), low)
    rows = _Rows(low=low, high=high, model=model, count=count, expected=expected)
    mixture, rival = _fit(rows, unit.mode)
    known = ~np.isnan(values.expected_us)
    beliefs = [_belief(rows, mixture, index) for index in range(len(expected))]
    models = tuple(_model(rows, mixture, belief, index) for index, belief in enumerate(beliefs))
    scale = _scale([belief for belief, is_known in zip(beliefs, known, strict=True) if is_known])
    if scale is not None and rival is not None:
        slower = _scale([_belief(rows, rival, int(index)) for index in np.flatnonzero(known)]) or scale
        scale = scale[0], min(scale[1], slower[1]), max(scale[2], slower[2])
    return DeviceFit(
        models=models, scale=scale, mixture=mixture, rival=rival, step_us=step, zeros=zeros, corrected=unit.corrected,
        unit_factor=unit.factor,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Rows:
    """Rows as intervals of log(latency / expected); exact ones have no width."""

    low: Floats
    high: Floats
    model: Ints
    count: Floats
    expected: Floats

    @property
    def middle(self) -> Floats:
        """(entries,) of each interval; of one that starts at zero, not far below its end."""
        return np.asarray(0.5 * (np.maximum(self.low, self.high - 1) + self.high))

    @property
    def width(self) -> Floats:
        """(entries,) of each interval, likewise."""
        return np.asarray(np.minimum(self.high - self.low, 1))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Belief:
    """What one model's rows say of the logarithm of its ratio: normal distributions of one variance."""

    points: Floats
    weights: Floats
    variance: float

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        mean = float(self.points @ self.weights)
        return mean, math.sqrt(float((self.points - mean) ** 2 @ self.weights) + self.variance)


def _expectations(values: Values) -> Floats:
    """(models,) where nothing is expected of a model, what puts it in line with the others."""
    expected = values.expected_us.copy()
    medians = np.full(len(expected), np.nan)
    for index in range(len(expected)):
        mine = (values.model == index) & (values.latency_us > 0)
        if mine.any():
            medians[index] = _weighted_median(values.latency_us[mine], values.count[mine])
    ratios = medians / expected
    usual = float(np.exp(np.nanmedian(np.log(ratios)))) if np.isfinite(ratios).any() else 1.0
    expected = np.where(np.isnan(expected), medians / usual, expected)
    return np.where(np.isnan(expected), 1.0, expected)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Unit:
    """Latencies in one unit.

    Attributes:
        latency_us: (entries,) corrected.
        mode: of log(latency / expected).
        corrected: how many rows.
        factor: what all rows were off by; 1 where most were right.
    """

    latency_us: Floats
    mode: float
    corrected: int
    factor: float


def _in_one_unit(values: Values, expected: Floats) -> _Unit:
    """Correct what is off by 1000.

    Ratios to the expectation are folded over 1000: their mode is where the device is, whatever the unit. Of several
    units the one nearest to the expectation is right; a single one is wrong only where the device would be more than
    100 times slower or faster than expected.
    """
    positive = values.latency_us > 0
    latency, model, count = values.latency_us[positive], values.model[positive], values.count[positive]
    ratio = _log(latency, expected[model])
    centre = _folded_mode(ratio, count)
    unit = np.rint((ratio - centre) / LOG_1000)
    distance = ratio - centre - unit * LOG_1000
    near = (distance > _NEAR[0]) & (distance < _NEAR[1])
    units, inverse = np.unique(unit[near], return_inverse=True)
    sizes = np.bincount(inverse, count[near])
    common = units[sizes >= max(_CLASS_SHARE * sizes.sum(), 1)]
    largest = units[sizes.argmax()]
    off = centre + largest * LOG_1000
    if np.isnan(values.expected_us).all() or (len(common) > 1 and abs(centre) > _UNCLEAR):
        right = largest
    elif len(common) > 1:
        right = common[np.abs(centre + common * LOG_1000).argmin()]
    else:
        right = 0.0 if abs(off) > _SURELY_WRONG and abs(centre) < _UNCLEAR else largest
    wrong = near & (unit != right) & np.isin(unit, common)
    fixed = values.latency_us.copy()
    fixed[positive] = np.where(wrong, latency / 1000.0 ** (unit - right), latency)
    whole = 1000.0 ** float(largest - right) if len(common) == 1 else 1.0
    mode = centre + float(right) * LOG_1000
    return _Unit(latency_us=fixed, mode=mode, corrected=int(count[wrong].sum()), factor=whole)


def _folded_mode(ratio: Floats, count: Floats) -> float:
    """The mode of ratios folded over 1000, in (-log 1000 / 2, log 1000 / 2]."""
    cells = round(LOG_1000 / _FOLD)
    cell = np.floor((ratio / LOG_1000 + 0.5) % 1.0 * cells).astype(np.int64) % cells
    found = np.bincount(cell, count, minlength=cells)
    blur = np.bartlett(2 * _BLUR + 1)
    padded = np.concatenate([found[-_BLUR:], found, found[:_BLUR]])
    mode = int(np.convolve(padded, blur, mode="valid").argmax())
    return ((mode + 0.5) / cells - 0.5) * LOG_1000


def _widths(latency: Floats, count: Floats) -> Floats:
    """(entries,) the step of rounding of each value, microseconds; 0 where it is exact.

    Rows are rounded where at least half of them are multiples of a step. For steps above a millisecond three different
    values must be seen: a few equal latencies say nothing of the step.
    """
    total = float(count.sum())
    for step in _STEPS_US:
        times = np.rint(latency / step)
        multiple = np.abs(latency - times * step) <= 1e-6 * np.maximum(latency, 1.0)
        enough = step <= _WHOLE_MS or (len(np.unique(times[multiple])) >= 3 and total >= _FEW_ROWS)
        if enough and float(count[multiple].sum()) >= _SHARE_OF_MULTIPLES * total:
            return np.where(multiple, step, 0.0)
    return np.zeros(len(latency))


def _fit(rows: _Rows, mode: float) -> tuple[Mixture, Mixture | None]:
    """The mixture and its rival, from a grid that is fine against the noise; the more exact rows say where to start."""
    middle, width = rows.middle, rows.width
    near = (middle > mode + _NEAR[0]) & (middle < mode + _NEAR[1])
    trust = np.where(near, rows.count / (width + _TRUSTED_WIDTH), 0.0)
    if not near.any():
        near, trust = np.ones(len(middle), np.bool_), rows.count
    common = _weighted_median(middle, trust)
    centre = np.full(len(rows.expected), common)
    for index in range(len(rows.expected)):
        mine = near & (rows.model == index)
        if rows.count[mine].sum() >= 3:
            own = _weighted_median(middle[mine], rows.count[mine])
            half = 0.5 * width[mine][np.abs(middle[mine] - own).argmin()]
            centre[index] = np.clip(common, own - half, own + half)
    away = np.abs(middle - centre[rows.model])
    noise = min(max(1.4826 * _weighted_median(away, trust), 0.005), 0.5)
    grid = min(max(noise / 4, 0.002), 0.05)
    inside = np.abs(middle) < LOG_1000
    return fit_mixture(_gridded(rows, inside if inside.any() else near, grid), centre, noise)


def _gridded(rows: _Rows, inside: NDArray[np.bool_], grid: float) -> Intervals:
    """Rows that are more exact than `grid` counted in its cells; rounded ones keep their interval."""
    low, high, model, count = rows.low[inside], rows.high[inside], rows.model[inside], rows.count[inside]
    exact = high - low < grid
    cell = np.floor(0.5 * (low[exact] + high[exact]) / grid).astype(np.int64)
    span = 1 + 2 * round(LOG_1000 / grid + 2)
    keys, inverse = np.unique(model[exact] * span + cell + span // 2, return_inverse=True)
    cells = (keys % span - span // 2) * grid
    return Intervals(
        low=np.concatenate([cells, low[~exact]]),
        high=np.concatenate([cells + grid, high[~exact]]),
        model=np.concatenate([keys // span, model[~exact]]),
        count=np.concatenate([np.bincount(inverse, count[exact], minlength=len(keys)), count[~exact]]),
        models=len(rows.expected),
    )


def _belief(rows: _Rows, mixture: Mixture, index: int) -> _Belief | None:
    """What is known of the centre of the cold runs; None without rows.

    Many exact rows speak for themselves: the weighted median and its binomial interval. Few or coarsely rounded ones
    are held against the fitted distribution.
    """
    mine = rows.model == index
    low, high, count = rows.low[mine], rows.high[mine], rows.count[mine]
    bottom, top = mixture.reach()
    near = (high >= bottom[index]) & (low <= top[index])
    if not near.any():
        return None
    low, high, count = low[near], high[near], count[near]
    middle = 0.5 * (np.maximum(low, high - 1) + high)
    cold = count * _cold_share(mixture, middle, index)
    widest = float(np.average(high - np.maximum(low, high - 1), weights=count))
    if cold.sum() >= _FEW_ROWS and widest < mixture.noise:
        half = 0.5 * 1.96 / math.sqrt(float(cold.sum()))
        ends = _weighted_quantiles(middle, cold, np.array([0.5 - half, 0.5, 0.5 + half]))
        # The spacing of few rows around the median is itself uncertain, hence not below what normal noise gives.
        normal = mixture.noise * math.sqrt(math.pi / 2 / float(cold.sum()))
        std = max(float(ends[2] - ends[0]) / (2 * 1.96), normal)
        return _Belief(points=ends[1:2], weights=np.ones(1), variance=std**2 + widest**2 / 12 / float(cold.sum()))
    return _held_against(mixture, low, high, count, index)


def _cold_share(mixture: Mixture, x: Floats, index: int) -> Floats:
    """(points,) the probability that a run at `x` that is no outlier is a cold one."""
    if not mixture.throttled:
        return np.ones(len(x))
    z = x - mixture.centre[index]
    cold = (1 - mixture.throttled) / mixture.noise * np.exp(-0.5 * (z / mixture.noise) ** 2)
    hot_z = (z - mixture.slowdown) / mixture.throttled_noise
    hot = mixture.throttled / mixture.throttled_noise * np.exp(-0.5 * hot_z**2)
    return np.asarray(np.where(hot_z > 0, cold / (cold + hot + 1e-300), np.where(z < 0, 1.0, cold / (cold + hot))))


def _held_against(mixture: Mixture, low: Floats, high: Floats, count: Floats, index: int) -> _Belief:
    """The likelihood of every possible centre, the noise of the device widened for how few rows it comes from."""
    total = float(count.sum())
    noise = mixture.noise * float(t.ppf(0.975, total + 1.0)) / 1.96
    widest = float(np.average(high - np.maximum(low, high - 1), weights=count))
    reach = 5 * noise / math.sqrt(total) + 1.5 * widest
    points = mixture.centre[index] + np.linspace(-reach, reach, _POINTS)
    outlying = mixture.outliers / (2 * LOG_1000)
    span = np.maximum(high - np.maximum(low, -LOG_1000), 1e-9)
    width = np.maximum(high - low, 1e-6)[None, :]
    upper, lower = high[None, :] - points[:, None], (high[None, :] - width) - points[:, None]
    cold = ndtr(upper / noise) - ndtr(lower / noise)
    hot_noise = max(mixture.throttled_noise, noise)
    hot = ndtr((upper - mixture.slowdown) / hot_noise) - ndtr((lower - mixture.slowdown) / hot_noise)
    mass = (1 - mixture.outliers) * ((1 - mixture.throttled) * cold + mixture.throttled * hot) + outlying * span
    score = np.log(np.maximum(mass, 1e-300)) @ count
    weights = np.exp(score - score.max())
    kept, variance = weights > _NEGLIGIBLE, float(points[1] - points[0]) ** 2
    return _Belief(points=points[kept], weights=weights[kept] / weights[kept].sum(), variance=variance)


def _scale(of_models: list[_Belief | None]) -> tuple[float, float, float] | None:
    """The device's scale with its 95 % interval, models allowed to differ from it by more than their noise."""
    beliefs = [belief for belief in of_models if belief is not None]
    if not beliefs:
        return None
    means, stds = np.array([belief.moments() for belief in beliefs]).T
    spreads = _MODEL_STDS if len(beliefs) > 1 else _MODEL_STDS[:1]
    reach = 6 * float(stds.min()) + float(np.ptp(means)) + (2 * spreads[-1] if len(beliefs) < 4 else 0.0)
    grid = np.linspace(means.min() - reach, means.max() + reach, _GRID)
    for _ in range(2):
        density = _density_of_scale(grid, beliefs, spreads)
        inside = grid[density > _NEGLIGIBLE * density.max()]
        step = grid[1] - grid[0]
        grid = np.linspace(inside[0] - step, inside[-1] + step, _GRID)
    density = _density_of_scale(grid, beliefs, spreads)
    low, middle, high = np.exp(np.interp([0.025, 0.5, 0.975], np.cumsum(density) / density.sum(), grid))
    return float(middle), float(low), float(high)


def _density_of_scale(grid: Floats, beliefs: list[_Belief], spreads: Floats) -> Floats:
    variance = (spreads**2)[:, None, None]
    total = np.zeros((len(spreads), len(grid)))
    for belief in beliefs:
        wide = variance + belief.variance
        likely = np.exp(-0.5 * (grid[None, :, None] - belief.points) ** 2 / wide) / np.sqrt(wide)
        total += np.log(np.maximum(likely @ belief.weights, 1e-300))
    weights = np.exp(total - total.max()) * _MODEL_STD_WEIGHTS[: len(spreads), None]
    return np.asarray(weights.sum(axis=0))


def _model(rows: _Rows, mixture: Mixture, belief: _Belief | None, index: int) -> ModelFit | None:
    """One model's part of the fit."""
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
    """Quantiles of sorted rows; within a rounded value the fitted distribution says how its rows lie."""
    ends = np.cumsum(count)
    total = float(ends[-1])
    at = np.minimum(np.searchsorted(ends, levels * total, side="left"), len(ends) - 1)
    found = np.empty(len(levels))
    for number, (level, entry) in enumerate(zip(levels, at, strict=True)):
        left, right = max(float(low[entry]), float(high[entry]) - 3), float(high[entry])
        inner = (level * total - (ends[entry] - count[entry])) / count[entry]
        if right - left < 1e-9:
            found[number] = right
            continue
        points = np.linspace(left, right, 65)
        cumulated = mixture.cumulated(points, index)
        mass = cumulated[-1] - cumulated[0]
        shares = (cumulated - cumulated[0]) / mass if mass > 1e-12 else np.linspace(0, 1, 65)
        found[number] = np.interp(inner, shares, points)
    return found


def _ends(
    mixture: Mixture, index: int, low: Floats, high: Floats, count: Floats, cold: tuple[float, float]
) -> tuple[float, float]:
    """The 95 % interval of the median: by ranks; to the ends of rounded values; of few rows from the fit."""
    n = int(count.sum())
    if n < _FEW_ROWS:
        half = float(t.ppf(0.975, n + 1)) * cold[1]
        return cold[0] - half, cold[0] + half + (mixture.slowdown if mixture.throttled else 0.0)
    below, above = binom.ppf([0.025, 0.975], n, 0.5) / n
    inner = _quantiles(mixture, index, low, high, count, np.array([below, above]))
    ends = np.cumsum(count) / n
    first, last = np.minimum(np.searchsorted(ends, [below, above], side="left"), len(ends) - 1)
    coarse = high[first] - low[first] > mixture.noise
    lowest = max(float(low[first]), float(high[first]) - 3)
    return (lowest, float(high[last])) if coarse else (float(inner[0]), float(inner[1]))


def _weighted_median(values: Floats, weights: Floats) -> float:
    return float(_weighted_quantiles(values, weights, np.array([0.5]))[0])


def _weighted_quantiles(values: Floats, weights: Floats, levels: Floats) -> Floats:
    """Quantiles of values that stand for `weights` rows each, the middle of a value's rows at the value."""
    order = np.argsort(values, kind="stable")
    sorted_weights = weights[order]
    ends = np.cumsum(sorted_weights)
    return np.asarray(np.interp(levels * ends[-1], ends - 0.5 * sorted_weights, values[order]))


def _log(value: Floats, expected: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(value, _FLOOR_US) / expected))
