"""The coordinator of measuring in a browser page: it hands out work to the page and takes results back to the runner.

The runner calls it from one thread, and the server's threads call it for the page. A job is a list of files. Any page
on the same machine can take over what is left of a job. Each file's result is accepted once.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from device_profiles.measuring.reported import Report, Runs
from device_profiles.measuring.runners.page_facts import PageFacts
from factory_base.errors import EngineError
from factory_base.foreign import printable

GONE: Final = "the page is gone; run the same command again and open the page to resume"

SLOWEST_TIMER_US: Final = 5000.0
"""Longest step of a page's timer that is accepted. What is timed lasts 40 steps (`browser.TIMER_STEPS`) and is repeated
at least three times, so a visit takes about a second here. At 100 ms, as browsers that resist fingerprinting have, it
would take a quarter of a minute, and a round of 500 files two hours."""

OUTPUT_NUMBERS: Final = 16
"""Most numbers of an output that a page returns: enough to compare its output with that of another engine."""

_POLL_S: Final = 0.5
"""How often the runner's thread checks whether the page is still there; new results wake it at once."""

_NONSENSE_LINES: Final = 5
"""Most lines about refused messages: more say nothing new, and whoever sends them may send a million."""

JobKind = Literal["load", "visit", "sustain"]


class PageRefused(Exception):  # noqa: N818, the answer to a page, not an error of the factory
    """A page is refused; the message is shown in it."""


class PageFailure(Exception):  # noqa: N818, the caller knows the name of the file and makes an error of it
    """A page cannot load or run a file.

    Attributes:
        file: Index of the file.
        message: Message of the engine.
    """

    def __init__(self, file: int, message: str) -> None:
        super().__init__(message)
        self.file, self.message = file, message


class Result(Report):
    """What a page measured for one file.

    Attributes:
        file: Index of the file.
        times_us: Microseconds of single runs or loads; if a run is too short for the timer, means of some in a row.
        output: After a load, the first numbers that the file computed; None stands for a number that is not finite.
    """

    file: Annotated[int, Field(strict=True, ge=0, lt=10**6)]
    times_us: Runs
    output: Annotated[tuple[Annotated[float, Field(strict=True)] | None, ...], Field(max_length=OUTPUT_NUMBERS)] = ()


@dataclass(slots=True, kw_only=True)
class _Page:
    """The page that measures.

    Attributes:
        seen: Monotonic time of its last request.
        closing: Whether it announced that it is being closed, which it also does when it is reloaded.
        hidden: Whether it is not visible, so that it measures nothing.
    """

    name: str
    seen: float
    closing: bool = False
    hidden: bool = False


