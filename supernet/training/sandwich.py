"""One step of the sandwich rule with in-place distillation: the gradients of the largest network and of its students.

Yu et al., "BigNAS" (2020): the largest network learns the labels, every other one learns the outputs of the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from supernet.space import SubnetConfig
from supernet.training.config import TrainingConfig

Forward = Callable[[SubnetConfig], Tensor]
"""The float32 logits (batch, classes) of one subnet for the batch at hand; autograd flows into the shared weights."""

Backward = Callable[[Tensor], None]
"""Adds the gradients of a loss (a scalar) to those of the shared weights."""

_ALPHAS = (-1.0, 1.0)
_LARGEST_RATIO = 5.0


def sandwich_gradients(
    forward: Forward,
    backward: Backward,
    largest: SubnetConfig,
    students: Sequence[SubnetConfig],
    labels: Tensor,
    config: TrainingConfig,
    teacher: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Add the gradients of the largest network and of `students`, one after the other, so that memory holds one graph.

    Args:
        forward: computes logits.
        backward: adds gradients.
        largest: learns the labels.
        students: learn the teacher's outputs. Repeats are allowed.
        labels: int64 (batch,).
        config: the losses.
        teacher: gives the teacher's logits (batch, classes); by default those of the largest network.

    Returns:
        The loss of the largest network, a scalar without a graph.
    """
    logits = forward(largest)
    loss = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    backward(loss)
    if students:
        target = (logits.detach() if teacher is None else teacher()).softmax(1)
        for student in students:
            backward(config.subnet_weight * student_loss(forward(student), target, labels, config))
    return loss.detach()


def student_loss(logits: Tensor, target: Tensor, labels: Tensor, config: TrainingConfig) -> Tensor:
    """What a student minimises, a scalar.

    Args:
        logits: of the student, (batch, classes).
        target: the teacher's probabilities, (batch, classes).
        labels: int64 (batch,).
        config: which divergence, and the share of the labels.
    """
    loss = divergence(logits, target, config)
    if config.hard_label_share:
        hard = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        loss = (1 - config.hard_label_share) * loss + config.hard_label_share * hard
    return loss


def divergence(logits: Tensor, target: Tensor, config: TrainingConfig) -> Tensor:
    """The mean divergence of the student's distribution from the teacher's, as `config.distillation` says."""
    if config.distillation == "kl":
        return functional.kl_div(logits.log_softmax(1), target, reduction="batchmean")
    return adaptive_alpha_divergence(logits, target)


def adaptive_alpha_divergence(logits: Tensor, target: Tensor) -> Tensor:
    """A scalar whose gradient is that of the larger of two alpha-divergences, example by example.

    With p the teacher and q the student, the alpha-divergence is the mean over q of f(p/q), f(t) = t^a / (a (a - 1)),
    and its gradient is minus the mean over q of (t^a / a) grad log q (Wang et al., "AlphaNet", 2021, section 4). A
    negative alpha punishes a student that is too sure, a positive one a student that is not sure enough. t^a is clipped
    at 5, since far-off students would otherwise drown all others.
    """
    log_q = logits.log_softmax(1)
    log_ratio = (target.clamp_min(1e-12).log() - log_q).detach()
    q = log_q.detach().exp()
    values, gradients = zip(*(_alpha_terms(alpha, log_ratio, q, log_q) for alpha in _ALPHAS), strict=True)
    return torch.where(values[0] > values[1], gradients[0], gradients[1]).mean()


def _alpha_terms(alpha: float, log_ratio: Tensor, q: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """Per example: the divergence, and a term that has its gradient; both (batch,)."""
    power = (alpha * log_ratio).exp().clamp_max(_LARGEST_RATIO)
    value = power * log_ratio if alpha == 1 else power / (alpha * (alpha - 1))
    constant = 0.0 if alpha == 1 else 1 / (alpha * (alpha - 1))  # f(1), so that equal distributions are at 0
    return (q * (value - constant)).sum(1), -(q * power / alpha * log_q).sum(1)
