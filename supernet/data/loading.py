"""Batches in the order of the steps, prepared in the training process or ahead of time by worker processes."""

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
from factory_base.processors import usable_cores
from supernet.data.examples import Draws, Examples, Targets

_Request = tuple[int, NDArray[np.int64], Draws]
"""Step, rows of its examples (b,), and draws for their augmentation."""

_PREFETCH = 2  # batches per process: one in use and one ready; PyTorch's default
_WORKER_KILLED = (
    "a process that prepares training batches was killed, usually because memory or shared memory (/dev/shm) ran out; "
    "set data.workers to a lower number, or to 0"
)


class BatchLoader:
    """Iterates over the batches of steps `first_step` to `steps - 1`.

    A batch depends on its rows and draws alone: it is the same for any number of processes and after any resume. Use
    the loader as a context manager, which ends its processes when the block ends, for whatever reason.

    Args:
        examples: The examples of the training split.
        rows_of_step: Step -> rows of its examples, int64 (b,). Called in order, some steps ahead.
        draws_of_step: Step -> random numbers for the augmentation.
        first_step: The step to start or resume at.
        steps: Number of steps of the whole training run.
        workers: Number of processes that prepare batches, each two batches ahead; 0 prepares them in this process,
            which is best for examples in memory: there it takes about a hundredth of the time of a training step.
        device: Device of the training. For a GPU, batches are put into pinned memory, so that
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
        """Seconds for which the consumer has waited for batches."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, RuntimeError) and _is_worker_death(error):  # `DataLoader` raises it anywhere
            raise DataError(_WORKER_KILLED) from error

    def close(self) -> None:
        """End the processes, if there are any."""
        if self._processes is None:
            return
        try:
            self._processes._shutdown_workers()  # else they live as long as any traceback that refers to them
        except RuntimeError as error:
            if not _is_worker_death(error):
                raise
        self._processes = None

    def __iter__(self) -> Iterator[tuple[int, Tensor, Targets]]:
        """Yield (step, batch as `Examples.batch` returns it, its targets).

        Raises:
            DataError: An example cannot be read, or a process that prepares batches was killed.
        """
        self.close()
        prepare = self._prepare_here()
        if self._workers:
            self._processes = self._start_workers()
            prepare = self._receive_from_workers()
        for step in self._steps:
            started = time.monotonic()
            batch, targets = next(prepare)
            self.wait_seconds += time.monotonic() - started
            yield step, batch, targets

    def _requests(self) -> Iterator[_Request]:
        return ((step, self._rows(step).numpy(), self._draws(step)) for step in self._steps)

    def _prepare_here(self) -> Iterator[tuple[Tensor, Targets]]:
        dataset = _BatchDataset(self._examples)
        for request in self._requests():
            batch, targets = dataset.batch(request)
            yield batch.pin_memory() if self._pinned and not batch.is_cuda else batch, targets

    def _receive_from_workers(self) -> Iterator[tuple[Tensor, Targets]]:
        for _ in self._steps:
            try:
                prepared = next(self._processes)
            except (ConnectionError, EOFError) as error:  # the batch was in the shared memory of a dead process
                raise DataError(_WORKER_KILLED) from error
            if isinstance(prepared, FactoryError):
                raise prepared
            yield prepared

    def _start_workers(self) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # more processes than cores, as configured
            warnings.filterwarnings("ignore", ".*multi-threaded, use of fork")  # the workers start no threads
            loader = DataLoader(
                _BatchDataset(self._examples),
                batch_size=None,
                sampler=_Requests(self._requests()),
                num_workers=self._workers,
                prefetch_factor=_PREFETCH,
                collate_fn=_unchanged,
                pin_memory=self._pinned,
                generator=torch.Generator(),  # without it, the loader draws from the global generator
            )
            return iter(loader)


def spare_cores() -> int:
    """Cores for preparing batches, at least 1: a process's share of the usable ones, less one for the training."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1)


class _BatchDataset(Dataset[Any]):
    """The examples as a data set whose items are whole batches."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __getitem__(self, request: _Request) -> tuple[Tensor, Targets] | FactoryError:
        """The batch; or the error as a value, since `DataLoader` would put a traceback into its message."""
        try:
            return self.batch(request)
        except FactoryError as error:
            return error.with_traceback(None)

    def batch(self, request: _Request) -> tuple[Tensor, Targets]:
        _, rows, draws = request
        chosen = torch.from_numpy(rows)
        weights = self._examples.weights
        targets = Targets(self._examples.labels[chosen], None if weights is None else weights[chosen])
        return self._examples.batch(chosen, draws), targets


class _Requests:
    """Requests in the form of a sampler, as `DataLoader` expects them."""

    def __init__(self, requests: Iterator[_Request]) -> None:
        self._requests = requests

    def __iter__(self) -> Iterator[_Request]:
        return self._requests


def _is_worker_death(error: RuntimeError) -> bool:
    return str(error).startswith("DataLoader worker (pid")


def _unchanged(prepared: Any) -> Any:
    return prepared
