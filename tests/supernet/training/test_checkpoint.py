"""Checkpoints: what is restored, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from factory_base.errors import CheckpointError
from supernet.sharing.supernet import Supernet
from supernet.spaces import make_model_space
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.training.checkpoint import TrainingState, load_state, load_supernet, save_state, save_supernet
from supernet.training.guard import CurvePoint
from supernet.training.trainer import Progression

CONFIG = {"resolutions": [8], "stem_width": 8, "stages": [{"widths": [8], "depths": [1, 2]}], "head_width": 8}
STATE = TrainingState(
    key="k",
    progression=Progression(step=3, drawn=2, learning_rate_scale=0.5),
    curve=(
        CurvePoint(step=1, loss=0.1 + 0.2, largest_accuracy=None, smallest_accuracy=0.5),
        CurvePoint(step=3, loss=1e-17, largest_accuracy=0.25, smallest_accuracy=None),
    ),
    losses=(1 / 3, 2.0),
    rollbacks=1,
    seconds=0.1,
    tensors={"weights.a": torch.arange(6.0).reshape(2, 3)},
)


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
    with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
        load_supernet(checkpoint, space_of())


def test_a_folder_is_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
        load_supernet(tmp_path, space_of())


def test_a_training_state_is_not_a_checkpoint(tmp_path: Path) -> None:
    save_state(tmp_path / "state", STATE)
    with pytest.raises(CheckpointError, match="a model space other than"):
        load_supernet(tmp_path / "state", space_of())


def test_a_training_state_is_restored_bit_identical(tmp_path: Path) -> None:
    save_state(tmp_path / "state", STATE)
    found = load_state(tmp_path / "state", "k")
    assert found is not None
    assert replace(found, tensors={}) == replace(STATE, tensors={})
    assert torch.equal(found.tensors["weights.a"], STATE.tensors["weights.a"])


def test_no_state_is_found_if_there_is_none_or_it_belongs_to_another_run(tmp_path: Path, checkpoint: Path) -> None:
    save_state(tmp_path / "state", STATE)
    assert load_state(tmp_path / "state", "another key") is None
    assert load_state(tmp_path / "missing", "k") is None
    assert load_state(checkpoint, "k") is None
