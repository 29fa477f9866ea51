"""Templates of pages, and how all pages write numbers."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from factory_base.quantities import format_bytes, format_duration, format_macs
from factory_base.wording import capitalised, counted


def page_environment() -> Environment:
    """Templates beside this file, with what all pages write numbers with."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent,
        percents=percents,
        macs=format_macs,
        counted=counted,
        capitalised=capitalised,
        bytes=format_bytes,
        duration=format_duration,
        seconds=_seconds,
        figure=_figure,
    )
    return environment


def _figure(value: float) -> str:
    """A number in a unit that is not known, with four digits: fewer hide what intervals say, more say nothing."""
    return f"{value:.4g}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def percents(fraction: float) -> str:
    """With the digits that tell finalists apart."""
    return f"{100 * fraction:.2f} %"


def _seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
