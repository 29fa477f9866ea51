"""`factory import` and `factory import-ofa`: what they write, print and refuse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from factory_base.documents import load_yaml, parse_document
from model_factory.config import load_config
from model_factory.jobs.importing import IMPORT_LAYOUTS
from supernet.data.normalising import fixed_statistics
from supernet.sharing.supernet import Supernet
from supernet.spaces import MODEL_SPACES, make_model_space
from supernet.training.checkpoint import load_supernet
from supernet.weights.layouts import LAYOUTS
from supernet.weights.pretrained import load_initial_weights


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


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Random weights of five classes in the layout of timm's MobileNetV3-Large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "supernet" / "weights")
        from packaged_weights import random_state

    path = tmp_path_factory.mktemp("published") / "model.safetensors"
    save_file(random_state("timm:mobilenetv3_large_100", classes=5), path)
    return path


def test_published_weights_become_a_supernet_and_a_config_that_trains_on_it(factory, tmp_path, published):
    answer = factory(tmp_path, "import", published, "--layout", "timm:mobilenetv3_large_100")
    assert answer.code == 0, answer.err
    assert "mobilenetv3_large_100, 5 classes" in answer.out
    config = load_config(tmp_path / "factory.yaml")
    assert config.data.normalize == "imagenet"
    assert config.model.norm_eps == 1e-5
    assert config.training.sort_by_importance
    assert config.training.importance == "weights"
    supernet = load_supernet(tmp_path / "supernet.safetensors", make_model_space(config.model, classes=5))
    original = load_file(published)
    assert torch.equal(supernet.largest.mix.bias, original["conv_head.bias"])
    kept = load_file(tmp_path / "supernet.safetensors")
    assert torch.equal(kept["statistics.stem.norm.running_var"], original["bn1.running_var"])


def test_training_starts_from_the_weights_and_their_statistics(tmp_path, factory, published):
    factory(tmp_path, "import", published, "--layout", "timm:mobilenetv3_large_100")
    supernet = Supernet(make_model_space(load_config(tmp_path / "factory.yaml").model, classes=5))
    loaded = load_initial_weights(supernet, tmp_path / "supernet.safetensors")
    assert len(loaded.weights) == len(list(supernet.parameters()))
    assert not loaded.fresh


def test_both_commands_write_the_same(factory, tmp_path, checkpoint, imported):
    assert factory(tmp_path, "import", checkpoint, "--layout", "ofa").code == 0
    for name in ("factory.yaml", "supernet.safetensors"):
        assert (tmp_path / name).read_bytes() == (imported.folder / name).read_bytes()
    assert load_config(tmp_path / "factory.yaml").data.normalize == "imagenet"


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("timm:mobilenet", "unknown layout 'timm:mobilenet'; did you mean 'timm:mobilenetv3_large_100'?"),
        (
            "torchvision:mobilenet_v3_large",
            "have the layout torchvision:mobilenet_v3_large: it looks like timm:m",
        ),
        ("ofa", "is not a once-for-all supernet; its keys are blocks.0.0.bn1.bias"),
    ],
)
def test_a_wrong_layout_ends_in_one_line_and_leaves_nothing_behind(factory, tmp_path, published, layout, words):
    answer = factory(tmp_path, "import", published, "--layout", layout, "--output", "mine")
    assert answer.code == 1
    assert words in answer.error
    assert not (tmp_path / "mine").exists()


def test_the_help_names_every_layout(factory, tmp_path):
    text = "".join(factory(tmp_path, "import", "--help").out.split())
    assert all(name in text for name in IMPORT_LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_config_of_every_layout_is_valid_and_has_its_network(factory, tmp_path, layout):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "supernet" / "weights")
        from packaged_weights import random_state

    save_file(random_state(layout, classes=3), tmp_path / "w.safetensors")
    assert factory(tmp_path, "import", "w.safetensors", "--layout", layout).code == 0
    config = load_config(tmp_path / "factory.yaml")
    assert config.model == LAYOUTS[layout].config
    assert fixed_statistics(config.data.normalize) == LAYOUTS[layout].statistics
