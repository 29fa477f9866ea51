"""Training in several processes, one per GPU or CPU, that `torchrun` starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, distributed

from factory_base.errors import TrainingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """The processes that train together, as one of them sees them.

    Attributes:
        rank: Rank of this process, from 0.
        count: Number of processes.
        device: Device on which this process computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and reports to the user."""
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all workers, in place, with one exchange per dtype.

        Raises:
            TrainingError: Another worker is gone.
        """
        if self.count == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for group in by_dtype.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            with self._exchanging():
                distributed.all_reduce(flat)
            flat /= self.count
            for tensor, part in zip(group, torch.split(flat, [t.numel() for t in group]), strict=True):
                tensor.copy_(part.view(tensor.shape))

    def from_first(self, value: Any) -> Any:
        """The first worker's `value`, on every worker. Tensors arrive on the CPU.

        Raises:
            TrainingError: Another worker is gone.
        """
        if self.count == 1:
            return value
        box = [value]
        with self._exchanging():
            distributed.broadcast_object_list(box, src=0)
        return box[0]

    @contextmanager
    def _exchanging(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo raises a plain RuntimeError
            reason = str(error).partition("\n")[0][:200]  # a message can be pages long
            raise TrainingError(
                f"worker {self.rank} of {self.count} has lost another one ({reason}); "
                "see that worker's output, and run the same command again to continue"
            ) from error


def one_worker(device: Literal["auto", "cpu", "cuda"] = "cpu") -> Workers:
    """A single process. Raises `TrainingError` if `device` is "cuda" and there is no GPU."""
    return Workers(rank=0, count=1, device=_device(device, 0))


@contextmanager
def workers(device: Literal["auto", "cpu", "cuda"]) -> Iterator[Workers]:
    """The process group that `torchrun` describes in the environment, or this process alone.

    The backend is nccl on GPUs, else gloo.

    Raises:
        TrainingError: `device` is "cuda" and there is no GPU for this process, or the group cannot be formed.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "MASTER_ADDR" not in os.environ:
        yield one_worker(device)
        return
    found = _device(device, int(os.environ.get("LOCAL_RANK", "0")))
    try:
        distributed.init_process_group("nccl" if found.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"{count} processes cannot form a group ({error}); start them with torchrun") from error
    try:
        yield Workers(rank=distributed.get_rank(), count=count, device=found)
    finally:
        distributed.destroy_process_group()


def _device(device: str, index: int) -> torch.device:
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if index >= torch.cuda.device_count():
        raise TrainingError(
            f"training.device is {device}, but there are {torch.cuda.device_count()} GPUs, and this process needs GPU "
            f"{index}, counted from 0; set training.device to cpu, or start only as many processes as there are GPUs"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
