"""Progress for people: the stage that is running, how much of it is done, and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from factory_base.foreign import printable
from factory_base.progress import Progress, silent
from factory_base.terminal import ascii_only, encodable, has_colours, is_interactive, print_note

if TYPE_CHECKING:
    from rich.text import Text

_LINE_INTERVAL_S = 5.0
"""Time between two lines of progress in a log: short enough to show that work goes on, long enough for a short log."""
_LONG_BAR, _SHORT_BAR, _WIDE = 24, 10, 90
"""Columns of a bar in terminals of at least `_WIDE` columns, and in narrower ones."""
_SHORTEST_DETAIL = 8
"""A detail that must be cut to fewer columns than this is left out, because it says nothing any more."""
_GAP = "  "


class Console:
    """Writes to standard error, so that standard output stays for results.

    Args:
        quiet: Whether to write nothing at all.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet

    def say(self, text: str) -> None:
        """Write one line."""
        if not self._quiet:
            print_note(text)

    @contextmanager
    def stage(self, title: str, work: Callable[[int], float] = float) -> Iterator[Progress]:
        """Show a stage of long work while the context is open; report its progress to the yielded function.

        Args:
            title: The stage.
            work: How much of the work, in any unit, the first `n` units of progress are, as a function of `n`. The time
                left is that of the rest of the work; by default all units take equally long.
        """
        started = time.monotonic()
        if self._quiet:
            yield silent
        elif is_interactive(sys.stderr):
            with _live(title, work) as listener:
                yield listener
        else:
            yield _Lines(title, work)
        self.say(f"{title}: done in {time.monotonic() - started:.1f} s")


class Pace:
    """How fast a stage advances, from its first report on, because a resumed stage starts above zero.

    Args:
        now: The time, in seconds.
        work: How much of the work, in any unit, the first `n` units of progress are; see `Console.stage`.
    """

    def __init__(self, now: float, work: Callable[[int], float] = float) -> None:
        self._work = work
        self._started = self._reported = now
        self._first = self._done = self._total = 0
        self._seconds_per_work: float | None = None

    def report(self, done: int, total: int, now: float) -> None:
        """Take note that `done` of `total` units are finished at the time `now`, in seconds."""
        if total != self._total or done < self._done:  # the first report, or the next part of the same stage
            self._started, self._first, self._seconds_per_work = now, done, None
        elif (finished := self._work(done) - self._work(self._first)) > 0:
            self._seconds_per_work = (now - self._started) / finished
        self._done, self._total, self._reported = done, total, now

    def counters(self) -> str:
        """` 14/200`, always of the same length; empty if there was no report."""
        return f"{self._done:>{len(str(self._total))}}/{self._total}" if self._total else ""

    def left(self, now: float) -> float | None:
        """Seconds that the rest takes at the pace so far; None as long as that is unknown."""
        if self._seconds_per_work is None:
            return None
        rest = self._work(self._total) - self._work(self._done)
        return max(self._seconds_per_work * rest - (now - self._reported), 0.0)

    def share(self) -> float | None:
        """The finished share of the work, 0 to 1; None if there was no report."""
        total = self._work(self._total) if self._total else 0.0
        return min(self._work(self._done) / total, 1.0) if total > 0 else None


def clock(seconds: float) -> str:
    """`0:01:20`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def progress_text(
    title: str, pace: Pace, detail: str, *, elapsed: float, now: float, width: int, in_ascii: bool
) -> Text:
    """A line of progress of at most `width` columns.

    Counters and times are whole in any terminal of at least 40 columns. The detail is cut first, then the bar is left
    out, then the title is cut.

    Args:
        title: The stage.
        pace: How far it is.
        detail: A short phrase about the unit that is running.
        elapsed: Seconds since the start of the stage.
        now: The time of `pace`, in seconds.
        width: Columns of the terminal.
        in_ascii: Whether to draw with ASCII characters.
    """
    from rich.cells import cell_len
    from rich.text import Text

    left = pace.left(now)
    times = clock(elapsed) if left is None else f"{clock(elapsed)}, {clock(left)} left"
    counters = _GAP.join(filter(None, (pace.counters(), times)))
    room = width - cell_len(counters) - len(_GAP)
    title = _cut(title, room, in_ascii)
    line, room = Text(title, "bold", no_wrap=True), room - cell_len(title) - len(_GAP)
    size, share = _LONG_BAR if width >= _WIDE else _SHORT_BAR, pace.share()
    if share is not None and room >= size:
        filled = round(share * size)
        done, rest = ("=", "-") if in_ascii else ("━", "─")
        line.append(_GAP).append(done * filled, "green").append(rest * (size - filled), "dim")
        room -= size + len(_GAP)
    line.append(_GAP + counters)
    if detail and room >= min(_SHORTEST_DETAIL, cell_len(detail)):
        line.append(_GAP).append(_cut(detail, room, in_ascii), "dim")
    return line


def _cut(text: str, width: int, in_ascii: bool) -> str:
    """`text` if it has at most `width` columns; else its beginning and an ellipsis."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    dots = "..." if in_ascii else "…"
    return set_cell_size(text, max(width - len(dots), 0)).rstrip() + dots[: max(width, 0)]


@contextmanager
def _live(title: str, work: Callable[[int], float]) -> Iterator[Progress]:
    from rich.console import Console as RichConsole
    from rich.live import Live

    console = RichConsole(stderr=True, color_system="auto" if has_colours(sys.stderr) else None)
    stream, started = sys.stderr, time.monotonic()
    in_ascii, pace, latest = ascii_only(stream), Pace(started, work), ""

    def shown(text: str) -> str:
        return encodable(printable(text), stream)

    def render() -> Text:
        now, width = time.monotonic(), console.width - 1  # some terminals wrap a line that fills them
        elapsed = now - started
        return progress_text(
            shown(title), pace, shown(latest), elapsed=elapsed, now=now, width=width, in_ascii=in_ascii
        )

    def listener(done: int, total: int, detail: str = "") -> None:
        nonlocal latest
        pace.report(done, total, time.monotonic())
        latest = detail

    with Live(get_renderable=render, console=console, transient=True, refresh_per_second=4):
        yield listener


class _Lines:
    """Progress for logs: a line every few seconds."""

    def __init__(self, title: str, work: Callable[[int], float]) -> None:
        self._title = title
        self._last = time.monotonic()
        self._pace = Pace(self._last, work)

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        self._pace.report(done, total, now)
        if now - self._last < _LINE_INTERVAL_S:
            return
        self._last, left = now, self._pace.left(now)
        rest = "" if left is None else f", {clock(left)} left"
        print_note(f"{self._title}: {self._pace.counters().lstrip()}{rest}  {detail}".rstrip())
