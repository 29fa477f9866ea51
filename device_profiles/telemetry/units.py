"""The unit and the rounding of one device's latencies, found before anything is fitted to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from device_profiles.telemetry.values import FEW_ROWS, LOG_1000, Floats, Values, log_ratio, weighted_median

NEAR = (-1.4, 1.8)
"""Window around the mode, in logarithms of ratios, that holds the runs of a device: from a quarter to six times the
mode. It includes throttled runs (up to 4 times slower) and the noise of both modes, and a factor of 40 separates it
from the windows of the neighbouring units. Windows from (-1, 1.4) to (-2.5, 2.5) gave the same errors to within a
tenth, except for latencies of a few milliseconds in steps of 10 ms."""

_STEPS_US = (100_000.0, 10_000.0, 1_000.0, 100.0)
"""Steps that latencies are tested for, the largest first. Apps round to whole milliseconds, or to a decimal of the unit
that they measure in. A smaller step than 100 us is below the noise of all but the shortest latencies."""

_WHOLE_MS = 1_000.0
"""The ordinary step, which is believed even from a single value."""

_FEWEST_VALUES = 3
"""Different multiples of a larger step that must be seen: a few equal latencies do not show the step."""

_MULTIPLE_TOLERANCE = 1e-6
"""Relative error of a multiple, from conversions between units in floating point. Tried from 1e-9 to 1e-5."""

_SHARE_OF_MULTIPLES = 0.5
"""Share of the rows that must be multiples of a step: most. Of exact latencies in tenths of a microsecond one in a
thousand is a multiple of 100 us, so the share matters only for coarse steps: with latencies of 0.5 to 60 ms in steps of
10 ms, 0.3 raised the median error from 8 to 13 %, and 0.8 lowered it to 5 %; everywhere else 0.3 to 0.8 gave the
same."""

_CELL = 0.02
"""Width of a histogram cell, in logarithms: 2 %, below the noise of single runs. Tried from 0.01 to 0.05."""

_BLUR = 12
"""Half-width in cells of the triangle that smooths the histogram. Its standard deviation is 10 %, the usual noise of
single runs. Tried from 4 to 24."""

_UNIT_SHARE = 0.01
"""Smallest share of a device's rows that makes a unit common; fewer rows are outliers. Tried from 0.003 to 0.08."""

UNCLEAR = math.log(10.0)
"""Distance between device and expectation beyond which the nearest unit is not believed. Two units are equally near at
sqrt(1000) = 32, so this leaves a factor of three. Tried from 5 to 20 on devices that are up to 6 times slower."""

_SURELY_WRONG = math.log(100.0)
"""1000 over the factor of `UNCLEAR`. A device whose rows are all in one unit is corrected only if it would be more
than this much slower or faster than expected, and less than 10 times in another unit. It may really be 40 times
slower."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class InOneUnit:
    """Latencies in one unit.

    Attributes:
        latency_us: Corrected latencies, (entries,).
        mode: Mode of log(latency / expected).
        corrected: Number of rows that were corrected.
        factor: Factor by which all rows were off; 1 if most were right.
    """

    latency_us: Floats
    mode: float
    corrected: int
    factor: float


def expectations(values: Values) -> Floats:
    """Return what is expected of each model, (models,) microseconds.

    A model without an expectation gets the one that puts its median in line with the other models.
    """
    expected = values.expected_us.copy()
    medians = np.full(len(expected), np.nan)
    for index in range(len(expected)):
        mine = (values.model == index) & (values.latency_us > 0)
        if mine.any():
            medians[index] = weighted_median(values.latency_us[mine], values.count[mine])
    ratios = medians / expected
    usual = float(np.exp(np.nanmedian(np.log(ratios)))) if np.isfinite(ratios).any() else 1.0
    expected = np.where(np.isnan(expected), medians / usual, expected)
    return np.where(np.isnan(expected), 1.0, expected)


def in_one_unit(values: Values, expected: Floats) -> InOneUnit:
    """Correct latencies that are off by a power of 1000.

    Ratios to the expectation are folded into one period of 1000. Their mode is where the device is, whatever the unit.
    If there are several units, the one nearest to the expectation is right. A single unit is wrong only if the device
    would be more than 100 times slower or faster than expected.

    Args:
        values: Rows of one device, at least one of them above zero.
        expected: Expectation of each model from `expectations`, (models,).
    """
    positive = values.latency_us > 0
    latency, model, count = values.latency_us[positive], values.model[positive], values.count[positive]
    ratio = log_ratio(latency, expected[model])
    centre = _folded_mode(ratio, count)
    unit = np.rint((ratio - centre) / LOG_1000)
    distance = ratio - centre - unit * LOG_1000
    near = (distance > NEAR[0]) & (distance < NEAR[1])
    units, inverse = np.unique(unit[near], return_inverse=True)
    sizes = np.bincount(inverse, count[near])
    common = units[sizes >= max(_UNIT_SHARE * sizes.sum(), 1)]
    largest = units[sizes.argmax()]
    off = centre + largest * LOG_1000
    if np.isnan(values.expected_us).all() or (len(common) > 1 and abs(centre) > UNCLEAR):
        right = largest
    elif len(common) > 1:
        right = common[np.abs(centre + common * LOG_1000).argmin()]
    else:
        right = 0.0 if abs(off) > _SURELY_WRONG and abs(centre) < UNCLEAR else largest
    wrong = near & (unit != right) & np.isin(unit, common)
    fixed = values.latency_us.copy()
    fixed[positive] = np.where(wrong, latency / 1000.0 ** (unit - right), latency)
    whole = 1000.0 ** float(largest - right) if len(common) == 1 else 1.0
    mode = centre + float(right) * LOG_1000
    return InOneUnit(latency_us=fixed, mode=mode, corrected=int(count[wrong].sum()), factor=whole)


def rounding_steps(latency_us: Floats, count: Floats) -> Floats:
    """Return the step that each latency is rounded to, (entries,) microseconds; 0 for an exact one.

    Latencies are rounded if at least half of the rows are multiples of a step. For steps above a millisecond several
    different multiples must be seen.
    """
    total = float(count.sum())
    for step in _STEPS_US:
        times = np.rint(latency_us / step)
        multiple = np.abs(latency_us - times * step) <= _MULTIPLE_TOLERANCE * np.maximum(latency_us, 1.0)
        seen = len(np.unique(times[multiple]))
        enough = step <= _WHOLE_MS or (seen >= _FEWEST_VALUES and total >= FEW_ROWS)
        if enough and float(count[multiple].sum()) >= _SHARE_OF_MULTIPLES * total:
            return np.where(multiple, step, 0.0)
    return np.zeros(len(latency_us))


def _folded_mode(ratio: Floats, count: Floats) -> float:
    """The mode of the ratios folded into one period of 1000, in (-LOG_1000 / 2, LOG_1000 / 2]."""
    cells = round(LOG_1000 / _CELL)
    cell = np.floor((ratio / LOG_1000 + 0.5) % 1.0 * cells).astype(np.int64) % cells
    found = np.bincount(cell, count, minlength=cells)
    blur = np.bartlett(2 * _BLUR + 1)
    padded = np.concatenate([found[-_BLUR:], found, found[:_BLUR]])
    mode = int(np.convolve(padded, blur, mode="valid").argmax())
    return ((mode + 0.5) / cells - 0.5) * LOG_1000
