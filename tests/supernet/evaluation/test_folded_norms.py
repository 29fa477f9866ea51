"""Batch normalisation folded into convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from supernet.evaluation.folding import folded

IMAGES = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(0))


def trained(module: nn.Module) -> nn.Module:
    """`module` with statistics, scales and shifts that matter, in evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            for tensor in (layer.running_mean, layer.running_var, layer.weight.data, layer.bias.data):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return module.eval()


def norms(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules())


@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_a_pair_becomes_one_convolution_and_the_original_stays(bias: bool) -> None:
    module = trained(nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4), nn.ReLU()))
    network, output = folded(module, IMAGES)
    assert torch.equal(output, module(IMAGES))
    assert (norms(network), norms(module)) == (0, 1)
    assert (module[0].bias is not None) == bias
    torch.testing.assert_close(network(IMAGES), output)
    torch.testing.assert_close(network(2 * IMAGES), module(2 * IMAGES))
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())


class Shared(nn.Module):
    """A convolution whose output is also used outside its normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class Twice(nn.Module):
    """One normalisation after two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.first(x)) - 2 * self.norm(self.second(x))


class Between(nn.Module):
    """An activation between the convolution and the normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).relu())


class Uncopied(nn.Sequential):
    """Refuses to be copied."""

    def __deepcopy__(self, memo: object) -> nn.Module:
        raise TypeError("not me")


@pytest.mark.parametrize(
    "module",
    [Shared(), Twice(), Between(), nn.Sequential(nn.Conv2d(3, 4, 3)), Uncopied(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))],
    ids=lambda module: type(module).__name__,
)
@torch.no_grad()
def test_what_cannot_be_folded_stays_as_it_is(module: nn.Module) -> None:
    network, output = folded(trained(module), IMAGES)
    assert network is module
    assert torch.equal(output, module(IMAGES))
