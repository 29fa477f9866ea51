"""Telemetry is measurement: what rows from the field say of each kind of device, and how many rows stand behind it.

Rows of one kind of device are taken as independent runs; that some come from the same handset is not known here.
Imports no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from device_profiles.telemetry.fit import LEVELS, DeviceFit, ModelFit, Rounding, Values, fit_device
from device_profiles.telemetry.rows import FAULTS, Rows, read_rows
from factory_base.documents import Document
from factory_base.errors import TelemetryError
from factory_base.quantities import format_duration

__all__ = ["DeviceTelemetry", "ModelTelemetry", "Rounding", "Rows", "Telemetry", "aggregate", "digest_for", "read_rows"]

MIN_DIGITS = 12
"""Of a digest that is not written in full."""

FEW_ROWS = 20
"""Below so many rows a note says that they are few."""

_DROPPED = FAULTS[:4]
_CLOCK = FAULTS[4:]
_WORDS = {
    "not_numbers": "are no numbers",
    "negative": "are negative",
    "infinite": "are infinite",
    "sent_twice": "were sent twice",
    "future": "have a timestamp in the future",
    "before_2015": "have a timestamp before 2015",
    "no_timestamp": "have no timestamp that can be read",
}

_Count = Annotated[int, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class ModelTelemetry(Document):
    """One model on one kind of device.

    Attributes:
        model: its digest: in full where it is expected, else as the app wrote it.
        known: whether something was expected of it.
        rows: all that could be read.
        rows_used: without those that are invalid or outliers.
        outliers: rows that are neither cold nor throttled runs.
        latency_us: median of the rows used, throttled ones included.
        low_us: of its 95 % interval.
        high_us: of its 95 % interval.
        p95_us: 95th percentile of the rows used.
        cold_us: median of the runs on a device that is not throttled; what a profile states.
        relative_std: standard deviation of `cold_us`, relative.
        quantiles_us: of the rows used, at 1, 5, 10, 25, 50, 75, 90, 95, 99 %.
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
    """How many times slower than expected a cold device is, over all models of which something is expected.

    Attributes:
        low: of the 95 % interval, which allows for models that differ from the device's scale by themselves (with one
            model that cannot be seen).
        high: of the 95 % interval.
        rows: that stand behind it.
        models: likewise.
    """

    value: _Positive
    low: _Positive
    high: _Positive
    rows: _Count
    models: Annotated[int, Field(ge=1)]


class Throttling(Document):
    """A second, slower mode of a device.

    Attributes:
        share: of the rows used.
        factor: how many times slower than cold.
    """

    share: _Share
    factor: Annotated[float, Field(gt=1)]


class DeviceTelemetry(Document):
    """One kind of device.

    Attributes:
        rows: all that name it.
        rows_used: without the dropped ones and outliers.
        dropped: rows by reason.
        scale: None where nothing is expected of its models.
        throttling: None where no second mode is seen. A mode that is less slower than about twice the noise is not.
        noise: relative standard deviation of single cold runs.
        step_us: that most latencies are rounded to; 0 where they are not.
        corrected_rows: that were written in another unit, off by 1000.
        notes: what was done with the rows, for people.
        models: those with rows that can be used.
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
    """All rows of a file.

    Attributes:
        source: the file.
        rows: all of it.
        rows_used: that stand behind the figures.
        nameless_rows: without a device or a model.
        unknown_models: rows of each model, as the app wrote it, of which nothing is expected.
        devices: sorted by name.
    """

    source: str
    rows: _Count
    rows_used: _Count
    nameless_rows: _Count
    unknown_models: dict[str, _Count]
    devices: tuple[DeviceTelemetry, ...]


def digest_for(written: str, known: Collection[str]) -> str | None:
    """The known digest that `written` is or starts; None where it is none, too short, or fits several."""
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
    """Robust figures of every kind of device.

    Args:
        rows: see `read_rows`.
        expected_us: microseconds expected of each model, by its full digest, on whatever device is the reference.
        rounding: what the app does where it rounds.
        devices: only these; all if None.

    Raises:
        TelemetryError: an expected latency is not above zero.
    """
    for digest, latency in expected_us.items():
        if not (math.isfinite(latency) and latency > 0):
            raise TelemetryError(f"model {digest}: {latency} us is no latency to expect; give one above zero")
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
        f"{count} rows {_WORDS[reason]}; {'dropped' if reason in dropped else 'kept, as most have'}"
        for reason, count in faults.items()
        if count
    ]
    if dropped.get("zero"):
        notes.append(f"{dropped['zero']} rows are zero; dropped")
    if rows.coarsened[index]:
        notes.append("so many rows that the latencies of some models were counted to four digits")
    if fit is None:
        return (*notes, "no row is left")
    if fit.unit_factor != 1:
        wrong = "large" if fit.unit_factor > 1 else "small"
        factor = max(fit.unit_factor, 1 / fit.unit_factor)
        notes.append(f"all latencies were {factor:g} times too {wrong} for what is expected; corrected")
    elif fit.corrected:
        notes.append(f"{fit.corrected} rows are in another unit, off by 1000; corrected")
    if fit.step_us:
        notes.append(f"latencies are rounded to {format_duration(fit.step_us)}")
    if fit.mixture.throttled:
        factor = math.exp(fit.mixture.slowdown)
        notes.append(f"throttled in {fit.mixture.throttled:.0%} of the rows, then {factor:.2f} times slower")
    if fit.rival is not None:
        notes.append("slow runs may be throttling or noise; the interval of the scale allows for both")
    if used < FEW_ROWS:
        notes.append(f"only {used} rows, so the interval is wide")
    return tuple(notes)
