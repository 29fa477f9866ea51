"""`training.epochs: 0`: weights that are trained already are searched as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from model_factory.config import load_config
from supernet.sharing.supernet import Supernet
from supernet.spaces import make_model_space
from supernet.training.checkpoint import save_supernet

START = "epochs: 0, initial_weights: trained.safetensors"


@pytest.fixture
def with_trained_weights(built: Path, empty_app: Path, edit_config) -> Path:
    """The tiny config with 0 epochs, and the trained supernet of the finished build beside it."""
    shutil.copy(built / "runs" / "tiny" / "supernet.safetensors", empty_app / "trained.safetensors")
    edit_config(empty_app, "epochs: 10", START)
    return empty_app


def record(app: Path) -> dict:
    return json.loads((app / "runs" / "tiny" / "stages" / "train.json").read_text())["result"]


def test_nothing_is_trained_and_a_second_command_does_nothing(factory, with_trained_weights):
    app = with_trained_weights
    answer = factory(app, "train", "--max-hours", "0.001")  # no training keeps any limit
    assert answer.code == 0, answer.err
    assert "plan: no training, because training.epochs is 0; the initial weights are searched as they are" in answer.err
    assert "check initial weights" in answer.stages
    assert "train supernet" not in answer.stages
    assert "held-out accuracy of the largest subnet" in answer.out
    assert (app / "runs/tiny/supernet.safetensors").read_bytes() == (app / "trained.safetensors").read_bytes()
    found = record(app)
    assert found["largest_only_steps"] == 0
    (row,) = found["curve"]
    assert (row["step"], row["loss"]) == (0, None)
    assert 0.3 < row["smallest_accuracy"] <= 1
    assert not factory(app, "train").stages


def test_a_build_makes_a_family_whose_report_says_so(factory, with_trained_weights, edit_config):
    edit_config(with_trained_weights, "  - {device: speaker", "  # - {device: speaker")
    answer = factory(with_trained_weights, "build")
    assert answer.code == 0, answer.err
    page = (with_trained_weights / "dist/tiny/report.html").read_text()
    assert "Its initial weights were not trained further. Held-out accuracy of the largest subnet:" in page
    assert "Training loss by step" not in page
    assert "images, which fit normalisation<" in page


def test_fine_tuning_of_the_picks_is_announced_without_a_time(factory, with_trained_weights, edit_config):
    edit_config(with_trained_weights, "targets:\n", "finetune: {epochs: 1}\ntargets:\n")
    answer = factory(with_trained_weights, "train")
    assert "after the search: fine-tuning of up to 2 subnets, 7 steps each\n" in answer.err


def test_weights_of_other_classes_are_noticed(factory, with_trained_weights):
    space = make_model_space(load_config(with_trained_weights / "factory.yaml").model, classes=10)
    save_supernet(with_trained_weights / "trained.safetensors", Supernet(space, seed=3))
    answer = factory(with_trained_weights, "train")
    assert answer.code == 0
    assert "check that the initial weights are for these classes, in their order, or train them" in answer.err


@pytest.mark.parametrize(
    ("epochs", "words"),
    [
        (
            "epochs: 0",
            "epochs 0 applies only to initial weights; set training.initial_weights, or raise epochs",
        ),
        (
            f"{START}, fresh_parameters: ['head.*']",
            "searches initial weights that are trained already, but 3",
        ),
        ("epochs: -1", "'training.epochs': must be from 0 to 1000000000, got -1"),
    ],
)
def test_weights_that_nobody_trains_are_refused(factory, with_trained_weights, edit_config, epochs, words):
    edit_config(with_trained_weights, START, epochs)
    answer = factory(with_trained_weights, "train")
    assert answer.code == 1
    assert words in answer.err.splitlines()[-1] + answer.err.splitlines()[0]
    assert "Traceback" not in answer.err
