"""Tables and costs as the commands print them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_profiles.costs import Costs

_MIN_WIDTH = 100
"""Columns below which folded cells would make the tables unreadable; narrower terminals get `_FULL_WIDTH` instead."""
_FULL_WIDTH = 160
"""Columns in which tables fit without folded cells, for narrow terminals and for pipes."""


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table for people, with one column for each entry of `header`."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in header:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal or console.width < _MIN_WIDTH:
        console = Console(width=_FULL_WIDTH)
    console.print(table)


def latency_text(costs: Costs) -> str:
    """A latency for people, with its relative standard deviation if that is known."""
    from factory_base.quantities import format_duration

    text = format_duration(costs.latency_us)
    return f"{text} ±{costs.latency_std_us / costs.latency_us:.0%}" if costs.latency_std_us else text
