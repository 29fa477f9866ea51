"""The effort that a search may take."""

from __future__ import annotations

import time
from collections.abc import Callable

from search.solving.reduced_search import Effort, Outcome


class Clock:
    """The effort that a search may take, and what it took so far.

    Args:
        max_nodes: Most nodes of each search tree.
        max_seconds: Most seconds for the whole search; None for no limit.
    """

    def __init__(self, max_nodes: int, max_seconds: float | None) -> None:
        self._started, self._max_nodes, self._max_seconds = time.perf_counter(), max_nodes, max_seconds
        self.nodes = 0

    @property
    def seconds(self) -> float:
        """Seconds since the search began."""
        return time.perf_counter() - self._started

    @property
    def over(self) -> bool:
        """Whether the time is used up."""
        return self._max_seconds is not None and self.seconds >= self._max_seconds

    def timed(self, run: Callable[[Effort], Outcome]) -> Outcome:
        """Run an integer program within what is left."""
        left = None if self._max_seconds is None else self._max_seconds - self.seconds
        outcome = run(Effort(nodes=self._max_nodes, seconds=left))
        self.nodes += outcome.nodes
        return outcome
