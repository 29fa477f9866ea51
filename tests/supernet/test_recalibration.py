"""Batch-normalisation recalibration and accuracy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from supernet.evaluation import accuracy, predict, recalibrate
from supernet.images import Normalisation, to_input
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.supernet import Supernet

PLAIN = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def noise(count: int) -> Tensor:
    """uint8 (count, 3, 12, 12), brighter and brighter."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, 12, 12, generator=generator) * torch.linspace(20, 255, count)[:, None, None, None]
    return images.to(torch.uint8)


def statistics(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


@pytest.mark.parametrize("count", [40, 250, 300, 500])
def test_the_first_statistics_are_those_of_all_calibration_images(small_space: MobileNetSpace, count: int) -> None:
    module = Supernet(small_space).extract(small_space.space.smallest)
    recalibrate(module, noise(count), 8, PLAIN)
    with torch.no_grad():
        features = module.stem.conv(to_input(noise(count), 8, PLAIN))  # (count, channels, 8, 8)
    torch.testing.assert_close(module.stem.norm.running_mean, features.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_one_batch_gives_its_unbiased_variance(small_space: MobileNetSpace) -> None:
    module = Supernet(small_space).extract(small_space.space.smallest)
    recalibrate(module, noise(40), 8, PLAIN)
    with torch.no_grad():
        features = module.stem.conv(to_input(noise(40), 8, PLAIN))
    torch.testing.assert_close(module.stem.norm.running_var, features.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_earlier_statistics_leave_no_trace(small_space: MobileNetSpace) -> None:
    fresh = Supernet(small_space).extract(small_space.space.largest)
    used = Supernet(small_space).extract(small_space.space.largest)
    recalibrate(used, 255 - noise(60), 12, PLAIN)
    before = statistics(used)
    found, expected = (statistics(recalibrate(module, noise(60), 12, PLAIN)) for module in (used, fresh))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not torch.equal(found["stem.norm.running_mean"], before["stem.norm.running_mean"])


def test_weights_and_momentum_stay_and_the_module_is_left_in_evaluation_mode(small_space: MobileNetSpace) -> None:
    module = Supernet(small_space).extract(small_space.space.smallest)
    before = [parameter.clone() for parameter in module.parameters()]
    assert recalibrate(module, noise(10), 8, PLAIN) is module
    assert all(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))
    assert module.stem.norm.momentum == 0.1
    assert not any(layer.training for layer in module.modules())


def test_dropout_rests_while_statistics_are_taken() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3))
    recalibrate(module, noise(40), 12, PLAIN)
    exact = (noise(40).float() / 255).mean((0, 2, 3))
    torch.testing.assert_close(module[1].running_mean, exact, rtol=1e-4, atol=1e-5)


def test_accuracy_is_the_share_of_right_predictions() -> None:
    class Brightest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    images = torch.zeros(600, 3, 4, 4, dtype=torch.uint8)
    images[torch.arange(600), torch.arange(600) % 3] = 200
    labels = torch.arange(600) % 3
    assert predict(Brightest(), images, 4, PLAIN).tolist() == labels.tolist()
    labels[:150] = (labels[:150] + 1) % 3
    assert accuracy(Brightest(), images, labels, 4, PLAIN) == 0.75
