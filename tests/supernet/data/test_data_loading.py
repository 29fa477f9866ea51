"""Batches in the order of the steps, from this process or from workers."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from factory_base.errors import DataError
from supernet.data.augmentation_config import AugmentConfig
from supernet.data.config import DataConfig
from supernet.data.examples import Draws, Targets
from supernet.data.image_examples import ImageExamples, Normalisation
from supernet.data.loading import BatchLoader, spare_cores
from supernet.data.sources import load_splits

torch.set_num_threads(1)

Write = Callable[..., Path]
STEPS = 6


@pytest.fixture
def pets(tmp_path: Path, write_folder: Write) -> ImageExamples:
    """21 training images that are decoded on demand and augmented."""
    write_folder(tmp_path / "pets")
    config = DataConfig(source="folder", path="pets", image_size=8, cache="none")
    splits = load_splits(config, tmp_path, 0)
    normalisation = Normalisation(mean=splits.mean, std=splits.std)
    return ImageExamples.of(splits.train, normalisation, AugmentConfig(flip=True, shift=2, operations=1))


def rows_of(step: int) -> Tensor:
    return torch.randperm(21, generator=torch.Generator().manual_seed(step))[:5]


def loader(examples: ImageExamples, workers: int, first_step: int = 0) -> BatchLoader:
    return BatchLoader(
        examples, rows_of, lambda step: Draws(7, step // 3), first_step=first_step, steps=STEPS, workers=workers
    )


def batches(examples: ImageExamples, workers: int, first_step: int = 0) -> list[tuple[int, Tensor, Targets]]:
    with loader(examples, workers, first_step) as found:
        return list(found)


def assert_no_children() -> None:
    end = time.monotonic() + 5
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.01)
    assert multiprocessing.active_children() == []


def consume(examples: ImageExamples, workers: int, act: Callable[[int], None]) -> None:
    """Iterate over all batches and call `act` after each."""
    with loader(examples, workers) as found:
        for step, _, _ in found:
            act(step)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("first_step", [0, 4])
def test_a_batch_is_the_same_from_any_process_and_after_any_start(
    pets: ImageExamples, workers: int, first_step: int
) -> None:
    found = batches(pets, workers, first_step)
    assert [step for step, _, _ in found] == list(range(first_step, STEPS))
    for step, batch, targets in found:
        rows = rows_of(step)
        assert torch.equal(batch, pets.batch(rows, Draws(7, step // 3)))
        assert torch.equal(targets.labels, pets.labels[rows])
        assert targets.weights is None
    assert_no_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_weights_come_with_their_examples(pets: ImageExamples, workers: int) -> None:
    weighted = dataclasses.replace(pets, weights=torch.arange(21) / 10)
    for step, _, targets in batches(weighted, workers):
        assert torch.equal(targets.weights, rows_of(step) / 10)


def test_examples_in_memory_load_the_same_from_other_processes(pets: ImageExamples) -> None:
    kept = ImageExamples(
        images=pets.batch(torch.arange(21), None),
        labels=pets.labels,
        normalisation=pets.normalisation,
        augmentation=pets.augmentation,
    )
    for (_, batch, _), (_, expected, _) in zip(batches(kept, 1), batches(pets, 0), strict=True):
        assert torch.equal(batch, expected)


def test_nothing_is_drawn_from_the_global_generator(pets: ImageExamples) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches(pets, 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_damaged_in_the_middle_of_an_epoch_is_named(tmp_path: Path, pets: ImageExamples, workers: int) -> None:
    seen = []

    def damage(step: int) -> None:
        seen.append(step)
        for path in tmp_path.glob("pets/*/*.png"):
            path.write_bytes(b"no image")

    with pytest.raises(DataError) as caught:
        consume(pets, workers, damage)
    assert seen
    assert "is not an image" in str(caught.value)
    assert str(tmp_path / "pets") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_no_children()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("other"), RuntimeError("other")])
def test_processes_end_when_the_consumer_fails(pets: ImageExamples, error: BaseException) -> None:
    def fail(_: int) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        consume(pets, 2, fail)
    assert caught.value is error
    assert_no_children()


def test_processes_end_when_the_consumer_stops_early(pets: ImageExamples) -> None:
    with loader(pets, 2) as found:
        next(iter(found))
        assert len(multiprocessing.active_children()) == 2
    assert_no_children()


def test_a_killed_process_is_reported_with_a_remedy(pets: ImageExamples) -> None:
    def kill(_: int) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)

    with pytest.raises(DataError, match=r"killed.*data\.workers") as caught:
        consume(pets, 2, kill)
    assert "\n" not in str(caught.value)
    assert_no_children()


class SlowExamples:
    """Examples that take 20 ms per batch."""

    labels, weights = torch.zeros(21, dtype=torch.int64), None

    def __len__(self) -> int:
        return 21

    def batch(self, rows: Tensor, draws: Draws | None) -> Tensor:  # noqa: ARG002
        time.sleep(0.02)
        return rows

    def to_input(self, batch: Tensor, shape: tuple[int, ...]) -> Tensor:  # noqa: ARG002
        return batch


def test_waiting_is_counted_but_working_is_not() -> None:
    slow = BatchLoader(SlowExamples(), rows_of, lambda _: Draws(0, 0), first_step=0, steps=5, workers=0)
    started = time.monotonic()
    for _ in slow:
        time.sleep(0.05)
    assert 5 * 0.02 <= slow.wait_seconds <= time.monotonic() - started - 5 * 0.05


def test_a_finished_run_loads_nothing(pets: ImageExamples) -> None:
    assert batches(pets, 2, first_step=STEPS) == []


def test_examples_can_be_sent_to_a_process(pets: ImageExamples) -> None:
    sent = pickle.loads(pickle.dumps(pets))
    assert torch.equal(sent.batch(rows_of(0), Draws(0, 0)), pets.batch(rows_of(0), Draws(0, 0)))


def test_processes_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
    assert spare_cores() == 15
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert spare_cores() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert spare_cores() == 1
