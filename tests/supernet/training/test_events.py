"""What TensorBoard shows of a training run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from factory_base.errors import DiskError
from supernet.sharing.supernet import Supernet
from supernet.training.config import TrainingConfig
from supernet.training.events import TensorBoardEvents
from supernet.training.training import train


def events(path: Path) -> list[Event]:
    """The events of a file, in order. A record is its length (8 bytes), a checksum (4), the event, a checksum (4)."""
    data, found = path.read_bytes(), []
    while data:
        size = int.from_bytes(data[:8], "little")
        found.append(Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    return found


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value), as TensorBoard reads files: by name, dropping the steps that a mark names."""
    metrics: dict[str, list[tuple[int, float]]] = {}
    for event in (event for path in sorted(folder.iterdir()) for event in events(path)):
        if event.session_log.status == SessionLog.START:
            metrics = {name: [(s, v) for s, v in rows if s < event.step] for name, rows in metrics.items()}
        for value in event.summary.value:
            metrics.setdefault(value.tag, []).append((event.step, value.simple_value))
    return metrics


def test_metrics_are_in_the_file_as_soon_as_they_are_added(tmp_path: Path):
    with TensorBoardEvents(tmp_path / "events") as writer:
        assert not (tmp_path / "events").exists()
        writer.add(10, {"loss": 0.5, "accuracy/largest": 0.25})
        writer.add(20, {"loss": 0.25})
        assert shown(tmp_path / "events") == {"loss": [(10, 0.5), (20, 0.25)], "accuracy/largest": [(10, 0.25)]}


def test_a_run_that_is_resumed_shows_no_step_twice(tmp_path: Path):
    with TensorBoardEvents(tmp_path) as first:
        for step in (10, 20, 30):
            first.add(step, {"loss": 1.0})
    with TensorBoardEvents(tmp_path) as second:  # killed after step 30, resumed from a state before step 20
        second.add(20, {"loss": 2.0})
    assert shown(tmp_path) == {"loss": [(10, 1.0), (20, 2.0)]}


def test_a_run_that_is_rolled_back_shows_no_step_twice(tmp_path: Path):
    with TensorBoardEvents(tmp_path) as writer:
        for step, loss in ((10, 1.0), (20, 1.5), (30, 9.0), (20, 0.5), (30, 0.25)):
            writer.add(step, {"loss": loss})
    assert shown(tmp_path) == {"loss": [(10, 1.0), (20, 0.5), (30, 0.25)]}


def test_a_training_run_writes_its_metrics_at_every_check(small_space, easy_images, tmp_path: Path):
    config = TrainingConfig(epochs=3, batch_size=32, learning_rate=0.05, largest_only=0.5)
    accuracies = {small_space.space.largest: 0.75, small_space.space.smallest: 0.5}
    with TensorBoardEvents(tmp_path / "events") as writer:
        outcome = train(
            Supernet(small_space), easy_images, config,
            seed=0, state_file=tmp_path / "state", key="run", check=accuracies.__getitem__, events=writer,
        )  # fmt: skip
    metrics = shown(tmp_path / "events")
    steps = [point.step for point in outcome.curve]
    assert {
        name: [step for step, _ in rows] for name, rows in metrics.items() if "smallest" not in name
    } == dict.fromkeys(
        ("loss", "accuracy/largest", "learning_rate", "examples_per_second", "loader_share", "seconds"), steps
    )
    assert metrics["accuracy/largest"][-1] == (12, 0.75)
    assert metrics["accuracy/smallest"] == [(step, 0.5) for step in steps if step > 6]
    assert metrics["learning_rate"][-1][1] == pytest.approx(0.0005)
    assert all(value > 0 for _, value in metrics["examples_per_second"])


def test_a_folder_that_cannot_be_created_is_one_clear_error(tmp_path: Path):
    (tmp_path / "events").write_text("in the way")
    with pytest.raises(DiskError, match="events: cannot be written"):
        TensorBoardEvents(tmp_path / "events").add(1, {"loss": 1.0})


def test_the_library_is_loaded_only_when_something_is_written():
    code = "import sys, supernet.training.events; sys.exit('tensorboardX' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
