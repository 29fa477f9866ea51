"""Where work is laid out for a browser page and its results are brought: between a runner and the threads of a server.

A job is a list of files. Whichever page of the right machine is there takes what is left of it. A result is taken once.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from device_profiles.measuring.runners.page_facts import PageFacts
from factory_base.errors import EngineError

GONE: Final = "the page is gone; run the same command again and open the page to go on"

SLOWEST_TIMER_US: Final = 5000.0
"""Longest step of a page's timer that is accepted: every run has to last many of them."""

JobKind = Literal["load", "visit", "sustain"]


class Refusal(Exception):  # noqa: N818, an answer, and no error of the factory
    """A page is turned away; the message is shown in it."""


class PageFailure(Exception):  # noqa: N818, whoever knows the name of the file makes an error of it
    """A page cannot load or run a file.

    Attributes:
        file: its number.
        message: what the engine says.
    """

    def __init__(self, file: int, message: str) -> None:
        super().__init__(message)
        self.file, self.message = file, message


class Result(BaseModel):
    """What a page brings for one file.

    Attributes:
        file: its number.
        times_us: of single runs or loads; of runs shorter than the timer can tell, means of some in a row.
        output: after a load, the first numbers that the file computed; None stands for one that is not finite.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[int, Field(ge=0)]
    times_us: Annotated[tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], Field(min_length=1)]
    output: Annotated[tuple[float | None, ...], Field(max_length=16)] = ()


@dataclass(slots=True, kw_only=True)
class _Page:
    """The page that measures.

    Attributes:
        seen: when it was last heard of.
        closing: it has said that it is being closed, which reloading does too.
        hidden: nobody sees it, so it measures nothing.
    """

    name: str
    seen: float
    closing: bool = False
    hidden: bool = False


@dataclass(slots=True, kw_only=True)
class _Job:
    """Work of a page.

    Attributes:
        name: that no other job has.
        content: what the page is told beside that.
        left: files without a result.
        arrived: results that the runner has not taken yet.
        failure: why the page cannot do it.
    """

    name: str
    content: dict[str, Any]
    left: list[int]
    arrived: list[Result] = field(default_factory=list)
    failure: PageFailure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, in seconds.

    Attributes:
        first_page: for the first page to come.
        answer: for a page that says nothing.
        hidden: for one that nobody sees, which its browser slows down.
        reload: for a page that has said that it is being closed.
        poll: until a page that asks for work is told that there is none.
        farewell: for a page to hear that all is done.
    """

    first_page: float = 3600.0
    answer: float = 60.0
    hidden: float = 300.0
    reload: float = 10.0
    poll: float = 15.0
    farewell: float = 1.0


