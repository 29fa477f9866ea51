"""`factory telemetry`: compare latencies from the field with those that a family promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory_base.terminal import print_json, print_line
from factory_base.wording import counted
from model_factory.commands.options import JsonOption, RoundingName
from model_factory.commands.tables import print_table

if TYPE_CHECKING:
    from device_profiles.telemetry.aggregate import DeviceTelemetry
    from exports.family.field import FieldReport, TierField
    from model_factory.jobs.telemetry import FieldComparison

MOST_SHOWN = 20
"""Devices, or models, that the text for people lists, so that it fits on a page; the JSON holds all of them."""


def telemetry(
    rows: Annotated[
        Path,
        typer.Argument(
            metavar="ROWS",
            help="A Parquet or CSV file with columns device, model, latency_us (or latency_ms, latency_s) and, if you "
            "like, timestamp.",
        ),
    ],
    family: Annotated[
        Path, typer.Option(metavar="FAMILY", help="The family that the app had: its folder or its manifest.")
    ],
    measurements: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the latencies of each device to this CSV file.", show_default=False),
    ] = None,
    max_excess: Annotated[
        float, typer.Option(metavar="F", help="Accepted excess over a promised latency: 0.05 is 5 %.", min=0)
    ] = 0.0,
    rounding: Annotated[
        RoundingName, typer.Option(help="How the app rounds latencies to whole milliseconds.")
    ] = RoundingName.nearest,
    as_json: JsonOption = False,
) -> None:
    """Compare latencies from the field with promised ones. Exit code 0: none is broken; 1: one is; 2: unknown."""
    import time

    from model_factory.jobs.telemetry import compare

    compared = compare(
        rows, family, now=time.time(), max_excess=max_excess, rounding=rounding.value, measurements=measurements
    )
    if as_json:
        print_json(comparison_json(compared))
    else:
        print_comparison(compared)
    raise typer.Exit(compared.report.exit_code)


def print_comparison(compared: FieldComparison) -> None:
    """Print every tier, notes on devices and rows, then the promises that are broken."""
    report = compared.report
    rows = [_cells(line) for line in report.tiers]
    header = ("tier", "model", "promised", "field median (95 % interval)", "p95", "devices", "rows", "promise")
    print_table(header, rows)
    for line in _notes(report):
        print_line(f"note: {line}")
    if compared.measurements is not None:
        print_line(f"{compared.measurements}: {counted(compared.measured, 'measurement')} written")
    for line in report.broken:
        print_line(f"broken: {line}")
    if report.exit_code == 2:
        print_line("unknown: no row belongs to a model whose latency the manifest promises")
    elif not report.broken:
        print_line("no promise is broken")


def comparison_json(compared: FieldComparison) -> dict[str, Any]:
    """What `print_comparison` shows, and all devices, as a value for JSON."""
    report = compared.report
    return {
        "family": report.family_id,
        "release": report.release,
        "max_excess": report.max_excess,
        "tiers": [asdict(line) for line in report.tiers],
        "broken": report.broken,
        "exit_code": report.exit_code,
        "measurements": None if compared.measurements is None else str(compared.measurements),
        "telemetry": report.telemetry.model_dump(mode="json"),
    }


def _cells(line: TierField) -> tuple[str, ...]:
    from factory_base.quantities import format_duration

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
    yield f"{telemetry.rows_used} of {counted(telemetry.rows, 'row')} used"
    yield from telemetry.notes
    for line in report.tiers:
        if line.shared_with:
            yield (
                f"{line.model} is also the model of {', '.join(line.shared_with)}: devices that are not named like a "
                "tier are compared with the longest latency promised"
            )
    if telemetry.nameless_rows:
        yield f"{counted(telemetry.nameless_rows, 'row')} had to be dropped, because the device or the model is missing"
    unknown = sorted(telemetry.unknown_models.items(), key=lambda item: -item[1])
    for written, count in unknown[:MOST_SHOWN]:
        yield f"model {written}: {counted(count, 'row')}, but the family has no such model"
    if len(unknown) > MOST_SHOWN:
        yield f"{counted(len(unknown) - MOST_SHOWN, 'more model')} outside the family; --json names all of them"
    odd = [device for device in telemetry.devices if device.notes]
    for device in sorted(odd, key=lambda device: -device.rows)[:MOST_SHOWN]:
        yield f"{device.device}: {_scale(device)}{'; '.join(device.notes)}"
    if len(odd) > MOST_SHOWN:
        yield f"notes on {counted(len(odd) - MOST_SHOWN, 'more device')}; --json holds all of them"


def _scale(device: DeviceTelemetry) -> str:
    scale = device.scale
    if scale is None:
        return ""
    rows = counted(scale.rows, "row")
    return f"{scale.value:.3g} times the promised latency ({scale.low:.3g} to {scale.high:.3g}, {rows}); "
