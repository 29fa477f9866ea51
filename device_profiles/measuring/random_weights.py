"""Random weights with which a network can be converted in any precision. Imports torch."""

from __future__ import annotations

from torch import nn


def keep_units_alive(modules: list[nn.Module]) -> None:
    """Set the biases of convolutions and linear layers to 1, in place.

    With the weights that PyTorch draws, all channels of a narrow layer are at times below zero for every input, so that
    its ReLU returns only zeros: such an output has no range and cannot be quantised. Latencies do not depend on it.
    """
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
                nn.init.ones_(layer.bias)
