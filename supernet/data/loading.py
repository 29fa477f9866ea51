"""Batches in the order of the steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from torch import Tensor

from supernet.examples import Draws, Examples


class BatchLoader:
    """Reads the batches of steps `first_step` to `steps - 1`.

    Args:
        examples: to read from.
        rows_of_step: which examples a step takes, int64 (b,).
        draws_of_step: what decides the augmentation.
        first_step: of the run, where it goes on.
        steps: of the whole run.
        workers: processes that prepare batches; 0 prepares them in this one.
    """

    def __init__(
        self,
        examples: Examples,
        rows_of_step: Callable[[int], Tensor],
        draws_of_step: Callable[[int], Draws],
        *,
        first_step: int,
        steps: int,
        workers: int,  # noqa: ARG002 - prepared inline
    ) -> None:
        self._examples, self._rows, self._draws = examples, rows_of_step, draws_of_step
        self._steps = range(first_step, steps)
        self.wait_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __iter__(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(step, batch as `Examples.batch` gives it, labels)."""
        for step in self._steps:
            started = time.monotonic()
            rows = self._rows(step)
            batch = self._examples.batch(rows, self._draws(step))
            self.wait_seconds += time.monotonic() - started
            yield step, batch, self._examples.labels[rows]
