"""Batch-normalisation recalibration and accuracy of extracted subnets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from supernet.examples import Inputs

_BATCH = 250


def recalibrate(module: nn.Module, inputs: Inputs) -> nn.Module:
    """Replace the running statistics of every batch normalisation by the mean over equal parts of `inputs`.

    Args:
        module: an extracted subnet. It is changed, and left in evaluation mode.
        inputs: (n, *shape), made of training examples, not augmented, never of the held-out or test split.

    Returns:
        `module`.
    """
    layers = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative mean
    module.eval()  # dropout and its like rest
    for layer in layers:
        layer.train()
    edges = np.linspace(0, len(inputs), -(-len(inputs) // _BATCH) + 1).round().astype(int).tolist()
    with torch.no_grad():
        for start, stop in pairwise(edges):  # equal parts, or the mean is skewed
            module(inputs[start:stop])
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return module.eval()


def predict(module: nn.Module, inputs: Inputs) -> NDArray[np.int64]:
    """Classes (n,) that `module`, in evaluation mode, gives `inputs` (n, *shape)."""
    with torch.no_grad():
        parts = [module(inputs[i : i + _BATCH]).argmax(1) for i in range(0, len(inputs), _BATCH)]
    return torch.cat(parts).cpu().numpy()


def accuracy(module: nn.Module, inputs: Inputs, labels: Tensor) -> float:
    """Share of `inputs` (n, *shape) that `module`, in evaluation mode, gives their `labels` (n,), in [0, 1]."""
    return float((predict(module, inputs) == labels.numpy()).mean())
