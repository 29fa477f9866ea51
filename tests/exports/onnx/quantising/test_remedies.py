"""Remedies: the order in which they are tried, when they stop, and which attempt the file holds."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_conformance import batch
from torch import nn

from exports.engines import get_engine
from exports.onnx.conversion import CheckImages
from exports.onnx.onnx_file import export_onnx, read_onnx
from exports.onnx.quantising.equalisation import equalised, find_pairs
from exports.onnx.quantising.layers import find_layers
from exports.onnx.quantising.precision import convert_precision
from exports.onnx.quantising.qdq import quantised_values
from exports.onnx.quantising.ranges import observe
from exports.onnx.quantising.running import logits_of
from factory_base.errors import EngineError
from supernet.tasks import Classification

SHAPE = (3, 6, 6)


def uneven(activation: nn.Module) -> nn.Module:
    """A network whose second activation has channels of very different size, so that 8 bits lose the small ones."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 16, 1, bias=False), nn.Conv2d(16, 16, 3, groups=16)
    sizes = torch.logspace(0, 3, 16).reshape(-1, 1, 1, 1)
    first.weight.data *= sizes
    second.weight.data /= sizes
    rest = [layer for _ in range(6) for layer in (nn.Conv2d(16, 16, 1), nn.LeakyReLU(0.9))]
    for layer in rest[::2]:
        nn.init.orthogonal_(layer.weight)
    network = nn.Sequential(first, activation, second, *rest, nn.Flatten(), nn.Linear(256, 5)).eval()
    with torch.no_grad():  # without it one class would be the answer to every image
        network[-1].bias -= network(torch.from_numpy(batch(200, SHAPE))).mean(dim=0)
    return network


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """Writes a network; returns its file and a check whose labels are its own answers."""

    def write(module: nn.Module) -> tuple[Path, CheckImages]:
        path = tmp_path_factory.mktemp("remedies") / "net.onnx"
        export_onnx(module, SHAPE, path)
        inputs = batch(200, SHAPE)
        labels = logits_of(read_onnx(path), inputs).argmax(axis=1)
        return path, CheckImages(inputs=inputs, labels=labels, task=Classification(names=()), metric="accuracy")

    return write


@pytest.fixture(scope="module")
def with_relu(export):
    return export(uneven(nn.ReLU()))


@pytest.fixture(scope="module")
def with_leaky_relu(export):
    """As `with_relu`, with an activation through which this equalisation does not pass."""
    return export(uneven(nn.LeakyReLU()))


def test_they_are_tried_in_order_until_the_limit_holds(with_relu, tmp_path):
    path, check = with_relu
    made = convert_precision(path, tmp_path / "int8.onnx", "int8", batch(32, SHAPE), check, drop_limit=6.0)
    tried = [(attempt.ranges, attempt.equalised, attempt.float_layers) for attempt in made.attempts]
    assert tried[:3] == [("minmax", False, ()), ("percentile", False, ()), ("mse", False, ())]
    assert [(equalised, layers) for _, equalised, layers in tried[3:]] == [(True, ())]
    assert made.chosen == 3
    assert made.attempts[3].drop.points <= 6.0 < min(attempt.drop.points for attempt in made.attempts[:3])


def test_the_drop_is_that_of_the_file(with_relu, tmp_path):
    path, check = with_relu
    made = convert_precision(path, tmp_path / "int8.onnx", "int8", batch(32, SHAPE), check, drop_limit=6.0)
    answers = get_engine("onnxruntime").load(tmp_path / "int8.onnx", 1).run(check.inputs).argmax(axis=1)
    drop = made.attempts[made.chosen].drop
    assert drop.points == pytest.approx(100 * np.mean(answers != check.labels))
    assert (drop.images, drop.low < drop.points < drop.high) == (200, True)


def test_the_first_way_is_enough_if_the_drop_is_within_the_limit(with_relu, tmp_path):
    path, check = with_relu
    made = convert_precision(path, tmp_path / "int8.onnx", "int8", batch(32, SHAPE), check, drop_limit=100.0)
    assert (len(made.attempts), made.chosen) == (1, 0)


def test_in_the_end_the_worst_layers_stay_in_float32(with_leaky_relu, tmp_path):
    path, check = with_leaky_relu
    made = convert_precision(path, tmp_path / "int8.onnx", "int8", batch(32, SHAPE), check, drop_limit=0.0)
    floats = [attempt.float_layers for attempt in made.attempts if attempt.float_layers]
    first, second, *_ = (layer.name for layer in find_layers(read_onnx(path)))
    assert [len(names) for names in floats] == [1, 2]  # at most a quarter of 9 layers
    assert set(floats[-1]) == {first, second}
    best = made.attempts[made.chosen]
    assert best.drop.points == min(attempt.drop.points for attempt in made.attempts)
    assert best.float_layers == floats[-1]


def test_nothing_is_tried_without_images_to_check(with_relu, tmp_path):
    made = convert_precision(with_relu[0], tmp_path / "int8.onnx", "int8", batch(32, SHAPE), None)
    assert (made.precision, made.attempts, made.chosen) == ("int8", (), None)


def test_progress_names_what_is_being_done(with_leaky_relu, tmp_path):
    path, check = with_leaky_relu
    seen = []
    convert_precision(
        path, tmp_path / "int8.onnx", "int8", batch(32, SHAPE), check, drop_limit=0.0,
        progress=lambda done, total, detail="": seen.append((done <= total, detail)),
    )  # fmt: skip
    assert all(within for within, _ in seen)
    details = [detail for _, detail in seen]
    assert details[:3] == ["observe activations", "check minmax", "check percentile"]
    assert any(detail.startswith("measure the error of ") for detail in details)


def test_labels_for_other_images_are_refused(with_relu, tmp_path):
    path, check = with_relu
    wrong = dataclasses.replace(check, labels=check.labels[1:])
    with pytest.raises(EngineError, match=r"net\.onnx: got check labels \(199,\) for 200 inputs"):
        convert_precision(path, tmp_path / "int8.onnx", "int8", batch(4, SHAPE), wrong)


def test_equalising_keeps_the_function_and_evens_the_channels(with_relu):
    model, inputs = read_onnx(with_relu[0]), batch(16, SHAPE)
    layers = find_layers(model)
    names = quantised_values(layers)
    pairs = find_pairs(model, layers)
    before = observe(model, names, inputs)
    made = equalised(model, pairs, before)
    after = observe(made, names, inputs)
    value = pairs[0].first.writes
    ratios = [observed[value].channels.max() / observed[value].channels.min() for observed in (before, after)]
    assert ratios[0] > 300
    assert ratios[1] < 10
    np.testing.assert_allclose(logits_of(made, inputs), logits_of(model, inputs), rtol=1e-3, atol=1e-5)


def test_pairs_need_a_value_that_one_convolution_alone_reads(tmp_path):
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kept = self.parts[0](x)
            return kept + self.parts[3](self.parts[2](nn.functional.hardswish(self.parts[1](kept))).relu())

    export_onnx(Shortcut().eval(), SHAPE, tmp_path / "net.onnx")
    model = read_onnx(tmp_path / "net.onnx")
    layers = find_layers(model)
    assert [(pair.first, pair.second) for pair in find_pairs(model, layers)] == [(layers[2], layers[3])]
