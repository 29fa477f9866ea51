"""Weights as they are after a file has stored them in fewer bits. All computation remains in float32."""

from __future__ import annotations

import torch
from torch import nn

from supernet.quantisation.arithmetic import rounded_weight


@torch.no_grad()
def round_to_float16(network: nn.Module) -> nn.Module:
    """Round every parameter of `network` to float16, in place; returns `network`."""
    for parameter in network.parameters():
        parameter.copy_(parameter.half())
    return network


@torch.no_grad()
def round_to_int8(network: nn.Module) -> nn.Module:
    """Round every matrix or kernel of `network` to 8-bit integers with a scale per output channel, in place.

    Returns `network`. Vectors, such as biases, stay as they are.
    """
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.copy_(rounded_weight(parameter, 0, multiplied=False))
    return network
