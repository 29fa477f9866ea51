"""Small training runs, in this or another process: `python small_run.py JOBS`, where JOBS is a JSON list of `Job`.

Under `torchrun` all processes work on each job together. Each writes its weights and results to the job's folder.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from factory_base.errors import FactoryError
from supernet.data.augmentation_config import AugmentConfig
from supernet.data.examples import Draws
from supernet.data.image_examples import ImageExamples, Normalisation
from supernet.model_space import ModelSpace
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.training.checkpoint import save_supernet
from supernet.training.config import TrainingConfig
from supernet.training.training import Outcome, train
from supernet.training.workers import Workers, workers

RECIPE = {"epochs": 3, "batch_size": 32, "learning_rate": 0.05, "largest_only": 0.3}
POISONED_EXAMPLE = 77


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training run on 128 examples.

    Attributes:
        folder: Folder of its states and results.
        training: Changes to `RECIPE`.
        space: Name of the model space: "mobilenet", "loud" or "broken".
        poisoned_epochs: Epochs in which one example is NaN the first time it is read.
        death: When the process ends by SIGKILL: {"step": n} after the n-th step, {"check": n} during the n-th check,
            {"write": n} when half of the n-th byte string is on the disk, {"rename": n} when all of it is.
        dying_rank: Rank of the process that dies.
    """

    folder: str
    training: dict[str, Any] = field(default_factory=dict)
    space: str = "mobilenet"
    poisoned_epochs: tuple[int, ...] = ()
    death: dict[str, int] = field(default_factory=dict)
    dying_rank: int = 0


class LoudSpace:
    """Two linear layers with dropout in between, and logits so large that float16 overflows at first.

    Args:
        smallest: Factor on the logits of the smallest subnet.
    """

    space = SearchSpace((Choice(name="width", options=(4, 5, 6, 7, 8)),))

    def __init__(self, smallest: float = 30.0) -> None:
        self._smallest = smallest

    def build(self, subnet) -> nn.Module:
        width = subnet["width"]
        scale = _Scale(self._smallest if width == 4 else 30.0)
        return nn.Sequential(nn.Flatten(), nn.Linear(432, width), nn.Dropout(0.25), nn.Linear(width, 4), scale)

    def input_shape(self, _subnet) -> tuple[int, ...]:
        return (3, 12, 12)


class _Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self._factor


