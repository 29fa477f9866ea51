"""Recalibration of batch normalisation, how many images it needs, predictions and accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from factory_base.documents import parse_document
from factory_base.errors import DataError, SpaceError
from supernet.data.examples import ExampleInputs
from supernet.data.image_examples import ImageExamples, Normalisation
from supernet.evaluation.calibration import Calibration, choose_calibration, seeded_rows
from supernet.evaluation.evaluation import accuracy, correct, logits, predict, recalibrate
from supernet.sharing.supernet import Supernet
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.transformer_config import VisionTransformerConfig
from supernet.spaces.vit import VisionTransformerSpace

PLAIN = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
SHAPE = (3, 12, 12)


@dataclass(frozen=True)
class Given:
    """Inputs that are tensors already."""

    inputs: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: slice) -> Tensor:
        return self.inputs[rows]


def noise(count: int) -> Tensor:
    """Images, uint8 (count, 3, 12, 12), each brighter than the one before."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, *SHAPE, generator=generator) * torch.linspace(20, 255, count)[:, None, None, None]
    return images.to(torch.uint8)


def examples(count: int) -> ImageExamples:
    return ImageExamples(images=noise(count), labels=torch.arange(count) % 4, normalisation=PLAIN)


def inputs(count: int, size: int = 8) -> ExampleInputs:
    return ExampleInputs(examples(count), (3, size, size))


def statistics(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


@pytest.fixture
def smallest(small_space: MobileNetSpace) -> nn.Module:
    return Supernet(small_space).extract(small_space.space.smallest)


@pytest.mark.parametrize("count", [2, 40, 257, 600])
def test_the_first_statistics_are_those_of_all_values_of_all_images(smallest: nn.Module, count: int) -> None:
    recalibrate(smallest, inputs(count))
    with torch.no_grad():
        features = smallest.stem.conv(inputs(count)[:])  # (count, channels, 8, 8)
    norm = smallest.stem.norm
    torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var, features.var((0, 2, 3)), rtol=1e-5, atol=1e-6)


def test_the_variance_keeps_its_digits_far_from_zero() -> None:
    values = 1000 + 0.1 * torch.randn(600, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    module = recalibrate(nn.Sequential(nn.BatchNorm2d(1)), Given(values))
    torch.testing.assert_close(module[0].running_var, values.double().var((0, 2, 3)).float(), rtol=2e-3, atol=0)


def test_a_layer_that_runs_twice_sees_both_its_inputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x) + self.norm(3 * x + 1)

    values = torch.randn(50, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    module = recalibrate(Twice(), Given(values))
    seen = torch.cat((values, 3 * values + 1))
    torch.testing.assert_close(module.norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(module.norm.running_var, seen.var((0, 2, 3)), rtol=1e-5, atol=1e-6)


def test_the_same_images_give_the_same_statistics_whatever_they_were_before(small_space: MobileNetSpace) -> None:
    fresh, used = (Supernet(small_space).extract(small_space.space.largest) for _ in range(2))
    recalibrate(used, inputs(60, 12))
    before = statistics(used)
    found, expected = (statistics(recalibrate(module, inputs(300, 12))) for module in (used, fresh))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not torch.equal(found["stem.norm.running_mean"], before["stem.norm.running_mean"])


def test_weights_momentum_and_hooks_are_unchanged_and_the_mode_is_evaluation(
    smallest: nn.Module,
) -> None:
    before = [parameter.clone() for parameter in smallest.parameters()]
    assert recalibrate(smallest, inputs(10)) is smallest
    assert all(torch.equal(old, new) for old, new in zip(before, smallest.parameters(), strict=True))
    assert smallest.stem.norm.momentum == 0.1
    assert not any(layer.training or layer._forward_hooks for layer in smallest.modules())


def test_dropout_is_off_while_statistics_are_taken() -> None:
    module = recalibrate(nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)), inputs(40, 12))
    exact = (noise(40).float() / 255).mean((0, 2, 3))
    torch.testing.assert_close(module[1].running_mean, exact, rtol=1e-4, atol=1e-5)


