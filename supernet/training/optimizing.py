"""The optimiser of a supernet, its learning rate over the steps, and its state as named tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from supernet.training.config import TrainingConfig

_LAST_LEARNING_RATE = 0.01
"""The learning rate at the end, relative to its peak."""


def make_optimiser(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over the parameters of `module`; weight decay on those of two and more axes only."""
    weights = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.999))
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """In all parameter groups."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def schedule(step: int, steps: int, warmup: float) -> float:
    """Learning rate at `step` (from 0) relative to its peak: linear up, then half a cosine down to 0.01."""
    share = (step + 1) / steps
    if share < warmup:
        return share / warmup
    cosine = (1 + math.cos(math.pi * (share - warmup) / (1 - warmup))) / 2
    return _LAST_LEARNING_RATE + (1 - _LAST_LEARNING_RATE) * cosine


def optimiser_tensors(module: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of `optimiser`: `<kind>.<parameter>` -> tensor, for example `momentum_buffer.classifier.weight`."""
    return {
        f"{kind}.{name}": value
        for name, parameter in module.named_parameters()
        for kind, value in optimiser.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(module: nn.Module, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimiser_tensors`; forgets every other state."""
    optimiser.state.clear()
    parameters = dict(module.named_parameters())
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        parameter = parameters[name]
        # AdamW counts its steps on the CPU; means have the memory layout of their parameter: sums keep their order
        mine = torch.empty((), dtype=value.dtype) if kind == "step" else torch.empty_like(parameter, dtype=value.dtype)
        optimiser.state[parameter][kind] = mine.copy_(value)
