"""Recalibration of batch normalisation, predictions and accuracy of extracted subnets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from factory_base.errors import DataError, SpaceError
from supernet.data.examples import Inputs
from supernet.evaluation.folding import folded

_FEWEST, _MOST = 64, 256
_POSITIONS = 1 << 18

_Norm = nn.modules.batchnorm._BatchNorm


def recalibrate(module: nn.Module, inputs: Inputs) -> nn.Module:
    """Replace the running statistics of every batch normalisation by those of all `inputs`.

    The inputs pass in parts of nearly equal size, in their order, and each layer normalises its input by the statistics
    of the part at hand. What a layer keeps is the mean, per channel, of all values that it saw in all parts, and their
    unbiased variance around that mean: differences between the parts count, and a part counts by its number of values.
    The sums are combined in float64 as in Chan et al., "Algorithms for computing the sample variance" (1983). The parts
    follow from the number and shape of the inputs alone.

    Args:
        module: an extracted subnet. It is changed, and left in evaluation mode. One without batch normalisation is not
            run at all.
        inputs: (n, *shape), made of training examples, not augmented, never of the held-out or test split.

    Returns:
        `module`.

    Raises:
        DataError: fewer than two inputs.
        SpaceError: a layer has running statistics of another kind, or a batch normalisation has none, so that its
            output would depend on the batch.
    """
    layers = batch_norms(module.eval())  # dropout and its like rest
    if not layers:
        return module
    if len(inputs) < 2:
        raise DataError(f"recalibration needs at least 2 training examples, got {len(inputs)}")
    with torch.no_grad():
        with _observed(layers) as totals:
            for part in _parts(module, inputs):
                module(part)
        for layer, total in zip(layers, totals, strict=True):
            total.write_to(layer)
    return module


def logits(module: nn.Module, inputs: Inputs) -> Tensor:
    """What `module`, in evaluation mode, gives `inputs` (n, *shape): float32 (n, classes), on the CPU.

    Where there is more than one part, the later ones pass through a copy whose convolutions have taken over the batch
    normalisations behind them; it computes the same up to rounding.
    """
    found: list[Tensor] = []
    with torch.no_grad():
        for part in _parts(module, inputs):
            if found or len(part) == len(inputs):
                output = module(part)
            else:
                module, output = folded(module, part)
            found.append(output.float().cpu())
    return torch.cat(found)


def predict(module: nn.Module, inputs: Inputs) -> NDArray[np.int64]:
    """Classes (n,) that `module`, in evaluation mode, gives `inputs` (n, *shape)."""
    return logits(module, inputs).argmax(1).numpy()


def accuracy(module: nn.Module, inputs: Inputs, labels: Tensor) -> float:
    """Share of `inputs` (n, *shape) that `module`, in evaluation mode, gives their `labels` (n,), in [0, 1]."""
    return float((predict(module, inputs) == labels.numpy()).mean())


def batch_norms(module: nn.Module) -> list[_Norm]:
    """The batch normalisations in `module`.

    Raises:
        SpaceError: a layer keeps statistics that `recalibrate` cannot set.
    """
    for name, layer in module.named_modules():
        kind = f"layer {name!r} ({type(layer).__name__})"
        has_statistics = getattr(layer, "running_mean", None) is not None
        if isinstance(layer, _Norm) and not has_statistics:
            raise SpaceError(
                f"{kind} keeps no running statistics, so its output depends on the batch; "
                "build it with track_running_stats=True"
            )
        if not isinstance(layer, _Norm) and has_statistics:
            raise SpaceError(
                f"{kind} keeps running statistics, which are recalibrated for batch normalisation only; "
                "build it with track_running_stats=False"
            )
    return [layer for layer in module.modules() if isinstance(layer, _Norm)]


def _parts(module: nn.Module, inputs: Inputs) -> Iterator[Tensor]:
    """`inputs` in parts of nearly equal size, on the device of `module`; large images in smaller parts, for speed."""
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    positions = math.prod(inputs[0:1].shape[2:])
    size = min(_MOST, max(_FEWEST, _POSITIONS // positions))
    edges = np.linspace(0, len(inputs), -(-len(inputs) // size) + 1).round().astype(int).tolist()
    for start, stop in pairwise(edges):
        yield inputs[start:stop].to(device)


@contextmanager
def _observed(layers: Sequence[_Norm]) -> Iterator[list[_Total]]:
    """Within the context `layers` normalise by the statistics of the batch, and the totals add up what they see."""
    totals = [_Total() for _ in layers]
    momenta = [layer.momentum for layer in layers]
    handles = [layer.register_forward_hook(total.add) for layer, total in zip(layers, totals, strict=True)]
    try:
        for layer in layers:
            layer.train()
            layer.momentum = 1.0  # the running statistics become those of the batch
        yield totals
    finally:
        for layer, momentum, handle in zip(layers, momenta, handles, strict=True):
            handle.remove()
            layer.momentum = momentum
            layer.eval()


class _Total:
    """The statistics, per channel, of all values that one layer saw."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0  # sum of the squared differences from the mean

    def add(self, layer: Any, inputs: tuple[Tensor, ...], _: Any) -> None:
        """A hook, called after each pass of `layer`, whose buffers then hold the pass's mean and unbiased variance."""
        count = inputs[0].numel() // layer.num_features
        mean, variance = layer.running_mean.double(), layer.running_var.double()
        shift, whole = mean - self._mean, self._count + count
        self._mean = self._mean + shift * (count / whole)
        self._squares = self._squares + variance * (count - 1) + shift**2 * (self._count * count / whole)
        self._count = whole

    def write_to(self, layer: _Norm) -> None:
        """Make these the running statistics of `layer`; one that saw nothing gets fresh ones."""
        layer.reset_running_stats()
        if self._count:
            layer.running_mean.copy_(self._mean)  # type: ignore[union-attr, arg-type]
            layer.running_var.copy_(self._squares / (self._count - 1))  # type: ignore[union-attr, arg-type]
