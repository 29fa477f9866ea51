"""Batches in the order of the steps, prepared in between or by other processes ahead of time."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from factory_base.errors import DataError, FactoryError
from supernet.data.examples import Draws, Examples

_Request = tuple[int, NDArray[np.int64], Draws]
_AHEAD = 2  # batches per process
_DEATH = (
    "a process that prepares training batches was killed, as a rule for lack of memory or of shared memory (/dev/shm); "
    "set data.workers lower, or to 0"
)


class BatchLoader:
    """Reads the batches of steps `first_step` to `steps - 1`.

    A batch depends on its rows and draws alone: the same for any number of processes, and wherever a run goes on. Use
    it as a context manager, so that its processes end with the block, however that ends.

    Args:
        examples: to read from.
        rows_of_step: which examples a step takes, int64 (b,). Asked in order, some steps ahead.
        draws_of_step: what decides the augmentation.
        first_step: of the run, where it goes on.
        steps: of the whole run.
        workers: processes that prepare batches, two ahead each; 0 prepares them in this one, which is best for examples
            in memory: preparing takes them about a hundredth of a training step on the same core.
        device: where the batches are used. For a GPU they are put into pinned memory, so that
            `.to(device, non_blocking=True)` does not wait.
    """

    def __init__(
        self,
        examples: Examples,
        rows_of_step: Callable[[int], Tensor],
        draws_of_step: Callable[[int], Draws],
        *,
        first_step: int,
        steps: int,
        workers: int,
        device: torch.device | None = None,
    ) -> None:
        self._examples, self._rows, self._draws = examples, rows_of_step, draws_of_step
        self._steps = range(first_step, steps)
        self._workers = min(workers, len(self._steps))
        self._pinned = device is not None and device.type == "cuda"
        self._processes: Any = None
        self.wait_seconds = 0.0
        """How long the consumer waited for batches."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, RuntimeError) and _tells_of_death(error):  # `DataLoader` raises it wherever we are
            raise DataError(_DEATH) from error

    def close(self) -> None:
        """End the processes. Nothing to do where there are none."""
        if self._processes is None:
            return
        try:
            self._processes._shutdown_workers()  # else they live as long as a traceback that refers to them
        except RuntimeError as error:
            if not _tells_of_death(error):
                raise
        self._processes = None

    def __iter__(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(step, batch as `Examples.batch` gives it, labels).

        Raises:
            DataError: an example cannot be read; or a process that prepares batches died.
        """
        self.close()
        prepare = self._prepared_here()
        if self._workers:
            self._processes = self._started()
            prepare = self._prepared_elsewhere()
        for step in self._steps:
            started = time.monotonic()
            batch, labels = next(prepare)
            self.wait_seconds += time.monotonic() - started
            yield step, batch, labels

    def _requests(self) -> Iterator[_Request]:
        return ((step, self._rows(step).numpy(), self._draws(step)) for step in self._steps)

    def _prepared_here(self) -> Iterator[tuple[Tensor, Tensor]]:
        prepare = _Preparation(self._examples)
        for request in self._requests():
            batch, labels = prepare.batch(request)
            yield batch.pin_memory() if self._pinned and not batch.is_cuda else batch, labels

    def _prepared_elsewhere(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in self._steps:
            try:
                prepared = next(self._processes)
            except (ConnectionError, EOFError) as error:  # a batch in the shared memory of a process that is no more
                raise DataError(_DEATH) from error
            if isinstance(prepared, FactoryError):
                raise prepared
            yield prepared

    def _started(self) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # more processes than cores, as asked for
            warnings.filterwarnings("ignore", ".*multi-threaded, use of fork")  # they start no threads of their own
            loader = DataLoader(
                _Preparation(self._examples),
                batch_size=None,
                sampler=_Once(self._requests()),
                num_workers=self._workers,
                prefetch_factor=_AHEAD,
                collate_fn=_as_it_is,
                pin_memory=self._pinned,
                generator=torch.Generator(),  # its own, or it draws from the global one
            )
            return iter(loader)


def spare_cores() -> int:
    """Cores for processes that prepare batches: those of this machine less one, shared among its training processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1)


class _Preparation(Dataset[Any]):
    """The examples, asked for whole batches."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __getitem__(self, request: _Request) -> tuple[Tensor, Tensor] | FactoryError:
        """An error comes back as a value: `DataLoader` would put a traceback into its message."""
        try:
            return self.batch(request)
        except FactoryError as error:
            return error.with_traceback(None)

    def batch(self, request: _Request) -> tuple[Tensor, Tensor]:
        _, rows, draws = request
        chosen = torch.from_numpy(rows)
        return self._examples.batch(chosen, draws), self._examples.labels[chosen]


class _Once:
    """Requests as `DataLoader` wants to be given them."""

    def __init__(self, requests: Iterator[_Request]) -> None:
        self._requests = requests

    def __iter__(self) -> Iterator[_Request]:
        return self._requests


def _tells_of_death(error: RuntimeError) -> bool:
    return str(error).startswith("DataLoader worker (pid")


def _as_it_is(prepared: Any) -> Any:
    return prepared
