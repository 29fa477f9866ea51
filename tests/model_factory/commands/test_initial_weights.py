"""A training run that starts from the weights in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_base.errors import CheckpointError, ConfigError
from model_factory.config import load_config
from model_factory.stages.fingerprint import weights_fingerprint
from supernet.sharing.supernet import Supernet
from supernet.spaces import make_model_space
from supernet.training.checkpoint import save_supernet


@pytest.fixture
def app_with_weights(empty_app: Path) -> Path:
    """The tiny config, and a supernet of its model space beside it."""
    space = make_model_space(load_config(empty_app / "factory.yaml").model, classes=10)
    save_supernet(empty_app / "weights.safetensors", Supernet(space, seed=3))
    return empty_app


def test_training_starts_from_sorted_weights_of_which_only_the_content_matters(factory, app_with_weights, edit_config):
    start = "initial_weights: weights.safetensors, sort_by_importance: true, fresh_parameters: ['classifier.*']"
    edit_config(app_with_weights, "epochs: 10", f"epochs: 1, largest_only: 0, {start}")
    first = factory(app_with_weights, "train")
    assert first.code == 0, first.err
    assert "weights.safetensors: " in first.err
    assert "2 left fresh (classifier.weight, classifier.bias)" in first.err
    assert "5 groups of channels, heads or neurons sorted by importance" in first.err
    (app_with_weights / "weights.safetensors").rename(app_with_weights / "moved.safetensors")
    edit_config(app_with_weights, "weights: weights", "weights: moved")
    again = factory(app_with_weights, "train")
    assert again.code == 0, again.err
    assert not again.stages


def test_weights_of_another_network_end_the_command_in_one_line(factory, app_with_weights, edit_config):
    edit_config(app_with_weights, "epochs: 10", "epochs: 10, initial_weights: weights.safetensors")
    edit_config(app_with_weights, "head_width: 32", "head_width: 40")
    answer = factory(app_with_weights, "train")
    assert answer.code == 1
    last = answer.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "'classifier.weight' has shape (10, 32) but the largest network's has (10, 40)" in last
    assert "Traceback" not in answer.err


def test_missing_weights_end_the_command_in_one_line(factory, empty_app, edit_config):
    edit_config(empty_app, "epochs: 10", "epochs: 10, initial_weights: none.safetensors")
    answer = factory(empty_app, "train")
    assert answer.code == 1
    assert answer.error.endswith(
        "none.safetensors: cannot be read (No such file or directory); see training.initial_weights"
    )


def test_the_fingerprint_of_weights_is_their_content(tmp_path: Path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (weights_fingerprint(tmp_path / name, tmp_path / "own") for name in "abc")
    assert a == b != c
    assert weights_fingerprint(None, tmp_path / "own") == {}


def test_weights_must_exist_and_must_not_be_the_result_of_the_same_run(tmp_path: Path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        weights_fingerprint(tmp_path / "none", tmp_path / "own")
    with pytest.raises(ConfigError, match="is the file that this run writes"):
        weights_fingerprint(tmp_path / "runs/../own", tmp_path / "own")
