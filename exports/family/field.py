"""A family in the field: telemetry compared with the latencies that its manifest promises."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from device_profiles.telemetry.aggregate import (
    DeviceTelemetry,
    ModelTelemetry,
    Telemetry,
    aggregate,
    digest_for,
)
from device_profiles.telemetry.fit import LEVELS, Rounding
from device_profiles.telemetry.rows import Rows
from exports.family.manifest import read_manifest
from exports.family.records import Basis, Manifest, Model, Perf, Tier
from factory_base.errors import ManifestError, TelemetryError
from factory_base.files import write_text
from factory_base.quantities import format_duration
from factory_base.wording import counted

Verdict = Literal["kept", "broken", "unclear", "no rows", "no promise"]
"""Whether a promised latency is kept; `unclear` if it is within the interval of the measured one."""

_MEDIAN = LEVELS.index(0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldLatency:
    """The measured latency of one model on the devices of a tier, in microseconds.

    Attributes:
        devices: The number of kinds of devices.
        rows: The number of rows of telemetry.
        rows_used: The number of rows that the latencies below are computed from.
        median_us: The median over these rows of all devices.
        low_us: The lower end of its 95 % interval. It is valid for these devices, not for devices that sent no row.
        high_us: The upper end of its 95 % interval.
        p95_us: The 95th percentile over the same rows.
        devices_over: The number of kinds of devices whose own interval is above the promised latency.
    """

    devices: int
    rows: int
    rows_used: int
    median_us: float
    low_us: float
    high_us: float
    p95_us: float
    devices_over: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TierField:
    """One model of one tier, compared with the field.

    Attributes:
        tier: The id of the tier.
        platform: The platform of the tier.
        model: The id of the model in the manifest.
        promised_us: The promised latency; None if the manifest does not state one for this tier.
        basis: The provenance of the promised latency.
        field: The measured latency; None if there are no rows.
        verdict: Whether the promise is kept.
        shared_with: Other tiers with the same model and a promise; rows of their devices cannot be distinguished.
    """

    tier: str
    platform: str
    model: str
    promised_us: int | None
    basis: Basis | None
    field: FieldLatency | None
    verdict: Verdict
    shared_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldReport:
    """All tiers of a family, compared with the field.

    Attributes:
        family_id: The name of the family.
        release: The number of its release.
        max_excess: The relative excess over a promised latency that still counts as kept.
        tiers: One entry for each model of each tier.
        telemetry: The telemetry that they are compared with.
    """

    family_id: str
    release: int
    max_excess: float
    tiers: tuple[TierField, ...]
    telemetry: Telemetry

    @property
    def broken(self) -> tuple[str, ...]:
        """One line for each broken promise, with the name of the tier."""
        return tuple(_broken(line) for line in self.tiers if line.verdict == "broken")

    @property
    def exit_code(self) -> int:
        """1 if a promise is broken, 2 if there are no rows for any promise, otherwise 0."""
        if self.broken:
            return 1
        return 0 if any(line.verdict in ("kept", "unclear") for line in self.tiers) else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A model in a tier, with the latency that the manifest promises for it."""

    tier: Tier
    model: str
    perf: Perf | None


def family_in_field(
    family: Path, rows: Rows, *, max_excess: float = 0.0, rounding: Rounding = "nearest"
) -> tuple[Manifest, FieldReport]:
    """Compare telemetry with a family, given by its folder or manifest; see `field_report`.

    Raises:
        TelemetryError: The manifest cannot be read.
    """
    try:
        manifest = read_manifest(family)
    except ManifestError as error:
        raise TelemetryError(f"the telemetry cannot be compared: {error}") from error
    return manifest, field_report(manifest, rows, max_excess=max_excess, rounding=rounding)


