"""Progress keeps its counters and times whole in terminals of any usual width."""

from __future__ import annotations

import io
import sys

import pytest

from model_factory import console
from model_factory.console import Console, Pace, clock, progress_text

DETAIL = "timing: 3 of 120 networks and parts in round 3 on a board with a long name"


@pytest.fixture
def pace() -> Pace:
    """A resumed stage: units 10 to 14 of 200 took 8 s."""
    pace = Pace(100.0)
    for done in range(10, 15):
        pace.report(done, 200, 100.0 + 2 * (done - 10))
    return pace


def shown(pace: Pace, width: int, *, detail: str = DETAIL, in_ascii: bool = False) -> str:
    text = progress_text("search lowend_3gb", pace, detail, elapsed=80, now=108.0, width=width, in_ascii=in_ascii)
    return text.plain


@pytest.mark.parametrize("width", [40, 79, 99, 200])
def test_counters_and_times_are_whole_at_any_width(pace, width):
    line = shown(pace, width)
    assert len(line) <= width
    assert " 14/200  0:01:20, 0:06:12 left" in line


def test_the_detail_is_cut_first_then_the_bar_goes_then_the_title_is_cut(pace):
    assert shown(pace, 200).endswith(DETAIL)
    assert shown(pace, 79) == "search lowend_3gb  ━─────────   14/200  0:01:20, 0:06:12 left  timing: 3 of 12…"
    assert shown(pace, 79, in_ascii=True).endswith("left  timing: 3 of...")
    assert shown(pace, 53) == "search lowend_3gb   14/200  0:01:20, 0:06:12 left"
    assert shown(pace, 40) == "search…   14/200  0:01:20, 0:06:12 left"


def test_without_a_total_there_is_the_time_that_passed_and_nothing_left():
    assert shown(Pace(0.0), 79, detail="") == "search lowend_3gb  0:01:20"


def test_the_first_unit_of_a_resumed_stage_says_nothing_about_the_time_left():
    pace = Pace(0.0)
    pace.report(150, 200, 90.0)
    assert pace.left(90.0) is None
    pace.report(160, 200, 100.0)
    assert pace.left(100.0) == 40.0
    assert pace.left(110.0) == 30.0


def test_the_time_left_counts_the_work_of_slower_units():
    pace = Pace(0.0, work=lambda n: float(n if n < 10 else 10 + 3 * (n - 10)))
    pace.report(0, 20, 0.0)
    pace.report(10, 20, 10.0)
    assert pace.left(10.0) == 30.0
    assert pace.share() == 0.25


def test_the_pace_starts_again_with_the_next_part_of_a_stage():
    pace = Pace(0.0)
    pace.report(0, 10, 0.0)
    pace.report(10, 10, 1.0)
    pace.report(0, 5, 1.0)
    assert pace.left(1.0) is None
    pace.report(1, 5, 11.0)
    assert pace.left(11.0) == 40.0


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (86_400, "24:00:00")])
def test_times_are_hours_minutes_and_seconds(seconds, text):
    assert clock(seconds) == text


def test_a_log_gets_plain_lines_whatever_a_board_says(capsys, monkeypatch):
    monkeypatch.setattr(console, "_LINE_INTERVAL_S", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Console().stage("measure \x1b[31mboard") as progress:
        progress(1, 2, "[red]half\nerror: forged")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == r"measure \x1b[31mboard: 1/2  [red]half\nerror: forged"
    assert lines[1].startswith(r"measure \x1b[31mboard: done in ")


def test_a_terminal_shows_a_line_that_obeys_no_markup_or_control_character(monkeypatch):
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with Console().stage("[red]measure[/]") as progress:
        progress(1, 2, "\x1b]0;title\x07[bold]x[/]")
    assert "[red]measure[/]  ━━━━━─────  1/2  0:00:00  \\x1b]0;title\\x07[bold]x[/]" in screen.getvalue()
    assert "\x1b]0" not in screen.getvalue()
    assert "\x1b[3" not in screen.getvalue()


def test_a_quiet_console_writes_nothing(capsys):
    quiet = Console(quiet=True)
    with quiet.stage("train") as progress:
        progress(1, 2)
        quiet.say("note")
    assert capsys.readouterr() == ("", "")
