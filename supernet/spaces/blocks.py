"""The blocks of mobile networks that several model spaces have in common, as plain static layers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from supernet.spaces.ofa_config import Activation, make_divisible

ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hard_swish": nn.Hardswish}
"""Name in a config -> layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockShape:
    """The shape of one block.

    Attributes:
        inputs: Input channels.
        hidden: Hidden channels, between the pointwise convolutions.
        outputs: Output channels.
        kernel: Size of the depthwise kernel.
        stride: Stride of the depthwise convolution.
        activation: Activation after the expansion and the depthwise convolution.
        norm_eps: Added to the variance in batch normalisation.
        shortcut: Whether the input is added to the output.
        expands: Whether a pointwise convolution makes the hidden channels; otherwise they are the input channels.
        squeeze_excite: Whether hidden channels are re-weighted.
        same: Whether the depthwise convolution pads as TensorFlow does; see `ConvNorm`.
        matrix_sizes: Kernel sizes, in descending order, between which the block holds kernel matrices; () for none.
    """

    inputs: int
    hidden: int
    outputs: int
    kernel: int
    stride: int
    activation: Activation
    norm_eps: float
    shortcut: bool
    expands: bool = True
    squeeze_excite: bool = False
    same: bool = False
    matrix_sizes: tuple[int, ...] = ()


class ConvNorm(nn.Module):
    """Convolution without bias, then batch normalisation: (batch, inputs, size, size) -> (batch, outputs, ...).

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Side of the kernel, an odd number.
        eps: Added to the variance in batch normalisation.
        stride: Stride of the convolution.
        groups: Groups of the convolution.
        same: Whether to pad as `same` does in TensorFlow: by just as much as `ceil(size / stride)` outputs need, and
            by one more at the end than at the start if that is an odd number. By default all sides are padded equally.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        eps: float,
        *,
        stride: int = 1,
        groups: int = 1,
        same: bool = False,
    ) -> None:
        super().__init__()
        self.pad = _SamePad(kernel, stride) if same and stride > 1 else None  # at stride 1 all sides are equal anyway
        padding = kernel // 2 if self.pad is None else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised output."""
        if self.pad is not None:
            x = self.pad(x)
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


class _SamePad(nn.Module):
    """Pads an image with zeros for a convolution, as `same` does in TensorFlow."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        height, width = (self._zeros(size) for size in x.shape[2:])
        return nn.functional.pad(x, (*width, *height))

    def _zeros(self, size: int) -> tuple[int, int]:
        """Zeros before and after an axis of `size`."""
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2


class SqueezeExcite(nn.Module):
    """Channel gates from the global mean (Hu et al., 2018), a quarter as wide inside (Howard et al., 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = make_divisible(channels // 4)
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (batch, channels, height, width) -> the same shape
        """The re-weighted input."""
        gates = torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))
        return x * nn.functional.hardsigmoid(self.excite(gates))


class InvertedResidual(nn.Module):
    """Inverted residual block. Only a supernet uses `kernel_matrices`; the forward pass of a network does not."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        eps, hidden = shape.norm_eps, shape.hidden
        self.expand = ConvNorm(shape.inputs, hidden, 1, eps) if shape.expands else None
        self.expand_activation = ACTIVATIONS[shape.activation]()
        self.depthwise = ConvNorm(
            hidden, hidden, shape.kernel, eps, stride=shape.stride, groups=hidden, same=shape.same
        )
        self.depthwise_activation = ACTIVATIONS[shape.activation]()
        self.squeeze_excite = SqueezeExcite(hidden) if shape.squeeze_excite else None
        self.project = ConvNorm(hidden, shape.outputs, 1, eps)
        self.shortcut = shape.shortcut
        sizes = pairwise(shape.matrix_sizes)
        matrices = {f"{large}to{small}": nn.Parameter(torch.eye(small * small)) for large, small in sizes}
        self.kernel_matrices = nn.ParameterDict(matrices) if matrices else None

    def forward(self, x: Tensor) -> Tensor:  # (batch, inputs, height, width) -> (batch, outputs, ...)
        """The output of the block, with the input added if there is a shortcut."""
        y: Tensor = x if self.expand is None else self.expand_activation(self.expand(x))
        y = self.depthwise_activation(self.depthwise(y))
        if self.squeeze_excite is not None:
            y = self.squeeze_excite(y)
        y = self.project(y)
        return x + y if self.shortcut else y


def initialise(module: nn.Module) -> None:
    """Fresh weights for one layer: He initialisation (He et al., 2015) for convolutions."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, InvertedResidual) and module.shortcut:
        nn.init.zeros_(module.project.norm.weight)  # a residual block starts as the identity (Goyal et al., 2017)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)  # the classifier, as in Goyal et al., 2017
        nn.init.zeros_(module.bias)