def field_report(
    manifest: Manifest, rows: Rows, *, max_excess: float = 0.0, rounding: Rounding = "nearest"
) -> FieldReport:
    """Compare telemetry with the latencies that a manifest promises.

    Rows belong to the tier whose id is the name of their device, if that tier has the model. Otherwise they belong to
    the tier that has the model; if there are several, to the one that promises the longest latency, so that no promise
    is called broken because of another tier's devices.

    Args:
        manifest: The manifest of the family that the app used.
        rows: The app's telemetry.
        max_excess: The relative excess over a promised latency that still counts as kept.
        rounding: How the app rounds latencies.
    """
    places = [
        _Place(tier=tier, model=name, perf=_promise(manifest.models[name], tier.id))
        for tier in manifest.tiers
        for name in tier.models
    ]
    digests = {_weights(model): name for name, model in manifest.models.items()}
    telemetry = _aggregated(manifest, rows, places, digests, rounding)
    behind: dict[int, list[ModelTelemetry]] = defaultdict(list)
    for device in telemetry.devices:
        for model in device.models:
            place = _place(places, digests.get(model.model, ""), device.device)
            if place is not None:
                behind[places.index(place)].append(model)
    return FieldReport(
        family_id=manifest.family_id, release=manifest.release, max_excess=max_excess, telemetry=telemetry,
        tiers=tuple(_line(place, places, behind[index], max_excess) for index, place in enumerate(places)),
    )  # fmt: skip


def write_measurements(manifest: Manifest, telemetry: Telemetry, path: Path) -> int:
    """Write the latency of each model of the family on each device as CSV.

    The columns are `device`, `model` (its digest), `latency_us` (of the cold device), `relative_std` (of that latency),
    `rows` (from which it is computed), and one for each choice of the subnets. Models that the family does not have are
    left out.

    Returns:
        The number of lines without the header.

    Raises:
        DiskError: The file cannot be written.
    """
    models = {_weights(model): model for model in manifest.models.values()}
    choices = list(dict.fromkeys(name for model in models.values() for name in model.subnet.values))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["device", "model", "latency_us", "relative_std", "rows", *choices])
    lines = 0
    for device in telemetry.devices:
        for entry in device.models:
            if entry.model not in models:
                continue
            values = models[entry.model].subnet.values
            measured = [f"{entry.cold_us:.6g}", f"{entry.relative_std:.3g}", entry.rows_used]
            writer.writerow([device.device, entry.model, *measured, *(values.get(name, "") for name in choices)])
            lines += 1
    write_text(path, stream.getvalue())
    return lines


def _promise(model: Model, tier: str) -> Perf | None:
    return next((perf for perf in model.perf if perf.device == tier), None)


def _weights(model: Model) -> str:
    """The digest that identifies a model: that of the file which its engine opens."""
    return model.files[0].sha256


def _place(places: Sequence[_Place], model: str, device: str) -> _Place | None:
    """The tier to which rows of `model` on `device` belong; None if no tier has the model."""
    own = [place for place in places if place.model == model]
    named = [place for place in own if place.tier.id == device]
    return max(named or own, key=lambda place: place.perf.latency_us if place.perf else 0, default=None)


def _aggregated(
    manifest: Manifest, rows: Rows, places: Sequence[_Place], digests: Mapping[str, str], rounding: Rounding
) -> Telemetry:
    """Aggregated telemetry; the scale of each device is relative to the tier to which most of its rows belong."""
    names = [digest_for(written, digests) for written in rows.models]
    votes: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    pairs, inverse = np.unique(rows.device * len(rows.models) + rows.model, return_inverse=True)
    for pair, count in zip(pairs.tolist(), np.bincount(inverse, rows.count), strict=True):
        device, digest = pair // len(rows.models), names[pair % len(rows.models)]
        place = _place(places, digests[digest], rows.devices[device]) if digest is not None else None
        if place is not None:
            votes[device][place.tier.id] += int(count)
    references: dict[str, list[str]] = defaultdict(list)
    for index, name in enumerate(rows.devices):
        tiers = votes[index]
        references[max(tiers, key=lambda tier: tiers[tier]) if tiers else ""].append(name)
    parts = []
    for reference, devices in references.items():
        found = {digest: _promise(manifest.models[name], reference) for digest, name in digests.items()}
        # A model without a promise in this tier still belongs to the family, so its rows get the full digest.
        expected = {digest: float(perf.latency_us) for digest, perf in found.items() if perf is not None}
        parts.append(aggregate(rows, expected, rounding=rounding, devices=set(devices)))
    return _joined(rows, parts, digests)