def test_a_network_without_batch_normalisation_is_not_run_at_all() -> None:
    class Untouched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError(f"it ran on {x.shape}")

    assert not recalibrate(Untouched(), inputs(4)).training


@pytest.mark.parametrize(
    ("layer", "advice"),
    [
        (nn.InstanceNorm2d(3, track_running_stats=True), "track_running_stats=False"),
        (nn.BatchNorm2d(3, track_running_stats=False), "track_running_stats=True"),
    ],
)
def test_a_layer_whose_statistics_cannot_be_set_is_refused_by_name(layer: nn.Module, advice: str) -> None:
    with pytest.raises(SpaceError, match=rf"layer '1' \({type(layer).__name__}\).*{advice}"):
        recalibrate(nn.Sequential(nn.ReLU(), layer), inputs(4))


def test_one_image_is_too_few(smallest: nn.Module) -> None:
    with pytest.raises(DataError, match="at least 2 training examples, got 1"):
        recalibrate(smallest, inputs(1))


def test_later_parts_pass_through_a_folded_copy_that_computes_the_same(smallest: nn.Module) -> None:
    recalibrate(smallest, inputs(300))
    with torch.no_grad():
        plain = smallest(inputs(700)[:])
    torch.testing.assert_close(logits(smallest, inputs(700)), plain, rtol=1e-4, atol=1e-5)
    assert isinstance(smallest.stem.norm, nn.BatchNorm2d)
    assert smallest.stem.conv.bias is None


def test_accuracy_is_the_share_of_right_predictions() -> None:
    class Brightest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    images = torch.zeros(600, 3, 4, 4)
    labels = torch.arange(600) % 3
    images[torch.arange(600), labels] = 200
    assert predict(Brightest(), Given(images)).tolist() == labels.tolist()
    labels[:150] = (labels[:150] + 1) % 3
    assert accuracy(Brightest(), Given(images), labels) == 0.75
    assert correct(Brightest(), Given(images), labels).tolist() == [False] * 150 + [True] * 450


def test_a_smaller_draw_is_the_start_of_a_larger_one() -> None:
    assert torch.equal(seeded_rows(100, 20, seed=3), seeded_rows(100, 80, seed=3)[:20])
    assert sorted(seeded_rows(100, 100, seed=3).tolist()) == list(range(100))
    assert not torch.equal(seeded_rows(100, 20, seed=3), seeded_rows(100, 20, seed=4))


def chosen(space: MobileNetSpace, *, limit: int, tolerance: float) -> Calibration:
    return choose_calibration(Supernet(space), examples(2600), limit=limit, tolerance=tolerance, seed=0)


def test_images_are_doubled_until_predictions_settle(small_space: MobileNetSpace) -> None:
    tried = chosen(small_space, limit=2400, tolerance=1e-12)
    assert (tried.images, tried.settled) == (2400, False)
    assert [images for images, _ in tried.movements] == [1000, 2000, 2400]
    tolerance = max(movement for _, movement in tried.movements)
    found = chosen(small_space, limit=2400, tolerance=tolerance)
    assert found.settled
    assert found.movements == tried.movements[: len(found.movements)]
    assert found.images == found.movements[-1][0]
    assert "not settled at the limit" in tried.describe()
    assert found.describe().startswith(f"recalibration on {found.images} training images: predictions moved by ")


@pytest.mark.parametrize(("limit", "tolerance", "images"), [(300, 0.01, 300), (2400, 0, 2400), (9000, 0, 2600)])
def test_nothing_is_tried_for_few_images_or_without_a_tolerance(
    small_space: MobileNetSpace, limit: int, tolerance: float, images: int
) -> None:
    assert chosen(small_space, limit=limit, tolerance=tolerance) == Calibration(images=images)


def test_networks_without_batch_normalisation_need_no_images() -> None:
    section = {"resolutions": [8, 12], "patch": 4, "widths": [12], "depths": [1], "heads": [1], "head_dim": 4}
    space = VisionTransformerSpace(parse_document(section, VisionTransformerConfig, "test"), classes=4)
    found = choose_calibration(Supernet(space), examples(10), limit=500, tolerance=0.01, seed=0)
    assert found == Calibration(images=0)
    assert found.describe() == "no recalibration: no network has batch normalisation"
