"""`factory telemetry`: read the rows and compare them with what a family promises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from device_profiles.telemetry.aggregate import Rounding, read_rows
from exports.family.field import FieldReport, family_in_field, write_measurements


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A family in the field, and where the measurements were written."""

    report: FieldReport
    measurements: Path | None
    measured: int


def judge(
    rows: Path, family: Path, *, now: float, max_excess: float, rounding: Rounding, measurements: Path | None
) -> Judged:
    """Hold the rows against the family; leave measurements for profiles in a file.

    Raises:
        TelemetryError: rows or manifest cannot be read.
        DiskError: the measurements cannot be written.
    """
    manifest, report = family_in_field(family, read_rows(rows, now), max_excess=max_excess, rounding=rounding)
    measured = write_measurements(manifest, report.telemetry, measurements) if measurements else 0
    return Judged(report=report, measurements=measurements, measured=measured)
