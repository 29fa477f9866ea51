"""Recalibration of batch normalisation, and predictions and accuracy of extracted subnets."""

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
"""Inputs run in parts of 256 up to an image size of 32x32 (2^18 pixels in a part), and of 64 from 64x64 on. Smaller
parts keep activations in the processor's cache, larger ones keep the overhead per call small."""

_Norm = nn.modules.batchnorm._BatchNorm


def recalibrate(module: nn.Module, inputs: Inputs) -> nn.Module:
    """Replace the running statistics of every batch normalisation by those of all `inputs`.

    The inputs pass in order, in parts of nearly equal size, and each layer normalises with the statistics of the
    current part. A layer keeps the mean, per channel, of all values that it saw in all parts, and their unbiased
    variance around that mean. So differences between parts count, and each part counts by its number of values. The
    sums are combined in float64 as in Chan et al., "Algorithms for computing the sample variance" (1983). How the
    inputs are divided depends only on their number and shape.

    >>> from pathlib import Path
    >>> from supernet import DataConfig, ExampleInputs, ImageExamples, MobileNetConfig, Normalisation, StageConfig
    >>> from supernet import Supernet, load_splits, make_model_space, predict, recalibrate
    >>> splits = load_splits(DataConfig(source="digits", image_size=8), Path(), seed=0)
    >>> train = ImageExamples.of(splits.train, Normalisation(mean=splits.mean, std=splits.std))
    >>> stages = (StageConfig(widths=(8, 16), depths=(1, 2)),)
    >>> config = MobileNetConfig(resolutions=(8,), stem_width=8, stages=stages, head_width=32)
    >>> supernet = Supernet(make_model_space(config, classes=10))
    >>> subnet = supernet.model_space.space.smallest
    >>> inputs = ExampleInputs(train, supernet.model_space.input_shape(subnet))
    >>> network = recalibrate(supernet.extract(subnet), inputs)
    >>> predict(network, inputs).shape
    (1295,)

    Args:
        module: An extracted subnet. It is changed, and left in evaluation mode. It is not run at all if it has no batch
            normalisation.
        inputs: Inputs (n, *shape) made of training examples without augmentation, never of the held-out or test split.

    Returns:
        `module`.

    Raises:
        DataError: There are fewer than two inputs.
        SpaceError: A layer has running statistics of another kind, or a batch normalisation has none, so that its
            output would depend on the batch.
    """
    layers = batch_norms(module.eval())  # evaluation mode turns dropout off
    if not layers:
        return module
    if len(inputs) < 2:
        raise DataError(f"recalibration needs at least 2 training examples, got {len(inputs)}")
    with torch.no_grad():
        with _observed(layers) as totals:
            for part in parts(module, inputs):
                module(part)
        for layer, total in zip(layers, totals, strict=True):
            total.write_to(layer)
    return module


