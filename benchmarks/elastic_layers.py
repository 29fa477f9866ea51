"""The once-for-all MobileNetV3 supernet of width 1.0 as elastic layers, a baseline. Not a benchmark itself.

It is written as in the original (Cai et al., "Once-for-All", 2020; mit-han-lab/once-for-all): every layer holds the
largest weights and, as mutable state, its active size; its forward pass slices the weights. Kernels shrink by learned
transforms, batch normalisation is dynamic, and hard-swish and hard-sigmoid are composed of ReLU6. It computes in
float32, channels first, and copies nothing that the original does not copy. On the same sandwich steps, taking turns
with the original (package `ofa`, 0.1.0 of 2023-07-20), it needs 0.99 times the CPU time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# The architecture of the original supernet, `OFAMobileNetV3` with width 1.0.
STEM = 16
WIDTHS = (24, 40, 80, 112, 160)
STRIDES = (2, 2, 2, 1, 2)
HARD_SWISH = (False, False, True, True, True)
SQUEEZE_EXCITE = (False, True, False, True, True)
DEPTHS, KERNELS, EXPANDS = (2, 3, 4), (3, 5, 7), (3, 4, 6)
EXPANDED, MIXED = 960, 1280


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """A subnet.

    Attributes:
        depths: Number of blocks of each stage.
        kernels: Kernel of each block, with four blocks per stage; those of absent blocks are ignored.
        expands: Expansion of each block, likewise.
    """

    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expands: tuple[int, ...]

    @staticmethod
    def of(values: Mapping[str, float]) -> Active:
        """The subnet with the product's choices `values`, which have names such as `stages.0.blocks.1.kernel`."""
        blocks = [f"stages.{s}.blocks.{b}" for s in range(len(WIDTHS)) for b in range(DEPTHS[-1])]
        return Active(
            depths=tuple(int(values[f"stages.{s}.depth"]) for s in range(len(WIDTHS))),
            kernels=tuple(int(values[f"{block}.kernel"]) for block in blocks),
            expands=tuple(int(values[f"{block}.expand"]) for block in blocks),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """How to compute the two activations for which PyTorch has functions."""

    hard_swish: Callable[[Tensor], Tensor]
    hard_sigmoid: Callable[[Tensor], Tensor]


def hard_swish(x: Tensor) -> Tensor:
    """Hard-swish, composed as in the original."""
    return x * functional.relu6(x + 3.0, inplace=True) / 6.0


def hard_sigmoid(x: Tensor) -> Tensor:
    """Hard-sigmoid, composed as in the original."""
    return functional.relu6(x + 3.0, inplace=True) / 6.0


COMPOSED = Activations(hard_swish=hard_swish, hard_sigmoid=hard_sigmoid)
LIBRARY = Activations(hard_swish=functional.hardswish, hard_sigmoid=functional.hardsigmoid)


def relu(x: Tensor) -> Tensor:
    """ReLU in place."""
    return functional.relu(x, inplace=True)


def round_channels(value: float) -> int:
    """`value` rounded to a multiple of 8, but not below 0.9 times `value` (Sandler et al., 2018)."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


class PointwiseNorm(nn.Module):
    """Elastic 1x1 convolution and dynamic batch normalisation, (n, c, h, w) -> (n, active, h, w)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 1, 1))
        self.norm = nn.BatchNorm2d(outputs)
        self.active = outputs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the active part of the convolution for the channels of `x`, then that of the norm."""
        weight = self.weight[: self.active, : x.shape[1]].contiguous()
        return dynamic_norm(self.norm, functional.conv2d(x, weight))


class DepthwiseNorm(nn.Module):
    """Elastic depthwise convolution with kernel transforms 7 -> 5 -> 3, and dynamic batch normalisation."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, KERNELS[-1], KERNELS[-1]))
        self.seven_to_five, self.five_to_three = nn.Parameter(torch.eye(25)), nn.Parameter(torch.eye(9))
        self.norm = nn.BatchNorm2d(channels)
        self.stride, self.active = stride, KERNELS[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the active kernel for the channels of `x`, then the active part of the norm."""
        channels = x.shape[1]
        weight = self.weight[:channels]
        if self.active <= 5:
            weight = self._shrink(weight, self.seven_to_five, 5)
        if self.active <= 3:
            weight = self._shrink(weight, self.five_to_three, 3)
        x = functional.conv2d(x, weight.contiguous(), None, self.stride, self.active // 2, 1, channels)
        return dynamic_norm(self.norm, x)

    @staticmethod
    def _shrink(weight: Tensor, matrix: Tensor, size: int) -> Tensor:
        start = (weight.shape[-1] - size) // 2
        centre = weight[:, :, start : start + size, start : start + size]
        return functional.linear(centre.reshape(-1, size * size), matrix).view(-1, 1, size, size)


class SqueezeExcite(nn.Module):
    """Elastic channel gates, a quarter of the active channels wide inside."""

    def __init__(self, channels: int, activations: Activations) -> None:
        super().__init__()
        squeezed = round_channels(channels // 4)
        self.hard_sigmoid = activations.hard_sigmoid
        self.reduce, self.expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> the same, channels scaled."""
        channels = x.shape[1]
        squeezed = round_channels(channels // 4)
        y = x.mean((2, 3), keepdim=True)
        y = functional.conv2d(y, self.reduce.weight[:squeezed, :channels].contiguous(), self.reduce.bias[:squeezed])
        weight, bias = self.expand.weight[:channels, :squeezed].contiguous(), self.expand.bias[:channels]
        return x * self.hard_sigmoid(functional.conv2d(relu(y), weight, bias))


class Block(nn.Module):
    """Elastic inverted residual block."""

    def __init__(self, inputs: int, outputs: int, stage: int, first: bool, activations: Activations) -> None:
        super().__init__()
        hidden = round_channels(inputs * EXPANDS[-1])
        self.activation = activations.hard_swish if HARD_SWISH[stage] else relu
        self.expand = PointwiseNorm(inputs, hidden)
        self.depthwise = DepthwiseNorm(hidden, STRIDES[stage] if first else 1)
        self.gates = SqueezeExcite(hidden, activations) if SQUEEZE_EXCITE[stage] else None
        self.project = PointwiseNorm(hidden, outputs)
        self.shortcut = not first

    def activate(self, kernel: int, expand: int) -> None:
        """Set the active kernel and expansion."""
        self.expand.active = round_channels(self.expand.weight.shape[1] * expand)
        self.depthwise.active = kernel

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h', w')."""
        y = self.activation(self.expand(x))
        y = self.activation(self.depthwise(y))
        if self.gates is not None:
            y = self.gates(y)
        y = self.project(y)
        return x + y if self.shortcut else y


class ElasticMobileNet(nn.Module):
    """The supernet: float images (n, 3, h, w) -> logits (n, classes) of the subnet that `activate` set."""

    def __init__(self, classes: int, activations: Activations = COMPOSED) -> None:
        super().__init__()
        self.hard_swish = activations.hard_swish
        self.stem, self.stem_norm = nn.Conv2d(3, STEM, 3, 2, 1, bias=False), nn.BatchNorm2d(STEM)
        self.first = nn.Conv2d(STEM, STEM, 3, 1, 1, groups=STEM, bias=False)
        self.first_norm, self.first_project = nn.BatchNorm2d(STEM), PointwiseNorm(STEM, STEM)
        inputs = (STEM, *WIDTHS)
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(width if j else inputs[i], width, i, j == 0, activations) for j in range(DEPTHS[-1]))
            for i, width in enumerate(WIDTHS)
        )
        self.expand, self.mix = PointwiseNorm(WIDTHS[-1], EXPANDED), nn.Conv2d(EXPANDED, MIXED, 1, bias=False)
        self.classifier = nn.Linear(MIXED, classes)
        self.depths = (DEPTHS[-1],) * len(WIDTHS)
        for parameter in self.parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, mode="fan_out")

    def activate(self, active: Active) -> None:
        """Make `active` the subnet that `forward` computes."""
        self.depths = active.depths
        for i, stage in enumerate(self.stages):
            for j, block in enumerate(stage):
                index = i * len(stage) + j
                block.activate(active.kernels[index], active.expands[index])

    def forward(self, x: Tensor) -> Tensor:
        """The logits of the active subnet."""
        x = self.hard_swish(dynamic_norm(self.stem_norm, self.stem(x)))
        x = x + self.first_project(relu(dynamic_norm(self.first_norm, self.first(x))))
        for stage, depth in zip(self.stages, self.depths, strict=True):
            for block in stage[:depth]:
                x = block(x)
        x = self.hard_swish(self.expand(x)).mean((2, 3), keepdim=True)
        return self.classifier(self.hard_swish(self.mix(x)).flatten(1))


def dynamic_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Normalise by batch statistics with the leading part of `norm`, and update its running statistics."""
    n = x.shape[1]
    mean, variance = norm.running_mean[:n], norm.running_var[:n]
    return functional.batch_norm(x, mean, variance, norm.weight[:n], norm.bias[:n], True, norm.momentum, norm.eps)
