"""The optimizer of a supernet, its learning rate over the steps, and its state as named tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from factory_base.errors import TrainingError
from supernet.sharing.head import head_name
from supernet.sharing.supernet import Supernet
from supernet.training.config import TrainingConfig

_LAST_LEARNING_RATE = 0.01
"""Learning rate at the end, relative to its peak. It is not 0, so that the last steps still train."""
_SECOND_MOMENT_DECAY = 0.999
"""Decay of AdamW's second moment: the default of PyTorch, from Kingma and Ba, "Adam" (2015)."""
_RATE = "rate"
"""Key of a parameter group: its learning rate relative to that of the head."""


def make_optimizer(supernet: Supernet, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over the parameters of `supernet`. Only parameters with two or more axes have weight decay.

    Raises:
        TrainingError: `config` sets another rate for the head than for the rest, but there is no head.
    """
    groups = [
        {"params": [p for p in part if (p.ndim > 1) == is_weight], "weight_decay": decay, _RATE: rate}
        for part, rate in _parts(supernet, config.backbone_rate)
        for is_weight, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, _SECOND_MOMENT_DECAY))
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)


def _parts(supernet: Supernet, backbone_rate: float) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters and their learning rate, relative to that of the head, whose parameters come first."""
    if backbone_rate == 1:
        return [(list(supernet.parameters()), 1.0)]
    head = head_name(supernet)
    if head is None:
        raise TrainingError(
            "training.backbone_rate below 1 needs a head, a linear layer at the end of the network, and this model "
            "space has none; set it to 1"
        )
    layer = list(supernet.largest.get_submodule(head).parameters())
    in_head = {id(parameter) for parameter in layer}
    return [(layer, 1.0), ([p for p in supernet.parameters() if id(p) not in in_head], backbone_rate)]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the head, and of the other parameters relative to it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[_RATE]


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