@torch.no_grad()
def received_statistics(module: nn.Module, inputs: Inputs) -> dict[str, tuple[Tensor, Tensor]]:
    """What each batch normalisation of `module`, in evaluation mode, receives for `inputs` (n, *shape).

    Unlike in `recalibrate`, all layers normalise with the statistics that they have, and keep them.

    Returns:
        By name of the layer, mean and unbiased variance per channel: float64 (channels,) each.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _Norm)}
    totals = {name: _Total() for name in layers}
    handles = [layer.register_forward_pre_hook(totals[name].receive) for name, layer in layers.items()]
    try:
        for part in parts(module, inputs):
            module(part)
    finally:
        for handle in handles:
            handle.remove()
    return {name: total.values() for name, total in totals.items() if total.has_values}


def logits(module: nn.Module, inputs: Inputs) -> Tensor:
    """The output of `module`, in evaluation mode, for `inputs` (n, *shape): float32 (n, classes), on the CPU.

    If the inputs are more than one part, all parts except the first pass through a copy of `module` whose batch
    normalisations are folded into the convolutions. It computes the same up to rounding.
    """
    found: list[Tensor] = []
    with torch.no_grad():
        for part in parts(module, inputs):
            if found or len(part) == len(inputs):
                output = module(part)
            else:
                module, output = folded(module, part)
            found.append(output.float().cpu())
    return torch.cat(found)


def predict(module: nn.Module, inputs: Inputs) -> NDArray[np.int64]:
    """The classes that `module`, in evaluation mode, predicts for `inputs` (n, *shape): int64 (n,)."""
    return logits(module, inputs).argmax(1).numpy()


def correct(module: nn.Module, inputs: Inputs, labels: Tensor) -> NDArray[np.bool_]:
    """Whether `module`, in evaluation mode, predicts the label of each of `inputs` (n, *shape); `labels` are (n,)."""
    return np.asarray(predict(module, inputs) == labels.numpy())


def accuracy(module: nn.Module, inputs: Inputs, labels: Tensor) -> float:
    """Share of `inputs` (n, *shape) for which `module`, in evaluation mode, predicts their `labels` (n,), in [0, 1]."""
    return float(correct(module, inputs, labels).mean())


def batch_norms(module: nn.Module) -> list[_Norm]:
    """The batch normalisations in `module`.

    Raises:
        SpaceError: A layer keeps running statistics but is not a batch normalisation, or is one and keeps none.
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
                f"{kind} keeps running statistics, which can be recalibrated for batch normalisation only; "
                "build it with track_running_stats=False"
            )
    return [layer for layer in module.modules() if isinstance(layer, _Norm)]


def parts(module: nn.Module, inputs: Inputs) -> Iterator[Tensor]:
    """`inputs` in parts of nearly equal size, on the device of `module`."""
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    positions = math.prod(inputs[0:1].shape[2:])
    size = min(_MOST, max(_FEWEST, _POSITIONS // positions))
    edges = np.linspace(0, len(inputs), -(-len(inputs) // size) + 1).round().astype(int).tolist()
    for start, stop in pairwise(edges):
        yield inputs[start:stop].to(device)


@contextmanager
def _observed(layers: Sequence[_Norm]) -> Iterator[list[_Total]]:
    """Within the context, `layers` normalise with the statistics of the batch, and the totals accumulate them."""
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
    """The statistics, per channel, of all values that one layer has seen."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0  # sum of the squared differences from the mean

    def add(self, layer: Any, inputs: tuple[Tensor, ...], _: Any) -> None:
        """A forward hook. The buffers of `layer` then hold the mean and the unbiased variance of the current part."""
        count = inputs[0].numel() // layer.num_features
        self.update(count, layer.running_mean, layer.running_var)

    def receive(self, layer: Any, inputs: tuple[Tensor, ...]) -> None:
        """A forward pre-hook: add the values that `layer` receives."""
        x = inputs[0]
        variance, mean = torch.var_mean(x, [axis for axis in range(x.dim()) if axis != 1])
        self.update(x.numel() // layer.num_features, mean, variance)

    def update(self, count: int, mean: Tensor, variance: Tensor) -> None:
        """Add `count` values with this mean and unbiased variance, per channel."""
        mean, variance = mean.double(), variance.double()
        shift, whole = mean - self._mean, self._count + count
        self._mean = self._mean + shift * (count / whole)
        self._squares = self._squares + variance * (count - 1) + shift**2 * (self._count * count / whole)
        self._count = whole

    def write_to(self, layer: _Norm) -> None:
        """Make these the running statistics of `layer`. A layer that has seen nothing gets fresh statistics."""
        layer.reset_running_stats()
        if self.has_values:
            mean, variance = self.values()
            layer.running_mean.copy_(mean)  # type: ignore[union-attr]
            layer.running_var.copy_(variance)  # type: ignore[union-attr]

    @property
    def has_values(self) -> bool:
        """Whether the layer has seen anything."""
        return self._count > 0

    def values(self) -> tuple[Tensor, Tensor]:
        """Mean and unbiased variance per channel, float64 (channels,) each."""
        return self._mean, self._squares / (self._count - 1)  # type: ignore[return-value]
