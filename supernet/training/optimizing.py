"""The optimizer of a supernet, its learning rate over the steps, and its state as named tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from supernet.training.config import TrainingConfig

_LAST_LEARNING_RATE = 0.01
"""Learning rate at the end, relative to its peak. It is not 0, so that the last steps still train."""
_SECOND_MOMENT_DECAY = 0.999
"""Decay of AdamW's second moment: the default of PyTorch, from Kingma and Ba, "Adam" (2015)."""


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over the parameters of `module`. Only parameters with two or more axes have weight decay."""
    weights = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, _SECOND_MOMENT_DECAY))
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def schedule(step: int, steps: int, warmup: float) -> float:
    """Learning rate at `step`, counted from 0, relative to its peak: a linear rise, then half a cosine down to 0.01.

    Args:
        step: The step.
        steps: Number of steps of the whole run.
        warmup: Share of the steps in which the rate rises, in [0, 1).
    """
    share = (step + 1) / steps
    if share < warmup:
        return share / warmup
    cosine = (1 + math.cos(math.pi * (share - warmup) / (1 - warmup))) / 2
    return _LAST_LEARNING_RATE + (1 - _LAST_LEARNING_RATE) * cosine


def state_kinds(config: TrainingConfig, parameter: Tensor) -> dict[str, Tensor]:
    """What the optimizer of `config` keeps for a parameter, by kind: tensors of the right shape and type."""
    if config.optimizer == "sgd":
        return {"momentum_buffer": parameter}
    return {"step": torch.empty(()), "exp_avg": parameter, "exp_avg_sq": parameter}


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of `optimizer`: `<kind>.<parameter>` -> tensor, for example `momentum_buffer.classifier.weight`."""
    return {
        f"{kind}.{name}": value
        for name, parameter in module.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Replace the state of `optimizer` by what `optimizer_tensors` returned."""
    optimizer.state.clear()
    parameters = dict(module.named_parameters())
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        parameter = parameters[name]
        # AdamW counts its steps on the CPU. Moments get the memory format of their parameter, so that the order of sums
        # stays the same.
        mine = torch.empty((), dtype=value.dtype) if kind == "step" else torch.empty_like(parameter, dtype=value.dtype)
        optimizer.state[parameter][kind] = mine.copy_(value)
