"""Builds with model spaces other than the default one: imported, and a vision transformer."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

NETS = '''
from torch import nn

from supernet.space import Choice, SearchSpace


class Nets:
    """A resolution and a width."""

    space = SearchSpace((Choice(name="resolution", options=(8, 12)), Choice(name="width", options=(4, 8))))

    def __init__(self, classes, hidden):
        self.classes, self.hidden = classes, hidden

    def build(self, subnet):
        first, second = nn.Conv2d(3, subnet["width"], 3, 2), nn.Conv2d(subnet["width"], self.hidden, 3, 2)
        pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.hidden, self.classes)]
        return nn.Sequential(first, nn.BatchNorm2d(subnet["width"]), nn.ReLU(), second, nn.ReLU(), *pooled)

    def input_shape(self, subnet):
        return (3, subnet["resolution"], subnet["resolution"])
'''

IMPORTED = "model: {space: 'nets:Nets', options: {hidden: 12}}\n"

VIT = """\
model: {space: vit, resolutions: [8, 16], patch: 4, widths: [8, 16], depths: [1, 2], heads: [1, 2], head_dim: 8}
"""


@pytest.fixture(autouse=True)
def fresh_nets():
    """A user's module belongs to one test: the next one has another of that name."""
    sys.modules.pop("nets", None)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("nets", None)


@pytest.fixture
def with_model(empty_app, tiny_config):
    """Replaces the `model` section of the tiny config, and shortens training."""

    def replace(section: str) -> Path:
        text = re.sub(r"model:\n(  .*\n)+", lambda _: section, tiny_config)
        text = text.replace("epochs: 10", "epochs: 1").replace("learning_rate: 0.2", "learning_rate: 0.02")
        (empty_app / "factory.yaml").write_text(text.replace("latency: 0.24 ms", "latency: 2 ms"))
        return empty_app

    return replace


def test_an_imported_model_space_is_built_and_a_change_of_its_code_is_noticed(factory, with_model):
    app = with_model(IMPORTED)
    (app / "nets.py").write_text(NETS)
    first = factory(app, "build")
    assert first.code == 0, first.err
    assert "train supernet" in first.stages
    assert factory(app, "build").stages == []
    (app / "nets.py").write_text(NETS.replace("ReLU", "SiLU"))
    changed = factory(app, "build")
    assert changed.code == 1
    assert "was trained with another config or other data (model_code" in changed.error
    del sys.modules["nets"]
    retrained = factory(app, "train", "--retrain")
    assert retrained.code == 0, retrained.err
    assert "train supernet" in retrained.stages


def test_a_vision_transformer_is_built(factory, with_model):
    app = with_model(VIT)
    answer = factory(app, "build")
    assert answer.code == 0, answer.err
    assert (app / "dist/tiny/manifest.json").is_file()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (IMPORTED.replace("nets:Nets", "nets:"), "'model.space': 'nets:' is not an import path; write"),
        (IMPORTED.replace("options", "option"), "unknown key 'model.option'; did you mean 'options'"),
        (VIT.replace("vit", "vitt"), "unknown model space 'vitt'; did you mean 'vit'"),
        (VIT.replace("16], patch", "20], patch"), "model: resolutions go up to 20 but data.image_size is 16"),
        (
            "model: {space: text_encoder, vocabulary: 9, lengths: [4], widths: [8], depths: [1], heads: [1]}\n",
            "model: space 'text_encoder' takes tokens, but the task classification has images; set task: text_class",
        ),
    ],
)
def test_a_wrong_model_section_ends_in_one_line(factory, with_model, section, message):
    answer = factory(with_model(section), "build")
    assert answer.code == 1
    assert message in answer.error


def test_a_model_space_that_cannot_be_imported_ends_in_one_line(factory, with_model):
    answer = factory(with_model(IMPORTED), "build")
    error = "error: nets:Nets: cannot be imported (ModuleNotFoundError: No module named 'nets'); install it, or put it"
    assert answer.err.splitlines()[-1].startswith(error)
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (IMPORTED.replace("nets:Nets", "nets:Net"), "module 'nets' has no 'Net'; did you mean 'Nets'?"),
        (IMPORTED.replace("hidden", "hiden"), "change model.options"),
    ],
)
def test_a_model_space_that_cannot_be_called_is_reported_before_images_are_read(factory, with_model, section, words):
    app = with_model(section)
    (app / "nets.py").write_text(NETS)
    answer = factory(app, "build")
    assert words in answer.error
    assert answer.stages == []


def test_an_imported_model_space_with_inputs_other_than_images_is_refused(factory, with_model):
    app = with_model(IMPORTED)
    (app / "nets.py").write_text(NETS.replace("(3, subnet", "(1, subnet").replace("Conv2d(3", "Conv2d(1"))
    answer = factory(app, "build")
    error = "error: nets:Nets: takes inputs of shape (1, 12, 12), but the images have the shape (3, "
    assert answer.err.splitlines()[-1].startswith(error)
    assert "Traceback" not in answer.err