@dataclass(slots=True, kw_only=True)
class _Job:
    """Work of a page.

    Attributes:
        name: Identifier of the job.
        files: All of its files.
        content: Everything else that is sent to the page.
        left: Files without a result.
        arrived: Results that the runner has not taken yet.
        failure: Why the page cannot do the job, if it cannot.
    """

    name: str
    files: frozenset[int]
    content: dict[str, Any]
    left: list[int]
    arrived: list[Result] = field(default_factory=list)
    failure: PageFailure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        first_page_s: For the first page to be opened: an hour, since a person has to do it.
        answer_s: For a request of a visible page. It sends one every 10 s, but not while it compiles a large file.
        hidden_s: For a request of a hidden page, whose timers browsers slow down to one call a minute.
        reload_s: For a page to return after it announced that it is being closed.
        poll_s: Until a page that asks for work is answered that there is none.
        finish_s: For a page to learn that the measurement has ended.
    """

    first_page_s: float = 3600.0
    answer_s: float = 60.0
    hidden_s: float = 300.0
    reload_s: float = 10.0
    poll_s: float = 15.0
    finish_s: float = 1.0


class PageCoordinator:
    """Hands out work to a page, and takes its results back to the runner.

    All methods may be called from any thread, except that one thread at a time may call `run_job`.

    Args:
        timeouts: How long to wait.
        notify: Called with lines that people should read.
    """

    def __init__(self, timeouts: Timeouts, notify: Callable[[str], None]) -> None:
        self._timeouts, self._notify = timeouts, notify
        self._changed = threading.Condition()
        self._facts: PageFacts | None = None
        self._page: _Page | None = None
        self._job: _Job | None = None
        self._jobs = 0
        self._finished: str | None = None
        self._page_knows_finished = False
        self._progress: dict[str, Any] = {}
        self._nonsense = 0

    def has_page(self) -> bool:
        """Whether a page is there."""
        with self._changed:
            return self._is_alive()

    def wait_for_page(self) -> PageFacts:
        """Wait until a page is there; the facts that it reports. Raises `EngineError` if none is opened."""
        end = time.monotonic() + self._timeouts.first_page_s
        with self._changed:
            while not self._is_alive() or self._facts is None:
                if time.monotonic() > end:
                    raise EngineError(
                        f"no page was opened in {self._timeouts.first_page_s / 60:.0f} minutes; "
                        "run the same command again and open the address in a browser"
                    )
                self._changed.wait(_POLL_S)
            return self._facts

    def run_job(self, kind: JobKind, files: Sequence[int], content: Mapping[str, Any]) -> Iterator[Result]:
        """Have a page load, visit or run `files`; yields results as they arrive.

        Args:
            kind: What to do with the files.
            files: Indices of the files.
            content: Everything else that the page needs.

        Raises:
            EngineError: The page is gone.
            PageFailure: The page cannot load or run a file.
        """
        with self._changed:
            self._jobs += 1
            content = {"kind": kind, **content}
            self._job = job = _Job(name=str(self._jobs), files=frozenset(files), content=content, left=list(files))
            self._changed.notify_all()
        try:
            while job.left or job.arrived:
                yield from self._take(job)
        finally:
            with self._changed:
                self._job = None

    def show_progress(self, **progress: Any) -> None:
        """Set the progress that the page shows from its next answer on."""
        with self._changed:
            self._progress = progress

    def finish(self, text: str) -> None:
        """Send the page `text` instead of further work; returns when the page has it, or after `finish_s`."""
        with self._changed:
            self._finished = text
            self._changed.notify_all()
            if self._is_alive():
                self._changed.wait_for(lambda: self._page_knows_finished, self._timeouts.finish_s)

    def register_page(self, facts: PageFacts) -> dict[str, Any]:
        """Register a new page, which replaces an older one; its name and the machine.

        Raises:
            PageRefused: The page is not on the machine that this run measures, or its timer is too coarse.
        """
        machine = facts.machine()
        with self._changed:
            if facts.timer_us > SLOWEST_TIMER_US:
                raise PageRefused(
                    f"The timer of this browser has steps of {facts.timer_us / 1000:.0f} ms; at most "
                    f"{SLOWEST_TIMER_US / 1000:.0f} ms can be used. Turn off protection against fingerprinting for "
                    "this page, or use another browser."
                )
            known = self._facts.machine() if self._facts else machine
            if machine != known:
                raise PageRefused(
                    f"This run measures {known.processor} with ONNX Runtime Web {known.engine_version}, but this is "
                    f"{machine.processor} with {machine.engine_version}. Open the address in the browser that it was "
                    "started with, or stop the command and run it again for this one."
                )
            if self._facts is None:
                self._notify(f"measuring {machine.processor}, {_timer(facts)}")
            elif self._page is None or not self._page.closing:
                self._notify("another page continues")
            self._facts = facts
            self._page = _Page(name=secrets.token_hex(8), seen=time.monotonic())
            self._changed.notify_all()
            return {"page": self._page.name, "machine": machine.processor}

    def next_job(self, page: str) -> dict[str, Any]:
        """The job for a page; waits up to `poll_s` for one. Raises `PageRefused` if another page measures."""
        with self._changed:
            self._touch(page)
            self._changed.wait_for(
                lambda: self._finished or self._job or not self._is_current(page), self._timeouts.poll_s
            )
            self._current(page)  # instead of `_touch`, because the page may have gone while it waited here
            if self._finished is not None:
                self._page_knows_finished = True
                self._changed.notify_all()
                return {"kind": "finished", "text": self._finished}
            if self._job is None or self._job.failure is not None:
                return {"kind": "wait", "progress": self._progress}
            job = self._job
            return job.content | {"job": job.name, "files": list(job.left), "progress": self._progress}

    def add_results(self, page: str, job: str, results: Sequence[Result]) -> dict[str, Any]:
        """Accept results, one for each file; whether the job continues.

        A result that has arrived before is ignored: a page repeats a request whose answer was lost.

        Raises:
            PageRefused: As for `next_job`, or a result is of a file that the job does not have.
        """
        with self._changed:
            self._touch(page)
            current = self._job
            if current is None or current.name != job:
                return {"continue": False}
            strange = next((result.file for result in results if result.file not in current.files), None)
            if strange is not None:
                self._note_nonsense(f"times of file {strange}, which is not to be measured")
                raise PageRefused(f"File {strange} is not to be measured.")
            for result in results:
                if result.file in current.left:
                    current.left.remove(result.file)
                    current.arrived.append(result)
            self._changed.notify_all()
            return {"continue": bool(current.left), "progress": self._progress}

    def report_failure(self, page: str, job: str, failure: PageFailure) -> dict[str, Any]:
        """Note that the page cannot do the job. Raises `PageRefused` as `next_job`."""
        with self._changed:
            self._touch(page)
            if self._job is not None and self._job.name == job and failure.file in self._job.left:
                self._job.failure = failure
                self._changed.notify_all()
            return {}

    def heartbeat(self, page: str, hidden: bool) -> dict[str, Any]:
        """Note that the page is there, and whether it is hidden. Raises `PageRefused` as `next_job`."""
        with self._changed:
            known = self._touch(page)
            if hidden != known.hidden:
                known.hidden = hidden
                self._notify(
                    "the page is hidden and waits; bring it to the front" if hidden else "the page is visible again"
                )
            return {"progress": self._progress}

    def unregister_page(self, page: str) -> dict[str, Any]:
        """Note that the page is being closed or reloaded. Raises `PageRefused` as `next_job`."""
        with self._changed:
            known = self._current(page)
            known.seen, known.closing = time.monotonic(), True
            return {}

    def refuse_message(self, fault: str) -> None:
        """Note that somebody sent a message that our page would not send."""
        with self._changed:
            self._note_nonsense(fault)

    def _note_nonsense(self, fault: str) -> None:
        self._nonsense += 1
        if self._nonsense <= _NONSENSE_LINES:
            self._notify(f"a message to the page's address was refused: {printable(fault)}")

    def _take(self, job: _Job) -> list[Result]:
        """Results that have arrived; waits for some. They are returned even if the page is gone since."""
        with self._changed:
            while not job.arrived:
                if job.failure is not None:
                    raise job.failure
                if not self._is_alive():
                    raise EngineError(GONE)
                self._changed.wait(_POLL_S)
            arrived, job.arrived = job.arrived, []
            return arrived

    def _is_alive(self) -> bool:
        page = self._page
        if page is None:
            return False
        timeouts = self._timeouts
        limit = timeouts.reload_s if page.closing else timeouts.hidden_s if page.hidden else timeouts.answer_s
        return time.monotonic() - page.seen < limit

    def _is_current(self, page: str) -> bool:
        return self._page is not None and self._page.name == page

    def _current(self, page: str) -> _Page:
        """The page of that name. Raises `PageRefused` if another page measures."""
        if self._page is None or not self._is_current(page):
            raise PageRefused("Another page has taken over. This one can be closed.")
        return self._page

    def _touch(self, page: str) -> _Page:
        """The page of that name, noted as alive. Raises `PageRefused` as `_current`."""
        known = self._current(page)
        known.seen, known.closing = time.monotonic(), False
        return known


def _timer(facts: PageFacts) -> str:
    step = f"timer steps of {facts.timer_us:.3g} us"
    if facts.isolated:
        return step
    return f"{step}, one thread at most: the page is not isolated, which takes 127.0.0.1 or https"
