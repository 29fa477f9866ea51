import numpy as np
import pytest
import torch
from torch import nn

from supernet.pixels import PixelInput

MEAN, STD = (0.49, 0.48, 0.44), (0.2, 0.25, 0.26)


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))
    return nn.Sequential(*layers).eval()


def pixels(count):
    values = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3))
    return torch.from_numpy(values.astype(np.uint8))


def test_it_normalises_like_the_data_do(network):
    images = pixels(4)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    normalised = (images.permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        torch.testing.assert_close(PixelInput(network, MEAN, STD)(images), network(normalised), atol=1e-5, rtol=1e-5)


def test_the_state_dict_is_that_of_the_network(network):
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    wrapped = PixelInput(network, MEAN, STD)
    assert wrapped.state_dict().keys() == state.keys()
    wrapped.load_state_dict({name: torch.zeros_like(value) for name, value in state.items()})
    assert not network[4].weight.any()


@pytest.mark.parametrize("training", [False, True])
def test_it_is_in_the_mode_of_its_network(network, training):
    assert PixelInput(network.train(training), MEAN, STD).training is training
