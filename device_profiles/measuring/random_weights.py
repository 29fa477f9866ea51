"""Random weights with which a network can be converted in any precision. Imports torch."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def keep_units_alive(modules: Iterable[nn.Module]) -> None:
    """Set the biases of convolutions and linear layers, and the scales of batch normalisations, to 1, in place.

    An output that is 0 for every input has no range and cannot be quantised. A new network has such outputs where a
    residual block starts as the identity, with a scale of 0, and where all channels of a narrow layer are below its
    ReLU. Latencies do not depend on these values.
    """
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, _BatchNorm) and layer.weight is not None:
                nn.init.ones_(layer.weight)
            if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
                nn.init.ones_(layer.bias)
