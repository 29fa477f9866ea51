"""Checkpoints: what is restored, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from factory_base.errors import CheckpointError
from supernet.sharing.supernet import Supernet
from supernet.spaces import make_model_space
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.training.checkpoint import (
    TrainingNote,
    TrainingState,
    load_state,
    load_supernet,
    save_state,
    save_supernet,
    state_key,
)
from supernet.training.guard import CurvePoint
from supernet.training.trainer import Progression

CONFIG = {"resolutions": [8], "stem_width": 8, "stages": [{"widths": [8], "depths": [1, 2]}], "head_width": 8}
NOTE = TrainingNote(
    key="k",
    progression=Progression(step=3, drawn=2, learning_rate_scale=0.5),
    curve=(
        CurvePoint(step=1, loss=0.1 + 0.2, largest_accuracy=None, smallest_accuracy=0.5),
        CurvePoint(step=3, loss=1e-17, largest_accuracy=0.25, smallest_accuracy=None),
    ),
    losses=(1 / 3, 2.0),
    rollbacks=1,
    seconds=0.1,
)
STATE = TrainingState(note=NOTE, tensors={"weights.a": torch.arange(6.0).reshape(2, 3)})
PROJECT = "largest.stages.0.1.project.conv.weight"


def space_of(classes: int = 4, **change: object):
    return make_model_space(MobileNetConfig.model_validate(CONFIG | change), classes)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_supernet(tmp_path / "supernet.safetensors", Supernet(space_of(), seed=5))
    return tmp_path / "supernet.safetensors"


def test_a_supernet_is_restored_bit_identical(checkpoint: Path) -> None:
    saved, loaded = Supernet(space_of(), seed=5), load_supernet(checkpoint, space_of())
    x = torch.randn(4, 3, 8, 8)
    for subnet in (space_of().space.smallest, space_of().space.largest):
        assert torch.equal(saved(x, subnet), loaded(x, subnet))


def test_the_seed_decides_the_initial_weights() -> None:
    one, same, other = (Supernet(space_of(), seed=seed).largest.stem.conv.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("change", [{"head_width": 16}, {"resolutions": [8, 16]}, {"classes": 5}])
def test_the_checkpoint_of_another_space_is_refused(checkpoint: Path, change: dict) -> None:
    with pytest.raises(CheckpointError, match="a model space other than the config's; retrain with `factory train"):
        load_supernet(checkpoint, space_of(**change))


def test_the_error_for_a_missing_checkpoint_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint; run `factory train` first"):
        load_supernet(tmp_path / "none.safetensors", space_of())


@pytest.mark.parametrize("size", [0, 4, 200, -1])
def test_a_truncated_checkpoint_is_refused(checkpoint: Path, size: int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="is not a readable safetensors file"):
        load_supernet(checkpoint, space_of())


def test_a_folder_is_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a readable safetensors file"):
        load_supernet(tmp_path, space_of())


def test_a_training_state_is_not_a_checkpoint(tmp_path: Path) -> None:
    save_state(tmp_path / "state", STATE)
    with pytest.raises(CheckpointError, match="a model space other than"):
        load_supernet(tmp_path / "state", space_of())


def test_a_training_state_is_restored_bit_identical(tmp_path: Path) -> None:
    save_state(tmp_path / "state", STATE)
    found = load_state(tmp_path / "state", "k")
    assert found is not None
    assert found.note == NOTE
    assert torch.equal(found.tensors["weights.a"], STATE.tensors["weights.a"])


def test_there_is_no_state_without_a_file(tmp_path: Path) -> None:
    assert load_state(tmp_path / "missing", "k") is None
    assert state_key(tmp_path / "missing") is None


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path / "state", STATE)
    with pytest.raises(CheckpointError, match=r"state: belongs to a training run with another config .* not continued"):
        load_state(tmp_path / "state", "another key")


def test_a_checkpoint_is_not_a_training_state(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="is not the state of a training run"):
        load_state(checkpoint, "k")
    assert state_key(checkpoint) is None


def rewritten(path: Path, change: Callable[[dict], object], note: str | None = None) -> Path:
    """The file at `path` with `change` applied to its tensors, and with other metadata of a training state."""
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    change(tensors)
    save_file(tensors, path, metadata if note is None else {"training": note})
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop(PROJECT), f"it lacks the tensor '{PROJECT}'"),
        (lambda t: t.update({"x\n": torch.ones(1)}), r"it has, beyond those of this network, the tensor 'x\\n'"),
        (lambda t: t.update({PROJECT: torch.ones(3)}), r"has the shape \(3,\) instead of \(8, "),
        (lambda t: t.update({PROJECT: t[PROJECT].int()}), "holds torch.int32 instead of torch.float32"),
        (lambda t: t.update({PROJECT: t[PROJECT].to(torch.float8_e4m3fn)}), "holds torch.float8_e4m3fn instead of"),
        (lambda t: t[PROJECT].fill_(float("nan")), "has values that are not finite"),
        (lambda t: t.clear(), "it lacks the tensor 'largest.stem.conv.weight' and [0-9]+ more tensors"),
    ],
)
def test_a_checkpoint_whose_tensors_do_not_fit_is_refused_by_name(
    checkpoint: Path, change: Callable[[dict], object], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_supernet(rewritten(checkpoint, change), space_of())
    assert str(caught.value).startswith(f"{checkpoint}: is damaged: ")
    assert str(caught.value).endswith("retrain with `factory train --retrain`, or restore the file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        "[" * 100_000,
        "{}",
        json.dumps(asdict(NOTE) | {"rollbacks": "many"}),
        json.dumps(asdict(NOTE) | {"seconds": float("nan")}),
        json.dumps(asdict(NOTE) | {"losses": ["x"]}),
        json.dumps(asdict(NOTE) | {"rollbacks": -1}),
        json.dumps(asdict(NOTE) | {"progression": {"step": 2}}),
        json.dumps(asdict(NOTE) | {"progression": {"step": 3, "learning_rate_scale": 1e300}}),
    ],
)
def test_a_training_state_with_wrong_metadata_is_refused(tmp_path: Path, note: str) -> None:
    save_state(tmp_path / "state", STATE)
    with pytest.raises(CheckpointError, match="state: is damaged: ") as caught:
        load_state(rewritten(tmp_path / "state", lambda _: None, note), "k")
    assert "\n" not in str(caught.value)


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "supernet.safetensors")
    with pytest.raises(CheckpointError, match="is not a regular file"):
        load_supernet(tmp_path / "supernet.safetensors", space_of())
