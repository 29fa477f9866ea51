"""`factory telemetry`: read the rows, hold them against a family, and print what the field says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from device_profiles.telemetry.aggregate import DeviceTelemetry, Rounding, read_rows
from exports.family.field import FieldReport, TierField, family_in_field, write_measurements
from factory_base.documents import nearest
from factory_base.errors import TelemetryError
from factory_base.quantities import format_duration
from model_factory.tables import print_table

MOST_SHOWN = 20
"""Devices or models that are shown to people; JSON holds all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A family in the field, and where the measurements were written."""

    report: FieldReport
    measurements: Path | None
    measured: int


def judge(
    rows: Path, family: Path, *, now: float, max_excess: float, rounding: str, measurements: Path | None
) -> Judged:
    """Hold the rows against the family; leave measurements for profiles in a file.

    Raises:
        TelemetryError: rows or manifest cannot be read, or the rounding is unknown.
        DiskError: the measurements cannot be written.
    """
    known: dict[str, Rounding] = {"nearest": "nearest", "down": "down"}
    if rounding not in known:
        raise TelemetryError(f"rounding {rounding!r} is unknown; {nearest(rounding, known)}")
    manifest, report = family_in_field(family, read_rows(rows, now), max_excess=max_excess, rounding=known[rounding])
    measured = write_measurements(manifest, report.telemetry, measurements) if measurements else 0
    return Judged(report=report, measurements=measurements, measured=measured)


def print_judged(judged: Judged) -> None:
    """Every tier, what is odd about devices and rows, then what is broken."""
    report = judged.report
    rows = [_cells(line) for line in report.tiers]
    header = ("tier", "model", "promised", "field median (95 % interval)", "p95", "devices", "rows", "promise")
    print_table(header, rows)
    for line in _notes(report):
        print(f"note: {line}")
    if judged.measurements is not None:
        print(f"{judged.measurements}: {judged.measured} measurements written")
    for line in report.broken:
        print(f"broken: {line}")
    if report.exit_code == 2:
        print("nothing can be said: no row is of a model whose latency the manifest promises")
    elif not report.broken:
        print("no promise is broken")


def judged_json(judged: Judged) -> str:
    """What `print_judged` shows and all devices, as JSON."""
    report = judged.report
    value = {
        "family": report.family_id,
        "release": report.release,
        "max_excess": report.max_excess,
        "tiers": [asdict(line) for line in report.tiers],
        "broken": report.broken,
        "exit_code": report.exit_code,
        "measurements": None if judged.measurements is None else str(judged.measurements),
        "telemetry": report.telemetry.model_dump(mode="json"),
    }
    return json.dumps(value, indent=2)


def _cells(line: TierField) -> tuple[str, ...]:
    promised = "-" if line.promised_us is None else f"{format_duration(line.promised_us)} ({line.basis})"
    verdict = "BROKEN" if line.verdict == "broken" else line.verdict
    field = line.field
    if field is None:
        return (line.tier, line.model, promised, "", "", "", "", verdict)
    over = f", {field.devices_over} over" if field.devices_over else ""
    interval = f"{format_duration(field.low_us)} to {format_duration(field.high_us)}"
    return (
        line.tier, line.model, promised, f"{format_duration(field.median_us)} ({interval})",
        format_duration(field.p95_us), f"{field.devices}{over}", f"{field.rows_used} of {field.rows}", verdict,
    )  # fmt: skip


def _notes(report: FieldReport) -> Iterator[str]:
    telemetry = report.telemetry
    yield f"{telemetry.rows_used} of {telemetry.rows} rows stand behind these figures"
    for line in report.tiers:
        if line.shared_with:
            yield (
                f"{line.model} is also the model of {', '.join(line.shared_with)}: devices that are not named like a "
                "tier are held against the longest latency promised"
            )
    if telemetry.nameless_rows:
        yield f"{telemetry.nameless_rows} rows have no device or no model; dropped"
    unknown = sorted(telemetry.unknown_models.items(), key=lambda item: -item[1])
    for written, count in unknown[:MOST_SHOWN]:
        yield f"model {written}: {count} rows, but the family has no such model"
    if len(unknown) > MOST_SHOWN:
        yield f"{len(unknown) - MOST_SHOWN} more models are not the family's; --json names all"
    odd = [device for device in telemetry.devices if device.notes]
    for device in sorted(odd, key=lambda device: -device.rows)[:MOST_SHOWN]:
        yield f"{device.device}: {_scale(device)}{'; '.join(device.notes)}"
    if len(odd) > MOST_SHOWN:
        yield f"{len(odd) - MOST_SHOWN} more devices have notes; --json holds all"


def _scale(device: DeviceTelemetry) -> str:
    scale = device.scale
    if scale is None:
        return ""
    return f"{scale.value:.3g} times the promised latency ({scale.low:.3g} to {scale.high:.3g}, {scale.rows} rows); "
