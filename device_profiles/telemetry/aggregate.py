"""Robust statistics of each kind of device from telemetry rows, with the number of rows behind every value.

Rows of one kind of device are treated as independent runs, since the rows do not show which of them come from the same
handset. Imports no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from device_profiles.telemetry.fit import LEVELS, DeviceFit, ModelFit, Rounding, fit_device
from device_profiles.telemetry.rows import FAULTS, Rows
from device_profiles.telemetry.units import UNCLEAR
from device_profiles.telemetry.values import FEW_ROWS, Values
from factory_base.documents import Document
from factory_base.errors import TelemetryError
from factory_base.quantities import format_duration
from factory_base.wording import counted

MIN_DIGITS = 12
"""Shortest prefix of a digest that is accepted. The 48 bits of 12 hex digits tell the models of a family apart; models
are also named by this prefix."""

_DROPPED = FAULTS[:4]
_CLOCK = FAULTS[4:]
_WORDS = {
    "not_numbers": "without a number",
    "negative": "with a negative latency",
    "infinite": "with a latency that is infinite, or longer than twelve days",
    "sent_twice": "sent twice",
    "future": "with a timestamp in the future",
    "before_2015": "with a timestamp before 2015",
    "no_timestamp": "without a timestamp that can be read",
}
"""What follows the number of rows, one or more."""

_Count = Annotated[int, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class ModelTelemetry(Document):
    """One model on one kind of device.

    Attributes:
        model: Digest of the model: in full if its latency is expected, otherwise as the app wrote it.
        known: Whether a latency is expected of the model.
        rows: Rows that could be read.
        rows_used: Rows without the invalid ones and the outliers.
        outliers: Rows that are neither cold nor throttled runs.
        latency_us: Median of the rows used, throttled runs included.
        low_us: Lower end of the median's 95 % interval.
        high_us: Upper end of the median's 95 % interval.
        p95_us: 95th percentile of the rows used.
        cold_us: Median of the runs on a device that is not throttled, which is the latency that profiles state.
        relative_std: Relative standard deviation of `cold_us`.
        quantiles_us: Quantiles of the rows used, at 1, 5, 10, 25, 50, 75, 90, 95 and 99 %.
    """

    model: str
    known: bool
    rows: _Count
    rows_used: _Count
    outliers: _Count
    latency_us: _Positive
    low_us: _Positive
    high_us: _Positive
    p95_us: _Positive
    cold_us: _Positive
    relative_std: Annotated[float, Field(ge=0)]
    quantiles_us: tuple[_Positive, ...]


class Scale(Document):
    """How many times slower than expected a cold device is, over all models with an expected latency.

    Attributes:
        value: Measured over expected latency.
        low: Lower end of the 95 % interval. The interval allows for models that deviate from the device's scale on
            their own, which cannot be seen with a single model.
        high: Upper end of the 95 % interval.
        rows: Number of rows behind the value.
        models: Number of models behind the value.
    """

    value: _Positive
    low: _Positive
    high: _Positive
    rows: _Count
    models: Annotated[int, Field(ge=1)]


class Throttling(Document):
    """A second, slower mode of a device.

    Attributes:
        share: Share of the rows used.
        factor: How many times slower than a cold device.
    """

    share: _Share
    factor: Annotated[float, Field(gt=1)]


class DeviceTelemetry(Document):
    """One kind of device.

    Attributes:
        device: Name of the kind of device.
        rows: Rows that name the device.
        rows_used: Rows without the dropped ones and the outliers.
        dropped: Reason -> dropped rows.
        scale: How many times slower than expected the device is; None if nothing is expected of its models.
        throttling: The second mode; None if none is seen. A mode that is slower by less than about twice the noise
            cannot be seen.
        noise: Relative standard deviation of single cold runs.
        step_us: Step that most latencies are rounded to; 0 if they are not rounded.
        corrected_rows: Rows that were written in another unit, off by 1000.
        notes: What was done with the rows, for people.
        models: Models with usable rows.
    """

    device: str
    rows: _Count
    rows_used: _Count
    dropped: dict[str, _Count]
    scale: Scale | None = None
    throttling: Throttling | None = None
    noise: float | None = None
    step_us: Annotated[float, Field(ge=0)] = 0.0
    corrected_rows: _Count = 0
    notes: tuple[str, ...] = ()
    models: tuple[ModelTelemetry, ...] = ()


class Telemetry(Document):
    """The statistics of all rows of a file.

    Attributes:
        source: Name of the file.
        rows: All rows.
        rows_used: Rows behind the statistics.
        nameless_rows: Rows without a device or a model.
        unknown_models: Model without an expected latency, as the app wrote it -> its rows.
        devices: Kinds of devices, sorted by name.
        notes: What was done with the whole file, for people.
    """

    source: str
    rows: _Count
    rows_used: _Count
    nameless_rows: _Count
    unknown_models: dict[str, _Count]
    devices: tuple[DeviceTelemetry, ...]
    notes: tuple[str, ...] = ()


def digest_for(written: str, known: Collection[str]) -> str | None:
    """Return the known digest that `written` equals or begins; None if it is too short, unknown or ambiguous."""
    if not re.fullmatch(rf"[0-9a-f]{{{MIN_DIGITS},64}}", written):
        return None
    found = [digest for digest in known if digest.startswith(written)]
    return found[0] if len(found) == 1 else None


def aggregate(
    rows: Rows,
    expected_us: Mapping[str, float],
    *,
    rounding: Rounding = "nearest",
    devices: Collection[str] | None = None,
) -> Telemetry:
    """Compute robust statistics of every kind of device.

    Args:
        rows: Rows from `read_rows`.
        expected_us: Full digest of a model -> its expected latency on the reference device, microseconds.
        rounding: How the app rounds latencies, if it does.
        devices: Kinds of devices to look at; all if None.

    Raises:
        TelemetryError: An expected latency is not above zero.
    """
    for digest, latency in expected_us.items():
        if not (math.isfinite(latency) and latency > 0):
            raise TelemetryError(f"model {digest}: the expected latency is {latency} us; give one above zero")
    names = [digest_for(written, expected_us) for written in rows.models]
    ends = np.searchsorted(rows.device, np.arange(len(rows.devices) + 1))
    wanted = [index for index, name in enumerate(rows.devices) if devices is None or name in devices]
    found = [
        _device(rows, index, slice(ends[index], ends[index + 1]), names, expected_us, rounding) for index in wanted
    ]
    counts = np.bincount(rows.model, rows.count * np.isin(rows.device, wanted), minlength=len(rows.models))
    unknown = {
        written: int(count)
        for written, name, count in zip(rows.models, names, counts, strict=True)
        if name is None and count
    }
    return Telemetry(
        source=rows.source,
        rows=sum(device.rows for device in found) + rows.nameless,
        rows_used=sum(device.rows_used for device in found),
        nameless_rows=rows.nameless,
        unknown_models=unknown,
        devices=tuple(sorted(found, key=lambda device: device.device)),
        notes=rows.notes,
    )


def _device(
    rows: Rows, index: int, part: slice, names: list[str | None], expected_us: Mapping[str, float], rounding: Rounding
) -> DeviceTelemetry:
    faults = dict(zip(FAULTS, rows.faults[index].tolist(), strict=True))
    dropped = {reason: faults[reason] for reason in _DROPPED if faults[reason]}
    clock_ok, count = rows.clock_ok[part], rows.count[part]
    kept = np.ones(len(count), np.bool_)
    if 2 * count[clock_ok].sum() >= count.sum():
        kept = clock_ok
        dropped |= {reason: faults[reason] for reason in _CLOCK if faults[reason]}
    written = [names[model] or rows.models[model] for model in rows.model[part][kept]]
    models, inverse = np.unique(np.array(written, dtype=object), return_inverse=True)
    values = Values(
        latency_us=rows.latency_us[part][kept],
        model=inverse.astype(np.int64),
        count=count[kept].astype(np.float64),
        expected_us=np.array([expected_us.get(model, math.nan) for model in models], dtype=np.float64),
    )
    fit = fit_device(values, rounding) if len(models) else None
    if fit is None or fit.zeros:
        dropped["zero"] = fit.zeros if fit else int(count[kept].sum())
    found = [] if fit is None else _models(fit, values, list(models))
    used = sum(model.rows_used for model in found)
    device = DeviceTelemetry(
        device=rows.devices[index], rows=int(rows.total[index]), rows_used=used,
        dropped={reason: number for reason, number in dropped.items() if number}, models=tuple(found),
        notes=_notes(rows, index, fit, faults, dropped, used),
    )  # fmt: skip
    return device if fit is None else device.model_copy(update=_fitted(fit, found))


def _fitted(fit: DeviceFit, models: list[ModelTelemetry]) -> dict[str, object]:
    known = [model for model in models if model.known]
    scale = throttling = None
    if fit.scale is not None:
        value, low, high = fit.scale
        scale = Scale(value=value, low=low, high=high, rows=sum(m.rows_used for m in known), models=len(known))
    if fit.mixture.throttled:
        throttling = Throttling(share=fit.mixture.throttled, factor=math.exp(fit.mixture.slowdown))
    return {
        "scale": scale, "throttling": throttling, "noise": fit.mixture.noise, "step_us": fit.step_us,
        "corrected_rows": fit.corrected,
    }  # fmt: skip


def _models(fit: DeviceFit, values: Values, names: list[str]) -> list[ModelTelemetry]:
    counts = np.bincount(values.model, values.count, minlength=len(names))
    return [
        _model(part, name, int(count), not math.isnan(expected))
        for part, name, count, expected in zip(fit.models, names, counts, values.expected_us, strict=True)
        if part is not None
    ]


def _model(part: ModelFit, name: str, rows: int, known: bool) -> ModelTelemetry:
    return ModelTelemetry(
        model=name, known=known, rows=rows, rows_used=part.rows_used, outliers=part.outliers,
        latency_us=part.median_us, low_us=part.low_us, high_us=part.high_us,
        p95_us=part.quantiles_us[LEVELS.index(0.95)], cold_us=part.cold_us, relative_std=part.cold_std,
        quantiles_us=part.quantiles_us,
    )  # fmt: skip


def _notes(
    rows: Rows, index: int, fit: DeviceFit | None, faults: dict[str, int], dropped: dict[str, int], used: int
) -> tuple[str, ...]:
    notes = [
        f"{counted(count, 'row')} {_WORDS[reason]}; {'dropped' if reason in dropped else 'kept, as most have'}"
        for reason, count in faults.items()
        if count
    ]
    if dropped.get("zero"):
        notes.append(f"{counted(dropped['zero'], 'row')} with a latency of zero; dropped")
    if rows.coarsened[index]:
        notes.append("so many rows that the latencies of some models were rounded to four digits")
    if fit is None:
        return (*notes, "no row is left")
    if fit.unit_factor != 1:
        wrong = "large" if fit.unit_factor > 1 else "small"
        factor = max(fit.unit_factor, 1 / fit.unit_factor)
        notes.append(f"all latencies were {factor:g} times too {wrong} for what is expected; corrected")
    elif fit.corrected:
        notes.append(f"{counted(fit.corrected, 'row')} in another unit, off by 1000; corrected")
    elif fit.scale is not None and abs(math.log(fit.scale[0])) > UNCLEAR:
        notes.append(
            f"latencies are {fit.scale[0]:.3g} times what is expected: kept as they are; check the unit of their column"
        )
    if fit.step_us:
        notes.append(f"latencies are rounded to {format_duration(fit.step_us)}")
    if fit.mixture.throttled:
        factor = math.exp(fit.mixture.slowdown)
        notes.append(
            f"throttled in {fit.mixture.throttled:.0%} of the rows, with latencies "
            f"{factor:.2f} times those of the cold device"
        )
    if fit.rival is not None:
        notes.append("slow runs may be throttling or noise; the interval of the scale allows for both")
    if used < FEW_ROWS:
        notes.append(f"only {counted(used, 'row')}, so the interval is wide")
    return tuple(notes)