def _joined(rows: Rows, parts: Sequence[Telemetry], digests: Mapping[str, str]) -> Telemetry:
    devices = sorted((_named(device, digests) for part in parts for device in part.devices), key=lambda d: d.device)
    unknown: dict[str, int] = defaultdict(int)
    for part in parts:
        for written, count in part.unknown_models.items():
            if digest_for(written, digests) is None:
                unknown[written] += count
    return Telemetry(
        source=rows.source,
        rows=sum(device.rows for device in devices) + rows.nameless,
        rows_used=sum(device.rows_used for device in devices),
        nameless_rows=rows.nameless,
        unknown_models=dict(sorted(unknown.items())),
        devices=tuple(devices),
    )


def _named(device: DeviceTelemetry, digests: Mapping[str, str]) -> DeviceTelemetry:
    """`device` with full digests for all models of the family, also for those without an expected latency."""
    models = [
        model.model_copy(update={"model": digest_for(model.model, digests) or model.model}) for model in device.models
    ]
    return device.model_copy(update={"models": tuple(models)})


def _line(place: _Place, places: Sequence[_Place], found: Sequence[ModelTelemetry], max_excess: float) -> TierField:
    promised = place.perf.latency_us if place.perf else None
    limit = None if promised is None else promised * (1 + max_excess)
    field = _pooled(found, limit) if found else None
    verdict: Verdict = "no promise" if limit is None else "no rows"
    if field is not None and limit is not None:
        verdict = "broken" if field.low_us > limit else "kept" if field.high_us <= limit else "unclear"
    others = [other for other in places if other.model == place.model and other.tier.id != place.tier.id and other.perf]
    return TierField(
        tier=place.tier.id, platform=place.tier.platform, model=place.model, promised_us=promised,
        basis=place.perf.basis if place.perf else None, field=field, verdict=verdict,
        shared_with=tuple(other.tier.id for other in others) if found else (),
    )  # fmt: skip


def _pooled(found: Sequence[ModelTelemetry], limit: float | None) -> FieldLatency:
    """The rows of several devices as one distribution, with the interval of its median by Woodruff; devices are strata.

    Source: Woodruff, "Confidence intervals for medians and other position measures", JASA 47 (1952).
    """
    used = np.array([model.rows_used for model in found], dtype=np.float64)
    logs = [np.maximum.accumulate(np.log(model.quantiles_us)) for model in found]
    grid = np.unique(np.concatenate(logs))
    shares = np.array([_shares(grid, log) for log in logs])
    weights = used / used.sum()
    median, p95 = (_quantile(grid, weights @ shares, level) for level in (0.5, 0.95))
    ends = found[0].low_us, found[0].high_us
    if len(found) > 1:
        below = np.array([_shares(np.array([median]), log)[0] for log in logs])
        # With few rows, a device may be on either side of the median, wherever its own median is. So its variance is at
        # least that of an even chance (1/4) for one row of n + 1.
        uncertain = np.maximum(below * (1 - below), 0.25 / (used + 1))
        half = float(t.ppf(0.975, used.sum())) * math.sqrt(float(weights**2 @ (uncertain / used)))
        low, high = (_quantile(grid, weights @ shares, 0.5 + side * half) for side in (-1, 1))
        ends = math.exp(low), math.exp(high)
    else:
        median, p95 = float(logs[0][_MEDIAN]), math.log(found[0].p95_us)
    return FieldLatency(
        devices=len(found), rows=sum(model.rows for model in found), rows_used=int(used.sum()),
        median_us=math.exp(median), low_us=ends[0], high_us=ends[1], p95_us=math.exp(p95),
        devices_over=0 if limit is None else sum(model.low_us > limit for model in found),
    )  # fmt: skip


def _shares(at: NDArray[np.float64], log: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of a device's rows that are below each value of `at`."""
    return np.asarray(np.interp(at, log, np.array(LEVELS), left=0.0, right=1.0))


def _quantile(grid: NDArray[np.float64], shares: NDArray[np.float64], level: float) -> float:
    return float(np.interp(level, shares, grid))


def _broken(line: TierField) -> str:
    field = line.field
    if field is None or line.promised_us is None:
        return ""
    return (
        f"tier {line.tier}: {line.model} takes {format_duration(field.median_us)} in the field (95 % interval "
        f"{format_duration(field.low_us)} to {format_duration(field.high_us)}; {counted(field.devices, 'device')}, "
        f"{counted(field.rows_used, 'row')}), {format_duration(line.promised_us)} are promised ({line.basis})"
    )
