"""`factory import-ofa`: what it writes, prints and refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from factory_base.documents import load_yaml, parse_document
from model_factory.config import load_config
from supernet.spaces import MODEL_SPACES, make_model_space
from supernet.training.checkpoint import load_supernet


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An official proxyless supernet of a small width, with random weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "supernet")
        from official_ofa import official_state

    path = tmp_path_factory.mktemp("official") / "ofa_proxyless_small"
    torch.save({"state_dict": official_state("ofa_proxyless", 0.15, classes=7)}, path)
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What the command wrote and printed."""

    folder: Path
    out: str


@pytest.fixture(scope="module")
def imported(factory, checkpoint):
    answer = factory(checkpoint.parent, "import-ofa", checkpoint.name, "--output", "mine")
    assert answer.code == 0, answer.err
    return Imported(folder=checkpoint.parent / "mine", out=answer.out)


def test_it_writes_a_supernet_that_fits_the_written_model_section(imported):
    section = load_yaml(imported.folder / "factory.yaml")["model"]
    model = parse_document(section, MODEL_SPACES["ofa_proxyless"].config, "factory.yaml")
    supernet = load_supernet(imported.folder / "supernet.safetensors", make_model_space(model, classes=7))
    assert supernet(torch.zeros(2, 3, 128, 128), supernet.model_space.space.smallest).shape == (2, 7)


def test_it_writes_a_config_that_trains_on_these_weights(imported):
    config = load_config(imported.folder / "factory.yaml")
    assert config.name == "ofa_proxyless_w0.15"
    assert config.training.initial_weights == "supernet.safetensors"
    assert config.training.fresh_parameters == ("classifier.*",)


def test_it_prints_what_it_found_and_what_to_do_next(imported):
    for words in ("ofa_proxyless, width multiplier 0.15, 7 classes", "7.8e+20 subnets", "factory build", "running st"):
        assert words in imported.out


def test_it_overwrites_nothing(factory, tmp_path, checkpoint):
    (tmp_path / "factory.yaml").write_text("mine")
    answer = factory(tmp_path, "import-ofa", checkpoint)
    assert answer.code == 1
    assert "factory.yaml exists already; choose another folder with --output" in answer.error
    assert (tmp_path / "factory.yaml").read_text() == "mine"
    assert not (tmp_path / "supernet.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("gone", "cannot be read (No such file"), ("text", "not a PyTorch checkpoint")],
)
def test_a_wrong_file_ends_in_one_line_and_leaves_nothing_behind(factory, tmp_path, name, words):
    (tmp_path / "text").write_text("no weights here")
    answer = factory(tmp_path, "import-ofa", name, "--output", "mine")
    assert answer.code == 1
    assert words in answer.error
    assert not (tmp_path / "mine").exists()
