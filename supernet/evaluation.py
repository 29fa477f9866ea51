"""Batch-normalisation recalibration and accuracy of extracted subnets."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from supernet.images import Normalisation, to_input

_BATCH = 250


def recalibrate(module: nn.Module, images: Tensor, resolution: int, normalisation: Normalisation) -> nn.Module:
    """Replace the running statistics of every batch normalisation by the mean over batches of `images`.

    Args:
        module: an extracted subnet. It is changed, and left in evaluation mode.
        images: uint8 training images (n, 3, size, size), not augmented, never from the held-out or test split.
        resolution: of the subnet, in pixels.
        normalisation: of the data set.

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
    with torch.no_grad():
        for batch in torch.tensor_split(images, math.ceil(len(images) / _BATCH)):  # equal parts, or the mean is skewed
            module(to_input(batch, resolution, normalisation))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return module.eval()


def predict(module: nn.Module, images: Tensor, resolution: int, normalisation: Normalisation) -> NDArray[np.int64]:
    """Classes (n,) that `module`, in evaluation mode, gives uint8 images (n, 3, size, size)."""
    with torch.no_grad():
        parts = [module(to_input(batch, resolution, normalisation)).argmax(1) for batch in torch.split(images, _BATCH)]
    return torch.cat(parts).numpy()


def accuracy(module: nn.Module, images: Tensor, labels: Tensor, resolution: int, normalisation: Normalisation) -> float:
    """Share of `images` (n, 3, size, size) that `module`, in evaluation mode, labels right, in [0, 1]."""
    return float((predict(module, images, resolution, normalisation) == labels.numpy()).mean())
