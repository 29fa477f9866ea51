"""Tables and costs as the commands print them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from factory_base.foreign import printable
from factory_base.terminal import ascii_only, encodable, has_colours, print_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from device_profiles.costs import Costs

_UNLIMITED = 100_000
"""Columns of a file or a pipe, where nothing is cut or wrapped."""


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, keys: int = 1) -> None:
    """Print a table for people.

    Columns that do not fit into the terminal follow below as a table of their own. No cell is folded or cut.

    Args:
        header: The names of the columns.
        rows: A cell for each column.
        keys: Number of leading columns that name a row; they are repeated with each part of the table.
    """
    from rich.console import Console

    console = Console(
        file=sys.stdout,
        color_system="auto" if has_colours(sys.stdout) else None,
        force_terminal=sys.stdout.isatty(),
        width=None if sys.stdout.isatty() else _UNLIMITED,
    )
    cells = [[_shown(cell) for cell in row] for row in (header, *rows)]
    terminal = console.width
    for number, part in enumerate(_parts(console, cells, keys)):
        table = _table(cells, part)
        if number:
            print_line()
        # A single column can be wider than the terminal, which then breaks the line: better than to cut what it says.
        console.width = max(terminal, _width(console, table))
        with console.capture() as shown:
            console.print(table)
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in shown.get().splitlines()))


def print_profile_path(path: Path) -> None:
    """Print where a profile was written, and how to use it."""
    print_line(f"{path}: written; use it with `factory search --device {path}`, or name it in the targets")


def latency_text(costs: Costs) -> str:
    """A latency for people, with its relative standard deviation if that is known."""
    from factory_base.quantities import format_duration

    text = format_duration(costs.latency_us)
    return f"{text} ±{costs.latency_std_us / costs.latency_us:.0%}" if costs.latency_std_us else text


def _parts(console: Console, cells: Sequence[Sequence[str]], keys: int) -> list[list[int]]:
    """The columns of each table into which the columns are split, so that each fits if possible."""
    named, parts = list(range(keys)), []
    part = list(named)
    for column in range(keys, len(cells[0])):
        if len(part) > keys and _width(console, _table(cells, [*part, column])) > console.width:
            parts.append(part)
            part = list(named)
        part.append(column)
    return [*parts, part]


def _table(cells: Sequence[Sequence[str]], columns: Sequence[int]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.ASCII if ascii_only(sys.stdout) else box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    header, *rows = cells
    for column in columns:
        table.add_column(Text(header[column]), no_wrap=True)  # a `Text`, so that nothing in it is read as markup
    for row in rows:
        table.add_row(*(Text(row[column]) for column in columns))
    return table


def _width(console: Console, table: Table) -> int:
    return table.__rich_measure__(console, console.options.update(max_width=_UNLIMITED)).maximum


def _shown(cell: str) -> str:
    return encodable(printable(cell), sys.stdout)
