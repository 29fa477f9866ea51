"""`factory telemetry`: read the rows and compare them with what a family promises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from device_profiles.telemetry.fit import Rounding
from device_profiles.telemetry.rows import read_rows
from exports.family.field import FieldReport, family_in_field, write_measurements


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldComparison:
    """Latencies from the field compared with those that a family promises.

    Attributes:
        report: The comparison, tier by tier.
        measurements: The file that the latencies of each device were written to, if one was asked for.
        measured: Number of rows in that file.
    """

    report: FieldReport
    measurements: Path | None
    measured: int


def compare(
    rows: Path, family: Path, *, now: float, max_excess: float, rounding: Rounding, measurements: Path | None
) -> FieldComparison:
    """Compare the rows with what the family promises; write the latencies of each device to a file if asked to.

    Args:
        rows: A Parquet or CSV file, one row per run of a model.
        family: The family's folder or its manifest.
        now: The time now in seconds since 1970; later timestamps are implausible.
        max_excess: Relative excess over a promised latency that still counts as kept.
        rounding: How the app rounds latencies to whole milliseconds.
        measurements: The file to write, from which `factory onboard` makes profiles; None to write none.

    Raises:
        TelemetryError: The rows or the manifest cannot be read.
        DiskError: The measurements cannot be written.
    """
    manifest, report = family_in_field(family, read_rows(rows, now), max_excess=max_excess, rounding=rounding)
    measured = write_measurements(manifest, report.telemetry, measurements) if measurements else 0
    return FieldComparison(report=report, measurements=measurements, measured=measured)
