"""The faster gradients of depthwise convolutions equal the gradients of PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from supernet.training.depthwise import FastDepthwise


def run(layer: nn.Module, fast: bool, bfloat16: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gradient of the input, gradient of the weight."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 8, 11, 13, generator=generator).to(memory_format=torch.channels_last).requires_grad_()
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        if fast:
            with FastDepthwise():
                y = layer(x)
        else:
            y = layer(x)
    y.backward(torch.randn(y.shape, generator=generator).to(y.dtype))
    assert x.grad is not None
    return y.detach(), x.grad, layer.weight.grad.clone()


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected.float()).abs().max() / expected.float().abs().max())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_float32_gradients_equal_those_of_pytorch(kernel: int, stride: int) -> None:
    layer = nn.Conv2d(8, 8, kernel, stride, kernel // 2, groups=8)
    for found, expected in zip(run(layer, True), run(layer, False), strict=True):
        assert found.shape == expected.shape
        assert difference(found, expected) < 1e-4
    assert layer.bias is not None
    assert layer.bias.grad is not None


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_bfloat16_gradients_are_as_close_to_float32_as_bfloat16_allows(kernel: int, stride: int) -> None:
    layer = nn.Conv2d(8, 8, kernel, stride, kernel // 2, groups=8, bias=False)
    found, expected = run(layer, True, bfloat16=True), run(layer, False)
    assert found[0].dtype == torch.bfloat16
    assert found[1].dtype == found[2].dtype == torch.float32
    for ours, exact in zip(found, expected, strict=True):
        assert difference(ours, exact) < 0.02


@pytest.mark.parametrize("padding", [0, 2])
def test_padding_need_not_be_half_the_kernel(padding: int) -> None:
    layer = nn.Conv2d(8, 8, 5, 2, padding, groups=8)
    for found, expected in zip(run(layer, True), run(layer, False), strict=True):
        assert difference(found, expected) < 1e-4


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 5, padding=2, groups=4),
        nn.Conv2d(8, 16, 5, padding=2, groups=8),
        nn.Conv2d(8, 8, 5, padding=4, dilation=2, groups=8),
        nn.Conv2d(8, 8, (3, 5), padding=(1, 2), groups=8),
        nn.Conv2d(8, 8, 5, padding="same", groups=8),
        nn.Conv2d(8, 8, 5, padding=2, stride=(1, 2), groups=8),
    ],
    ids=["dense", "grouped", "multiplied", "dilated", "oblong", "padded by name", "unequal strides"],
)
def test_every_other_convolution_is_left_untouched(layer: nn.Conv2d) -> None:
    for found, expected in zip(run(layer, True), run(layer, False), strict=True):
        assert torch.equal(found, expected)


def test_only_depthwise_convolutions_use_the_faster_gradients() -> None:
    x = torch.randn(1, 4, 5, 5)
    with FastDepthwise():
        assert "Depthwise" in type(nn.Conv2d(4, 4, 3, groups=4)(x).grad_fn.next_functions[0][0]).__name__
        assert "Depthwise" not in type(nn.Conv2d(4, 4, 3)(x).grad_fn).__name__


def test_arguments_may_be_given_as_plain_numbers() -> None:
    x, weight = torch.randn(1, 4, 5, 5), torch.randn(4, 1, 3, 3)
    with FastDepthwise():
        found = functional.conv2d(x, weight, None, 1, (1, 1), 1, 4)
    assert torch.equal(found, functional.conv2d(x, weight, None, 1, 1, 1, 4))
