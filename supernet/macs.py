"""Multiply-accumulates of a subnet, counted by PyTorch without computing anything."""

from __future__ import annotations

import torch

from supernet.model_space import ModelSpace
from supernet.space import SubnetConfig


def count_macs(model_space: ModelSpace, subnet: SubnetConfig) -> int:
    """Multiply-accumulates of one input, as `torch.utils.flop_counter` counts them (1 MAC is 2 of its FLOPs).

    Convolutions, matrix products and attention count, element-wise work does not.
    """
    from torch.utils.flop_counter import FlopCounterMode

    shape = model_space.input_shape(subnet)
    dtype = torch.float32 if len(shape) > 1 else torch.int64  # one axis: tokens
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
        module = model_space.build(subnet).eval()
        with FlopCounterMode(display=False) as counter:
            module(torch.zeros(1, *shape, dtype=dtype))
    return int(counter.get_total_flops()) // 2
