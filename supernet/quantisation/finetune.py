"""Quantisation-aware fine-tuning: a network is trained a little further while it computes as its int8 file does.

Gradients pass through the roundings as if there were none (Jacob et al., "Quantization and training of neural networks
for efficient integer-arithmetic-only inference", 2018; Krishnamoorthi, "Quantizing deep convolutional networks for
efficient inference", 2018). Batch normalisation is folded with the statistics of the calibrated network, as in its
file, and the ranges of activations stay what they were.

The result is an ordinary float32 network, which is recalibrated, folded and quantised like any other. Its weights have
moved, and recalibration would undo what the fixed statistics mean for them. So its scales and shifts are set to what
makes the recalibrated network compute what the trained one computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supernet.data.examples import Inputs
from supernet.evaluation.evaluation import parts, received_statistics
from supernet.evaluation.folding import folded_pairs
from supernet.quantisation.fake import FakeQuantised, calibrate_ranges
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.training.finetune import copy_weights, separated


class QuantisedSupernet(Supernet):
    """A supernet of one subnet that computes what the int8 file of the subnet computes. `train` trains it.

    It stays in evaluation mode: dropout would widen the ranges of activations.

    Args:
        alone: A supernet of one subnet, from `separated`; its weights are copied.
        calibrated: Its subnet, extracted and recalibrated.
        inputs: Inputs (n, *shape) made of training examples without augmentation, for `calibrate_ranges`.

    Raises:
        SpaceError, DataError: As `calibrate_ranges` raises them.
    """

    def __init__(self, alone: Supernet, calibrated: nn.Module, inputs: Inputs) -> None:
        super().__init__(alone.model_space)
        copy_weights(calibrated, self)
        self._frozen = (_Frozen(calibrated, inputs),)  # in a tuple, because its parameters are not to be trained
        self.train(False)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - the signature of all modules
        """See `nn.Module`."""
        return super().train(False)

    def forward(self, x: Tensor, subnet: SubnetConfig) -> Tensor:  # noqa: ARG002 - there is only one subnet
        """The output of the int8 file for a batch. Gradients reach the weights."""
        return self._frozen[0].output(dict(self.largest.named_parameters()), x)

    def finished(self, inputs: Inputs) -> Supernet:
        """A supernet of the same subnet, with weights of its own that recalibration on `inputs` does not undo."""
        network = self.with_fixed_statistics()
        _absorb(network, received_statistics(network, inputs))
        alone = separated(self, self.model_space.space.largest)
        copy_weights(network, alone)
        return alone

    def with_fixed_statistics(self) -> nn.Module:
        """The float32 network, in evaluation mode, that is trained: it has the statistics of the calibrated network."""
        return self._frozen[0].with_statistics(self.extract(self.model_space.space.largest))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Supernet:
        self._frozen[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)


class _Frozen(nn.Module):
    """The structure, the ranges and the statistics of a calibrated network, for weights that are arguments."""

    def __init__(self, calibrated: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        with torch.no_grad():
            network, _, self._pairs = folded_pairs(calibrated, next(parts(calibrated, inputs)))
        self.quantised = FakeQuantised(network, calibrate_ranges(network, inputs))
        self.calibrated = calibrated

    def output(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """The output for a batch with these weights of the network that was not folded."""
        given = {name: weights[name] for name, _ in self.quantised.network.named_parameters() if name in weights}
        for norm, conv in self._pairs.items():
            folded = self._folded(weights, norm, conv)
            given |= {f"{conv}.weight": folded[0], f"{conv}.bias": folded[1]}
        given = {f"network.{name}": value for name, value in given.items()}
        return functional_call(self.quantised, given, (x,))  # type: ignore[no-any-return]

    def with_statistics(self, network: nn.Module) -> nn.Module:
        """`network` in evaluation mode with the statistics of the calibrated network."""
        known = dict(self.calibrated.named_buffers())
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(known[name])
        return network.eval()

    def _folded(self, weights: Mapping[str, Tensor], norm: str, conv: str) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution with its normalisation folded into it. See `fuse_conv_bn_weights`."""
        layer: Any = self.calibrated.get_submodule(norm)
        scale = torch.rsqrt(layer.running_var + layer.eps)
        if layer.affine:
            scale = scale * weights[f"{norm}.weight"]
        kernel = weights[f"{conv}.weight"]
        bias = scale * (weights.get(f"{conv}.bias", 0.0) - layer.running_mean)
        if layer.affine:
            bias = bias + weights[f"{norm}.bias"]
        return kernel * scale.reshape(-1, *[1] * (kernel.dim() - 1)), bias


@torch.no_grad()
def _absorb(network: nn.Module, received: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Let `network` compute what it computes now once it has the statistics in `received`.

    A normalisation without scale and shift keeps the difference.
    """
    for name, (mean, variance) in received.items():
        layer: Any = network.get_submodule(name)
        if not layer.affine:
            continue
        before = layer.weight * torch.rsqrt(layer.running_var + layer.eps)
        layer.bias += before * (mean - layer.running_mean)
        layer.weight.copy_(before * torch.sqrt(variance + layer.eps))
