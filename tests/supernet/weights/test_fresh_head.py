"""Starting from pretrained weights with a fresh head: statistics that keep their effect, and the linear probe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from factory_base.errors import CheckpointError, ConfigError
from supernet.data.examples import ExampleInputs
from supernet.data.image_examples import ImageExamples
from supernet.evaluation.evaluation import accuracy, logits, recalibrate
from supernet.sharing.head import head_name
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.tasks import Classification, Multilabel, Regression
from supernet.training.config import TrainingConfig
from supernet.weights.pretrained import load_initial_weights, start_from
from supernet.weights.probe import fit_head
from supernet.weights.statistics import carry_over

CLASSES = Classification(names=())


def trained_elsewhere(space: MobileNetSpace) -> nn.Module:
    """A network whose statistics are far from those of the images here, with noise in every scale and shift."""
    torch.manual_seed(5)
    network = space.build(space.space.largest).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
            nn.init.normal_(layer.running_mean, std=0.5)
            nn.init.uniform_(layer.running_var, 0.2, 2.0)
    return network


def recalibrated(supernet: Supernet, examples: ImageExamples) -> nn.Module:
    return recalibrate(supernet.extract(supernet.model_space.space.largest), inputs_of(supernet, examples))


def inputs_of(supernet: Supernet, examples: ImageExamples) -> ExampleInputs:
    return ExampleInputs(examples, supernet.model_space.input_shape(supernet.model_space.space.largest))


@pytest.fixture
def file(small_space: MobileNetSpace, tmp_path: Path) -> Path:
    save_file(trained_elsewhere(small_space).state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def start(space, file: Path, examples: ImageExamples, **keys: object) -> tuple[Supernet, list[str]]:
    supernet, notes = Supernet(space), []
    values = {"epochs": 1, "initial_weights": file.name, **keys}
    start_from(
        supernet,
        _NoModel(),
        TrainingConfig.model_validate(values),
        file.parent,
        examples,
        seed=0,
        notify=notes.append,
    )
    return supernet, notes


class _NoModel:
    """A `model` section that names no weights."""

    names_weights = False


def test_recalibrated_on_other_data_the_network_computes_what_it_did_with_its_own_statistics(
    small_space: MobileNetSpace, easy_images: ImageExamples
) -> None:
    network, supernet = trained_elsewhere(small_space), Supernet(small_space)
    weights = dict(network.named_parameters())
    with torch.no_grad():
        for name, parameter in supernet.largest.named_parameters():
            parameter.copy_(weights[name])
    inputs = inputs_of(supernet, easy_images)
    expected = logits(network, inputs)
    far = (logits(recalibrated(supernet, easy_images), inputs) - expected).abs().max()
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    assert carry_over(supernet, network.state_dict(), inputs) == norms
    near = (logits(recalibrated(supernet, easy_images), inputs) - expected).abs().max()
    assert near < 1e-4 * expected.abs().max()
    assert far > 100 * near


def test_statistics_that_are_not_complete_change_nothing(
    small_space: MobileNetSpace, easy_images: ImageExamples
) -> None:
    state = trained_elsewhere(small_space).state_dict()
    del state["head.norm.running_var"]
    supernet = Supernet(small_space)
    assert carry_over(supernet, state, inputs_of(supernet, easy_images)) == 0
    assert torch.equal(supernet.largest.stem.norm.weight, Supernet(small_space).largest.stem.norm.weight)


@pytest.mark.parametrize(("value", "fault"), [(torch.full((16,), -1.0), "below 0"), (torch.ones(3), r"shape \(3,\)")])
def test_a_statistic_that_cannot_be_one_is_refused(
    small_space: MobileNetSpace, file: Path, value: torch.Tensor, fault: str
) -> None:
    save_file(trained_elsewhere(small_space).state_dict() | {"head.norm.running_var": value}, file)
    with pytest.raises(CheckpointError, match=f"'head.norm.running_var' .*{fault}"):
        load_initial_weights(Supernet(small_space), file)


def test_a_fresh_head_is_fitted_to_the_features_and_all_else_stays(
    small_space: MobileNetSpace, file: Path, easy_images: ImageExamples
) -> None:
    keys = {"fresh_parameters": ["classifier.*"]}
    supernet, notes = start(small_space, file, easy_images, **keys)
    without, _ = start(small_space, file, easy_images, **keys, probe=False)
    reached, noise = (
        accuracy(recalibrated(one, easy_images), inputs_of(one, easy_images), easy_images.labels)
        for one in (supernet, without)
    )
    assert reached > 0.95
    assert noise < 0.6
    different = [
        n for n, p in supernet.largest.named_parameters() if not torch.equal(p, without.largest.get_parameter(n))
    ]
    assert different == ["classifier.weight", "classifier.bias"]
    assert any(line.startswith("classifier: fitted to the features of 128 training examples") for line in notes)


def test_a_head_from_the_file_is_kept_and_demanding_a_probe_is_an_error(
    small_space: MobileNetSpace, file: Path, easy_images: ImageExamples
) -> None:
    supernet, _ = start(small_space, file, easy_images)
    kept = trained_elsewhere(small_space).classifier.weight
    assert torch.equal(supernet.largest.classifier.weight, kept)
    with pytest.raises(ConfigError, match="but its head, classifier, is not fresh"):
        start(small_space, file, easy_images, probe=True)


def test_the_probe_says_what_it_reaches_on_left_out_folds(
    small_space: MobileNetSpace, easy_images: ImageExamples
) -> None:
    probe = fit_head(Supernet(small_space), "classifier", easy_images, CLASSES, seed=0)
    assert probe.score > 0.9
    assert str(probe).endswith("(the best constant answer: 25.0%)")


def test_without_anything_to_learn_the_penalty_is_strong_and_the_score_chance(
    small_space: MobileNetSpace, easy_images: ImageExamples
) -> None:
    shuffled = easy_images.labels[torch.randperm(128, generator=torch.Generator().manual_seed(1))]
    probe = fit_head(Supernet(small_space), "classifier", replace(easy_images, labels=shuffled), CLASSES, seed=0)
    assert probe.penalty >= 1
    assert probe.score == pytest.approx(0.25, abs=0.12)


def test_several_labels_and_numbers_are_fitted_through_their_task(easy_images: ImageExamples) -> None:
    """Each image is bright in one channel or none; how bright a channel is, is a linear function of the pixels."""
    bright = torch.nn.functional.one_hot(easy_images.labels, 4)
    many = replace(easy_images, labels=bright.to(torch.uint8))
    probe = fit_head(Supernet(PlainSpace()), "1", many, Multilabel(names=("r", "g", "b", "none")), seed=0)
    assert probe.score > 0.9
    values = easy_images.images.float().mean((2, 3)).repeat(1, 2)[:, :4]
    regression = Regression.of(("a", "b", "c", "d"), values.numpy())
    supernet = Supernet(PlainSpace())
    probe = fit_head(supernet, "1", replace(easy_images, labels=values), regression, seed=0)
    assert probe.score > 0.9
    inputs = inputs_of(supernet, easy_images)
    found = regression.predictions(logits(supernet.largest, inputs).numpy())
    assert abs(found - values.numpy()).mean() < 15  # of values that are about 120 apart


def test_examples_that_count_more_pull_the_head_their_way(easy_images: ImageExamples) -> None:
    """Half of the images are labelled with the wrong class, but count a hundredth of the others."""
    wrong = torch.arange(128) % 8 < 4
    labels = torch.where(wrong, (easy_images.labels + 1) % 4, easy_images.labels)
    weights = torch.where(wrong, 0.02, 1.98)
    supernet = Supernet(PlainSpace())
    fit_head(supernet, "1", replace(easy_images, labels=labels, weights=weights), CLASSES, seed=0)
    assert accuracy(supernet.largest, inputs_of(supernet, easy_images), easy_images.labels) > 0.95


class PlainSpace:
    """A linear layer without a bias on the pixels, with or without something after it."""

    space = SearchSpace((Choice(name="size", options=(12,)),))

    def __init__(self, *after: nn.Module) -> None:
        self._after = after

    def build(self, _subnet) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(432, 4, bias=False), *self._after)

    def input_shape(self, _subnet) -> tuple[int, ...]:
        return (3, 12, 12)


def test_a_head_has_any_name_and_needs_no_bias(easy_images: ImageExamples) -> None:
    supernet = Supernet(PlainSpace())
    assert head_name(supernet) == "1"
    fit_head(supernet, "1", easy_images, CLASSES, seed=0)
    inputs = inputs_of(supernet, easy_images)
    assert accuracy(supernet.largest, inputs, easy_images.labels) > 0.95


def test_a_network_that_does_not_end_in_a_linear_layer_has_no_head() -> None:
    assert head_name(Supernet(PlainSpace(nn.ReLU()))) is None
