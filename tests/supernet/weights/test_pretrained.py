"""Initial weights of the largest network."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from factory_base.errors import CheckpointError, ConfigError
from supernet.data.image_examples import ImageExamples
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace, SubnetConfig
from supernet.spaces import make_model_space
from supernet.spaces.config import SpaceConfig
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.training.checkpoint import save_supernet
from supernet.training.config import TrainingConfig
from supernet.weights.pretrained import load_initial_weights, start_from

Change = Callable[[dict[str, Tensor]], object]


@pytest.fixture
def network(small_space: MobileNetSpace) -> nn.Module:
    """A network that was trained elsewhere: an ordinary module with running statistics of its own."""
    torch.manual_seed(5)
    return small_space.build(small_space.space.largest).eval()


@pytest.fixture
def file(network: nn.Module, tmp_path: Path) -> Path:
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def same(supernet: Supernet, network: nn.Module) -> bool:
    theirs = dict(network.named_parameters())
    return all(torch.equal(value, theirs[name]) for name, value in supernet.largest.named_parameters())


def test_a_plain_state_dict_becomes_the_largest_network_without_its_statistics(
    small_space: MobileNetSpace, network: nn.Module, file: Path
) -> None:
    supernet = Supernet(small_space)
    loaded = load_initial_weights(supernet, file)
    assert same(supernet, network)
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    assert len(loaded.statistics) == 3 * norms
    assert not loaded.fresh


def test_a_checkpoint_of_ours_becomes_the_largest_network(small_space: MobileNetSpace, tmp_path: Path) -> None:
    ours, supernet = Supernet(small_space, seed=3), Supernet(small_space)
    save_supernet(tmp_path / "supernet.safetensors", ours)
    loaded = load_initial_weights(supernet, tmp_path / "supernet.safetensors")
    assert same(supernet, ours.largest)
    assert str(loaded) == f"{len(list(ours.parameters()))} weights loaded"


def test_half_precision_weights_are_accepted(small_space: MobileNetSpace, network: nn.Module, tmp_path: Path) -> None:
    save_file({name: value.half() for name, value in network.named_parameters()}, tmp_path / "half.safetensors")
    supernet = Supernet(small_space)
    load_initial_weights(supernet, tmp_path / "half.safetensors")
    assert all(parameter.dtype == torch.float32 for parameter in supernet.parameters())
    assert same(supernet, network.half().float())


def test_a_new_head_stays_fresh_whatever_the_file_has_for_it(
    small_space: MobileNetSpace, network: nn.Module, tmp_path: Path
) -> None:
    state = network.state_dict()
    state["classifier.weight"], state["classifier.bias"] = torch.zeros(1000, 16), torch.zeros(1000)
    save_file(state, tmp_path / "imagenet.safetensors")
    supernet, before = Supernet(small_space), Supernet(small_space)
    loaded = load_initial_weights(supernet, tmp_path / "imagenet.safetensors", ["classifier.*"])
    assert loaded.fresh == ("classifier.weight", "classifier.bias")
    assert "2 left fresh (classifier.weight, classifier.bias)" in str(loaded)
    assert torch.equal(supernet.largest.classifier.weight, before.largest.classifier.weight)
    assert torch.equal(supernet.largest.stem.conv.weight, network.stem.conv.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("head.conv.weight"),
            r"lacks 1 weights of the largest network: head.conv.weight; .*fresh_param",
        ),
        (lambda s: s.update(extra=torch.ones(1)), r"holds 1 tensors that the largest network lacks \(extra\)"),
        (
            lambda s: s.update({"head.conv.wieght": s.pop("head.conv.weight")}),
            r"lacks 1 of its weights \(head.conv.weight\); 'head.conv.wieght': did you mean 'head.conv.weight'\?",
        ),
        (
            lambda s: s.update({"classifier.weight": torch.zeros(10, 16)}),
            r"'classifier.weight' has shape \(10, 16\) but .* \(4, 16\); .*fresh_parameters: \['classifier.\*'\]",
        ),
        (lambda s: s["classifier.bias"].fill_(math.nan), "'classifier.bias' holds values that are not finite"),
        (lambda s: s["stem.norm.weight"].fill_(math.inf), "'stem.norm.weight' holds values that are not finite"),
        (lambda s: s.update({"classifier.bias": torch.zeros(4, dtype=torch.int8)}), "torch.int8, expected a floating"),
    ],
)
def test_weights_that_do_not_fit_are_named_in_one_line_and_nothing_changes(
    small_space: MobileNetSpace, network: nn.Module, file: Path, change: Change, message: str
) -> None:
    state = {name: value.clone() for name, value in network.state_dict().items()}
    change(state)
    save_file(state, file)
    supernet = Supernet(small_space)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_initial_weights(supernet, file)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert same(supernet, Supernet(small_space).largest)


def test_weights_of_another_width_have_each_layer_named(small_space: MobileNetSpace, file: Path) -> None:
    stage = {"widths": [8, 24], "depths": [1, 2], "kernels": [3, 5], "expands": [1, 2]}
    wider = MobileNetConfig.model_validate(
        {"resolutions": [8, 12], "stem_width": 8, "stages": [stage, stage], "head_width": 16}
    )
    network = make_model_space(wider, 4)
    state = network.build(network.space.largest).state_dict()
    expected = small_space.build(small_space.space.largest).state_dict()
    others = [n for n, t in state.items() if t.shape != expected[n].shape and "running" not in n]
    save_file(state, file)
    with pytest.raises(CheckpointError) as caught:
        load_initial_weights(Supernet(small_space), file)
    assert len(others) > 10
    assert all(f"'{name}' has shape" in str(caught.value) for name in others)


def test_a_pattern_that_matches_nothing_is_refused(small_space: MobileNetSpace, file: Path) -> None:
    with pytest.raises(ConfigError, match=r"'clasifier.weight' matches no .*did you mean 'classifier.weight'"):
        load_initial_weights(Supernet(small_space), file, ["clasifier.weight"])


def test_a_pickle_is_never_read(small_space: MobileNetSpace, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)

    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match=r"is not a readable safetensors file .*save_file\(network.state_dict"):
        load_initial_weights(Supernet(small_space), tmp_path / "weights.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_missing_file_and_a_training_state_are_named(small_space: MobileNetSpace, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no such file; see training.initial_weights"):
        load_initial_weights(Supernet(small_space), tmp_path / "none.safetensors")
    save_file({"weights.x": torch.ones(1)}, tmp_path / "training.safetensors", {"training": "{}"})
    with pytest.raises(CheckpointError, match=r"state of a training run, .*; name the supernet.safetensors of a"):
        load_initial_weights(Supernet(small_space), tmp_path / "training.safetensors")


RANDOM = SpaceConfig(space="none")
"""A `model` section that names no weights."""


class Scaled:
    """A space whose network has a constant buffer."""

    space = SearchSpace((Choice(name="width", options=(2, 4)),))

    def build(self, subnet: SubnetConfig) -> nn.Module:
        network = nn.Linear(int(subnet["width"]), 2)
        network.register_buffer("scale", torch.tensor(3.0))
        return network

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        return (int(subnet["width"]),)


def test_a_constant_in_the_file_must_be_the_one_that_the_space_builds(tmp_path: Path) -> None:
    state = Scaled().build(Scaled.space.largest).state_dict()
    save_file(state, tmp_path / "a.safetensors")
    load_initial_weights(Supernet(Scaled()), tmp_path / "a.safetensors")
    save_file(state | {"scale": torch.tensor(4.0)}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="'scale' is a buffer whose values differ from those that the model"):
        load_initial_weights(Supernet(Scaled()), tmp_path / "b.safetensors")


@pytest.mark.parametrize("importance", ["weights", "gradients"])
def test_starting_from_weights_loads_sorts_and_reports(
    small_space: MobileNetSpace, easy_images: ImageExamples, network: nn.Module, file: Path, importance: str
) -> None:
    sorting = {"sort_by_importance": True, "importance": importance, "keep_statistics": False}
    values = {"epochs": 1, "initial_weights": file.name, **sorting}
    supernet, notes = Supernet(small_space), []
    recipe = TrainingConfig.model_validate(values)
    start_from(supernet, RANDOM, recipe, file.parent, easy_images, seed=0, notify=notes.append)
    x = torch.randn(4, 3, 12, 12)
    expected = Supernet(small_space)
    load_initial_weights(expected, file)
    assert torch.allclose(supernet.largest(x), expected.largest(x), atol=1e-5)
    assert not same(supernet, network)
    assert [line.split(": ")[0] for line in notes] == [
        str(file),
        "its statistics of batch normalisation are not used, as training.keep_statistics says",
        "6 groups of channels, heads or neurons sorted by importance",
    ]


def test_without_initial_weights_nothing_changes(small_space: MobileNetSpace, easy_images: ImageExamples) -> None:
    supernet = Supernet(small_space)
    start_from(supernet, RANDOM, TrainingConfig(epochs=1), Path(), easy_images, seed=0)
    assert same(supernet, Supernet(small_space).largest)
