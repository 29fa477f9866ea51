"""Weights as they are after a file has stored them in fewer bits. All computation remains in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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

    Returns `network`. Vectors, such as biases, stay as they are; for tables of tokens see `round_table_to_int8`.
    """
    table = _table(network)
    for parameter in network.parameters():
        if parameter.dim() > 1 and parameter is not table:
            parameter.copy_(rounded_weight(parameter, 0, multiplied=False))
    return round_table_to_int8(network)


@torch.no_grad()
def round_table_to_int8(network: nn.Module) -> nn.Module:
    """Round the table of tokens of `network`, if it has one, to 8-bit integers with a scale per column, in place.

    Every file with integers stores it so, and looks tokens up before it decodes them. Returns `network`.
    """
    table = _table(network)
    if table is not None:
        table.copy_(rounded_weight(table, 1, multiplied=False))
    return network


def _table(network: nn.Module) -> Tensor | None:
    """The embeddings of tokens: the largest table. Others, of positions, are constants that a file adds."""
    tables = [layer.weight for layer in network.modules() if isinstance(layer, nn.Embedding)]
    return max(tables, key=len, default=None)