class Desk:
    """See the module. All methods may be called from any thread; `do` from one.

    Args:
        patience: how long to wait.
        say: told what people should know, in lines.
    """

    def __init__(self, patience: Patience, say: Callable[[str], None]) -> None:
        self._patience, self._say = patience, say
        self._changed = threading.Condition()
        self._facts: PageFacts | None = None
        self._page: _Page | None = None
        self._job: _Job | None = None
        self._jobs = 0
        self._over: str | None = None
        self._told_over = False
        self._progress: dict[str, Any] = {}

    def has_page(self) -> bool:
        """Whether a page is there."""
        with self._changed:
            return self._alive()

    def wait_for_page(self) -> PageFacts:
        """What the page says of itself; waits until one is there. Raises `EngineError` when none comes."""
        end = time.monotonic() + self._patience.first_page
        with self._changed:
            while not self._alive() or self._facts is None:
                if time.monotonic() > end:
                    raise EngineError(
                        f"no page was opened in {self._patience.first_page / 60:.0f} minutes; "
                        "run the same command again and open the address in a browser"
                    )
                self._changed.wait(0.5)
            return self._facts

    def do(self, kind: JobKind, files: Sequence[int], content: Mapping[str, Any]) -> Iterator[Result]:
        """Have `files` loaded, visited or run; yields results as they come.

        Args:
            kind: what to do with them.
            files: numbers.
            content: what else the page is told.

        Raises:
            EngineError: the page is gone.
            PageFailure: it cannot load or run a file.
        """
        with self._changed:
            self._jobs += 1
            self._job = job = _Job(name=str(self._jobs), content={"kind": kind, **content}, left=list(files))
            self._changed.notify_all()
        try:
            while job.left or job.arrived:
                yield from self._take(job)
        finally:
            with self._changed:
                self._job = None

    def show(self, **progress: Any) -> None:
        """Let the page show how far the work is."""
        with self._changed:
            self._progress = progress

    def end(self, text: str) -> None:
        """Tell the page that there is no more work, and why; returns when it knows, or soon."""
        with self._changed:
            self._over = text
            self._changed.notify_all()
            if self._alive():
                self._changed.wait_for(lambda: self._told_over, self._patience.farewell)

    def hello(self, facts: PageFacts) -> dict[str, Any]:
        """A page has come. Raises `Refusal` where it is not the machine of this run, or its timer is too coarse."""
        machine = facts.machine()
        with self._changed:
            if facts.timer_us > SLOWEST_TIMER_US:
                raise Refusal(
                    f"The timer of this browser has steps of {facts.timer_us / 1000:.0f} ms, at most "
                    f"{SLOWEST_TIMER_US / 1000:.0f} ms can be measured with. Turn off protection against "
                    "fingerprinting for this page, or take another browser."
                )
            known = self._facts.machine() if self._facts else machine
            if machine != known:
                raise Refusal(
                    f"This run measures {known.processor} with ONNX Runtime Web {known.engine_version}; this is "
                    f"{machine.processor} with {machine.engine_version}. Open the address in the browser that it began "
                    "with, or stop the command and run it again for this one."
                )
            if self._facts is None:
                self._say(f"measuring {machine.processor}, {_timer(facts)}")
            elif self._page is None or not self._page.closing:
                self._say("another page goes on")
            self._facts = facts
            self._page = _Page(name=secrets.token_hex(8), seen=time.monotonic())
            self._changed.notify_all()
            return {"page": self._page.name, "machine": machine.processor}

    def work(self, page: str) -> dict[str, Any]:
        """The job for a page, after a while that there is none. Raises `Refusal` where another page measures."""
        with self._changed:
            self._seen(page)
            self._changed.wait_for(lambda: self._over or self._job or not self._is_current(page), self._patience.poll)
            self._current(page)  # and not `_seen`: it may have gone while it waited here
            if self._over is not None:
                self._told_over = True
                self._changed.notify_all()
                return {"kind": "over", "text": self._over}
            if self._job is None or self._job.failure is not None:
                return {"kind": "wait", "progress": self._progress}
            job = self._job
            return job.content | {"job": job.name, "files": list(job.left), "progress": self._progress}

    def bring(self, page: str, job: str, results: Sequence[Result]) -> dict[str, Any]:
        """Take results, each file's once; says whether the job goes on. Raises `Refusal` as `work`."""
        with self._changed:
            self._seen(page)
            current = self._job
            if current is None or current.name != job:
                return {"go_on": False}
            for result in results:
                if result.file in current.left:
                    current.left.remove(result.file)
                    current.arrived.append(result)
            self._changed.notify_all()
            return {"go_on": bool(current.left), "progress": self._progress}

    def fail(self, page: str, job: str, failure: PageFailure) -> dict[str, Any]:
        """The page cannot do the job. Raises `Refusal` as `work`."""
        with self._changed:
            self._seen(page)
            if self._job is not None and self._job.name == job and failure.file in self._job.left:
                self._job.failure = failure
                self._changed.notify_all()
            return {}

    def alive(self, page: str, hidden: bool) -> dict[str, Any]:
        """The page is there, and people see it or not. Raises `Refusal` as `work`."""
        with self._changed:
            known = self._seen(page)
            if hidden != known.hidden:
                known.hidden = hidden
                self._say("the page is hidden and waits; bring it to the front" if hidden else "the page is seen again")
            return {"progress": self._progress}

    def bye(self, page: str) -> dict[str, Any]:
        """The page is being closed or reloaded. Raises `Refusal` as `work`."""
        with self._changed:
            known = self._current(page)
            known.seen, known.closing = time.monotonic(), True
            return {}

    def _take(self, job: _Job) -> list[Result]:
        """Results that have arrived; waits for some. Results come before the news that the page is gone."""
        with self._changed:
            while not job.arrived:
                if job.failure is not None:
                    raise job.failure
                if not self._alive():
                    raise EngineError(GONE)
                self._changed.wait(0.5)
            arrived, job.arrived = job.arrived, []
            return arrived

    def _alive(self) -> bool:
        page = self._page
        if page is None:
            return False
        patience = self._patience
        limit = patience.reload if page.closing else patience.hidden if page.hidden else patience.answer
        return time.monotonic() - page.seen < limit

    def _is_current(self, page: str) -> bool:
        return self._page is not None and self._page.name == page

    def _current(self, page: str) -> _Page:
        if self._page is None or not self._is_current(page):
            raise Refusal("Another page has taken over. This one can be closed.")
        return self._page

    def _seen(self, page: str) -> _Page:
        known = self._current(page)
        known.seen, known.closing = time.monotonic(), False
        return known


def _timer(facts: PageFacts) -> str:
    step = f"timer steps of {facts.timer_us:.3g} us"
    if facts.isolated:
        return step
    return f"{step}, one thread at most: the page is not isolated, which takes 127.0.0.1 or https"
