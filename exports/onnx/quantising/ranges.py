"""The ranges of activations: what the values of a graph are for calibration inputs, and the range that 8 bits span."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ModelInput
from exports.onnx.conversion import RangeMethod
from exports.onnx.quantising.running import values_of

_SAMPLE: Final = 1 << 15
"""Values that are kept per activation, evenly spread over all inputs: for a tail of one in 10,000, three values."""

_RARE: Final = 1e-4
"""The share of the values that `percentile` leaves out at either end."""

_SHRUNK: Final = np.linspace(1.0, 0.2, 41)
"""The parts of the full range among which `mse` chooses: steps of 2 %, which change the error by less than that."""

_LEVELS: Final = 255
"""The largest unsigned 8-bit integer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values that 8-bit integers of an activation span; it contains 0, which padding needs exactly."""

    low: float
    high: float

    @property
    def scale(self) -> np.float32:
        """The difference of two neighbouring values."""
        return np.float32((self.high - self.low) / _LEVELS)

    @property
    def zero_point(self) -> np.uint8:
        """The integer that represents 0."""
        return np.uint8(np.clip(np.rint(-self.low / self.scale), 0, _LEVELS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The values of one activation for the calibration inputs.

    Attributes:
        low: The smallest value, or 0 if that is smaller.
        high: The largest value, or 0 if that is larger.
        channels: The largest absolute value of each channel, `(channels,)`, along the second axis.
        sample: Some of the values, sorted.
    """

    low: float
    high: float
    channels: NDArray[np.float32]
    sample: NDArray[np.float32]


def observe(model: Any, names: Sequence[str], calibration: ModelInput) -> dict[str, Observed]:
    """The values of the named activations, for calibration inputs `(n, *input_shape)`."""
    seen: dict[str, list[_Summary]] = {name: [] for name in names}
    for values in values_of(model, names, calibration):
        for name, rows in seen.items():
            rows.append(_summary(values[name], -(-_SAMPLE // len(calibration)), len(rows)))
    return {name: _joined(rows) for name, rows in seen.items()}


def chosen_ranges(observed: Mapping[str, Observed], method: RangeMethod) -> dict[str, Range]:
    """The range of each activation by one of the methods."""
    return {name: _METHODS[method](values) for name, values in observed.items()}


@dataclass(frozen=True, slots=True)
class _Summary:
    """One activation for one input: the smallest and the largest value of each channel, and some of the values."""

    lows: NDArray[np.float32]
    highs: NDArray[np.float32]
    sample: NDArray[np.float32]


def _summary(value: NDArray[np.float32], count: int, index: int) -> _Summary:
    """About `count` values of input number `index` are kept; each input starts at another place."""
    step, others = max(1, value.size // count), tuple(axis for axis in range(value.ndim) if axis != 1)
    return _Summary(value.min(axis=others), value.max(axis=others), value.ravel()[index % step :: step])


def _joined(rows: list[_Summary]) -> Observed:
    lows = np.minimum.reduce([row.lows for row in rows])
    highs = np.maximum.reduce([row.highs for row in rows])
    return Observed(
        low=min(0.0, float(lows.min())),
        high=max(0.0, float(highs.max())),
        channels=np.maximum(np.abs(lows), np.abs(highs)),
        sample=np.sort(np.concatenate([row.sample for row in rows])),
    )


def _minmax(observed: Observed) -> Range:
    return Range(low=observed.low, high=observed.high)


def _percentile(observed: Observed) -> Range:
    low, high = np.quantile(observed.sample, (_RARE, 1 - _RARE))
    return _not_empty(Range(low=min(0.0, float(low)), high=max(0.0, float(high))), observed)


def _mse(observed: Observed) -> Range:
    """The range among parts of the full one whose quantised sample is closest to the sample (TensorRT, NNCF)."""
    ranges = [Range(low=observed.low * part, high=observed.high * part) for part in _SHRUNK]
    errors = [_squared_error(observed.sample, candidate) for candidate in ranges]
    return ranges[int(np.argmin(errors))]


def _squared_error(sample: NDArray[np.float32], span: Range) -> float:
    zero = np.float32(span.zero_point)
    integers = np.clip(np.rint(sample / span.scale) + zero, 0, _LEVELS)
    return float(np.mean(((integers - zero) * span.scale - sample) ** 2))


def _not_empty(span: Range, observed: Observed) -> Range:
    """`span`, or the full range if the rest is all zeros, as for an activation that is nearly always 0."""
    return span if span.high > span.low else _minmax(observed)


_METHODS: Final[dict[RangeMethod, Callable[[Observed], Range]]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "mse": _mse,
}
