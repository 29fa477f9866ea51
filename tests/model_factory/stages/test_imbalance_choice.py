"""The plan says what a training does about classes of unequal size; a task without classes refuses to do anything."""

from __future__ import annotations

import numpy as np
import pytest

from factory_base.errors import ConfigError
from model_factory.config import load_config
from model_factory.console import Console
from model_factory.run import find_run
from model_factory.stages.materials import Materials
from model_factory.stages.plan import imbalance_line


@pytest.fixture
def uneven_app(empty_app, edit_config):
    """An app whose data have 60 training images of one class and 12 of the other."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (160, 16, 16, 3), np.uint8)
    labels = np.repeat([0, 1], [132, 28])
    np.savez(
        empty_app / "data.npz", train_images=images[:120], train_labels=np.roll(labels, 7)[:120],
        test_images=images[120:], test_labels=np.arange(40) % 2, class_names=np.array(["day", "night"]),
    )  # fmt: skip
    edit_config(
        empty_app,
        "data: {source: digits, image_size: 16, heldout_fraction: 0.2, test_fraction: 0.25, limit: 600}",
        "data: {source: npz, path: data.npz, image_size: 16, heldout_fraction: 0.2}",
    )
    return empty_app


def line(app) -> str:
    run = find_run(None, app / "factory.yaml")
    return " ".join(imbalance_line(run, Materials(run, Console(quiet=True))))


def test_auto_says_what_it_chose_and_for_which_numbers(uneven_app, edit_config):
    edit_config(uneven_app, "training: {", "training: {imbalance: auto, ")
    found = line(uneven_app)
    assert found.startswith("imbalance: balanced_sampling (chosen by auto), each class is drawn equally often; ")
    assert "'day' has " in found


def test_uneven_classes_without_a_remedy_are_told_with_the_way_out(uneven_app):
    found = line(uneven_app)
    assert found.startswith("imbalance: none (as asked), all examples count alike; 'day' has ")
    assert found.endswith("; set training.imbalance to auto if the rare ones matter as much")


def test_even_classes_need_no_line_unless_a_method_was_asked_for(empty_app, edit_config):
    assert line(empty_app) == ""
    edit_config(empty_app, "training: {", "training: {imbalance: auto, ")
    assert line(empty_app).startswith("imbalance: none (chosen by auto)")


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_a_task_without_single_classes_refuses_a_remedy(empty_app, edit_config, task):
    edit_config(empty_app, "training: {", f"task: {task}\ntraining: {{imbalance: auto, ")
    with pytest.raises(ConfigError, match=f"training.imbalance must be none for the task {task}"):
        load_config(empty_app / "factory.yaml")
