"""Progress for people: the stage that is running, how much of it is done, and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from factory_base.progress import Progress

_LINE_INTERVAL_S = 5.0
"""Time between two lines of progress in a log: short enough to show that work goes on, long enough for a short log."""


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
            print(text, file=sys.stderr, flush=True)

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
            yield _ignore
        elif sys.stderr.isatty():
            with _live(title, work) as listener:
                yield listener
        else:
            yield _Lines(title, work)
        self.say(f"{title}: done in {time.monotonic() - started:.1f} s")


def _ignore(done: int, total: int, detail: str = "") -> None:
    pass


@contextmanager
def _live(title: str, work: Callable[[int], float]) -> Iterator[Progress]:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[detail]}"),
    )
    with RichProgress(*columns, console=RichConsole(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, count="", detail="")

        def listener(done: int, total: int, detail: str = "") -> None:
            bar.update(task, completed=work(done), total=work(total), count=f"{done}/{total}", detail=detail)

        yield listener


class _Lines:
    """Progress for logs: a line every few seconds."""

    def __init__(self, title: str, work: Callable[[int], float]) -> None:
        self._title, self._work = title, work
        self._started = self._last = time.monotonic()
        self._first_done: int | None = None

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        if self._first_done is None:  # a resumed stage starts above zero
            self._first_done, self._started = done, now
        if now - self._last < _LINE_INTERVAL_S:
            return
        self._last = now
        passed, rest = self._work(done) - self._work(self._first_done), self._work(total) - self._work(done)
        left = f", {(now - self._started) * rest / passed:.0f} s left" if passed > 0 else ""
        print(f"{self._title}: {done}/{total}{left}  {detail}", file=sys.stderr, flush=True)