class PoisonedImages:
    """`images`, with an example that is NaN when it is first read in some epochs."""

    def __init__(self, images: ImageExamples, epochs: tuple[int, ...]) -> None:
        self._images, self._epochs, self.labels = images, set(epochs), images.labels
        self.weights = images.weights

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor, draws: Draws | None) -> Tensor:
        batch = self._images.batch(rows, draws).float()
        if draws is not None and draws.epoch in self._epochs and POISONED_EXAMPLE in rows:
            self._epochs.remove(draws.epoch)
            batch[rows == POISONED_EXAMPLE] = float("nan")
        return batch

    def to_input(self, batch: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self._images.to_input(batch, shape)


class Reaper:
    """Kills this process at the time that the job states."""

    def __init__(self, job: Job, rank: int) -> None:
        self._left = dict(job.death) if rank == job.dying_rank else {}
        if "write" in self._left:
            self._replace_write()
        if "rename" in self._left:
            rename = os.replace
            os.replace = lambda *paths: (self.at("rename"), rename(*paths))

    def at(self, place: str) -> None:
        self._left[place] = self._left.get(place, 0) - 1
        if self._left[place] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def _replace_write(self) -> None:
        write = Path.write_bytes

        def halting_write(path: Path, data: bytes) -> int:
            write(path, data[: len(data) // 2])
            self.at("write")
            return write(path, data)

        Path.write_bytes = halting_write


def run(job: Job, group: Workers | None = None) -> tuple[Supernet, Outcome, list[str]]:
    """The trained supernet, the outcome, and the lines for the user."""
    supernet, notes = Supernet(model_space(job.space)), []
    reaper = Reaper(job, group.rank if group else 0)

    def check(_: object) -> float:
        reaper.at("check")
        return 0.5

    outcome = train(
        supernet,
        PoisonedImages(easy_images(), job.poisoned_epochs),
        TrainingConfig.model_validate(RECIPE | job.training),
        seed=0,
        state_file=Path(job.folder) / "state.safetensors",
        key="run",
        check=check,
        workers=group,
        progress=lambda *_: reaper.at("step"),
        notify=notes.append,
    )
    return supernet, outcome, notes


def model_space(name: str) -> ModelSpace:
    """The model space of this name, see `Job`."""
    if name in {"loud", "broken"}:
        return LoudSpace(smallest=30.0 if name == "loud" else float("nan"))
    stage = {"widths": [8, 16], "depths": [1, 2], "kernels": [3, 5], "expands": [1, 2]}
    stages = [{**stage, "stride": 1}, {**stage, "stride": 2}]
    config = {"resolutions": [8, 12], "stem_width": 8, "stages": stages, "head_width": 16}
    return MobileNetSpace(MobileNetConfig.model_validate(config), classes=4)


def easy_images() -> ImageExamples:
    """128 noisy images (12x12) of four classes: bright in red, green, blue, or none."""
    labels = torch.arange(128) % 4
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 120, (128, 3, 12, 12), generator=generator, dtype=torch.uint8)
    for channel in range(3):
        images[labels == channel, channel] += 120
    normalisation = Normalisation(mean=(0.3, 0.3, 0.3), std=(0.25, 0.25, 0.25))
    return ImageExamples(images=images, labels=labels, normalisation=normalisation, augmentation=AugmentConfig(shift=1))


def start(jobs: list[Job], log: Path, **environment: str) -> BaseProcess:
    """Run `jobs` in another process, whose standard error goes to the file `log`.

    It is forked from a process that has already imported everything, because importing takes longer than the run.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])  # optimizers import it
    process = context.Process(target=_elsewhere, args=(jobs, log, environment))
    here = str(Path(__file__).parent)
    with mock.patch.dict(os.environ, PYTHONPATH=here, PYTHONWARNINGS="error", OMP_NUM_THREADS="1"):
        process.start()
    return process


def _elsewhere(jobs: list[Job], log: Path, environment: dict[str, str]) -> None:
    with log.open("w", encoding="utf-8", buffering=1) as stream:
        os.dup2(stream.fileno(), sys.stderr.fileno())
        os.environ.update(environment)
        main(jobs)


def main(jobs: list[Job]) -> None:
    """Run `jobs` one after the other, on all processes of the group."""
    torch.set_num_threads(1)
    with workers("cpu") as group:
        for job in jobs:
            _report(job, group)


def _report(job: Job, group: Workers) -> None:
    counts, subnets = _count_exchanges(), _list_subnets()
    folder = Path(job.folder)
    try:
        supernet, outcome, notes = run(job, group)
    except FactoryError as error:
        print(f"error: {error}", file=sys.stderr)
        facts: dict[str, Any] = {"error": str(error)}
        if "lost" in str(error):
            raise SystemExit(1) from None
    else:
        save_supernet(folder / f"weights-{group.rank}.safetensors", supernet)
        curve = [[point.step, point.loss] for point in outcome.curve]
        facts = {"notes": notes, "rollbacks": outcome.rollbacks, "curve": curve, "subnets": subnets, **counts}
    (folder / f"facts-{group.rank}.json").write_text(json.dumps(facts), encoding="utf-8")


def _count_exchanges() -> dict[str, int]:
    counts = {"averages": 0}
    original = getattr(torch.distributed.all_reduce, "original", torch.distributed.all_reduce)

    def counting(*arguments: Any, **options: Any) -> Any:
        counts["averages"] += 1
        return original(*arguments, **options)

    counting.original = original
    torch.distributed.all_reduce = counting
    return counts


def _list_subnets() -> list[str]:
    subnets: list[str] = []
    original = getattr(Supernet.forward, "original", Supernet.forward)

    def listing(self: Supernet, x: Tensor, subnet: Any) -> Tensor:
        subnets.append(subnet.id)
        return original(self, x, subnet)

    listing.original = original
    Supernet.forward = listing
    return subnets


if __name__ == "__main__":
    main([Job(**job) for job in json.loads(sys.argv[1])])
