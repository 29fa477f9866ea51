"""Tables fit the terminal: what does not fit follows below, and no cell is folded or cut."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from model_factory.commands.tables import print_table

HEADER = ("tier", "device latency", "peak memory", "file", "test accuracy", "model")
ROWS = [
    ("speaker", "212 us ±60% (modelled)", "540 KiB", "17.1 KiB", "71.11% (66.8% to 75.1%)", "m0805c9e3e6f5"),
    ("midrange", "84 us ±60% (modelled)", "589 KiB", "50.8 KiB", "82.89% (79.1% to 86.1%)", "m40557aa855f1"),
]


class Screen(io.StringIO):
    """Standard output on a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Prints a table on a terminal and returns what the terminal got."""
    for name, value in {"TERM": "xterm", "NO_COLOR": "1", "LANG": "en_US.UTF-8", "LC_ALL": ""}.items():
        monkeypatch.setenv(name, value)

    def show(columns: int, header=HEADER, rows=ROWS) -> str:
        screen = Screen()
        with monkeypatch.context() as terminal:
            terminal.setenv("COLUMNS", str(columns))
            terminal.setattr(sys, "stdout", screen)
            print_table(header, rows)
        return screen.getvalue()

    return show


@pytest.mark.parametrize("columns", [50, 80, 100, 160])
def test_every_cell_is_whole_and_every_part_names_its_rows(printed, columns):
    text = printed(columns)
    assert max(map(len, text.splitlines())) <= columns
    assert all(cell in text for row in (HEADER, *ROWS) for cell in row)
    parts = text.split("\n\n")
    assert len(parts) == {50: 3, 80: 2, 100: 1, 160: 1}[columns]
    assert all(part.startswith("tier ") and "midrange" in part for part in parts)


def test_a_cell_wider_than_the_terminal_is_whole_too(printed):
    assert "x" * 60 in printed(40, ("tier", "why"), [("speaker", "x" * 60)])


def test_a_file_gets_one_part_without_control_sequences(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table(HEADER, ROWS)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 4
    assert "\x1b" not in out


def test_an_ascii_terminal_gets_ascii(printed, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    text = printed(80)
    assert text.isascii()
    assert text.splitlines()[1].startswith("---------+---")
    assert "| 212 us +/-60% (modelled) |" in text


def test_text_from_outside_is_neither_markup_nor_control_characters(printed):
    rows = [("[red]a[/]", "\x1b[31mb\nspeaker  forged"), ("[/]", "[link=x]")]
    lines = printed(80, ("tier", "model"), rows).splitlines()
    assert len(lines) == 4
    assert lines[2].split("  ")[0] == "[red]a[/]"
    assert r"\x1b[31mb\nspeaker  forged" in lines[2]
    assert lines[3].split() == ["[/]", "[link=x]"]
