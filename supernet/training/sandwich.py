"""One step of the sandwich rule with in-place distillation: the gradients of the largest network and of its students.

Source: Yu et al., "BigNAS" (2020). The largest network learns the labels, all others learn the outputs of the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from supernet.space import SubnetConfig
from supernet.training.config import TrainingConfig

Forward = Callable[[SubnetConfig], Tensor]
"""Returns the float32 logits (batch, classes) of a subnet for the current batch; gradients reach the shared weights."""

Backward = Callable[[Tensor], None]
"""Adds the gradients of a loss, a scalar, to those of the shared weights."""

_ALPHAS = (-1.0, 1.0)
_LARGEST_RATIO = 5.0
"""The two alphas, and the limit of t^a: the values of AlphaNet (Wang et al., 2021)."""
_SMALLEST_PROBABILITY = 1e-12
"""Keeps the logarithm of the teacher's probabilities finite; what is smaller has no effect on the loss."""


def sandwich_gradients(
    forward: Forward,
    backward: Backward,
    largest: SubnetConfig,
    students: Sequence[SubnetConfig],
    labels: Tensor,
    config: TrainingConfig,
    teacher: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Add the gradients of the largest network and of `students`.

    The networks run one after the other, so that memory holds one graph at a time.

    Args:
        forward: Computes the logits of a subnet.
        backward: Adds the gradients of a loss.
        largest: The subnet that learns the labels.
        students: The subnets that learn the teacher's outputs. Repeats are allowed.
        labels: The labels, int64 (batch,).
        config: Which losses to use.
        teacher: Returns the teacher's logits, (batch, classes); by default those of the largest network are used.

    Returns:
        The loss of the largest network, a scalar outside the autograd graph.
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
    """The loss that a student minimises, a scalar.

    Args:
        logits: Logits of the student, (batch, classes).
        target: Probabilities of the teacher, (batch, classes).
        labels: The labels, int64 (batch,).
        config: Which divergence to use, and the share of the labels in the loss.
    """
    loss = divergence(logits, target, config)
    if config.hard_label_share:
        hard = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        loss = (1 - config.hard_label_share) * loss + config.hard_label_share * hard
    return loss


def divergence(logits: Tensor, target: Tensor, config: TrainingConfig) -> Tensor:
    """The mean over the batch of the divergence that `config.distillation` names, from the teacher to the student."""
    if config.distillation == "kl":
        return functional.kl_div(logits.log_softmax(1), target, reduction="batchmean")
    return adaptive_alpha_divergence(logits, target)


def adaptive_alpha_divergence(logits: Tensor, target: Tensor) -> Tensor:
    """A scalar whose gradient is, for each example, that of the larger of two alpha-divergences.

    Let p be the teacher's distribution, q the student's, and t = p/q. The alpha-divergence is the expectation under q
    of f(t) = t^a / (a (a - 1)), and its gradient is minus the expectation under q of (t^a / a) grad log q (Wang et al.,
    "AlphaNet", 2021, section 4). A negative alpha penalises a student that is too confident, a positive one a student
    that is not confident enough. t^a is clipped at 5, because students far from the teacher would otherwise dominate.
    """
    log_q = logits.log_softmax(1)
    log_ratio = (target.clamp_min(_SMALLEST_PROBABILITY).log() - log_q).detach()
    q = log_q.detach().exp()
    values, gradients = zip(*(_alpha_terms(alpha, log_ratio, q, log_q) for alpha in _ALPHAS), strict=True)
    return torch.where(values[0] > values[1], gradients[0], gradients[1]).mean()


def _alpha_terms(alpha: float, log_ratio: Tensor, q: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """For each example the divergence, and a term that has its gradient: two tensors (batch,)."""
    power = (alpha * log_ratio).exp().clamp_max(_LARGEST_RATIO)
    value = power * log_ratio if alpha == 1 else power / (alpha * (alpha - 1))
    constant = 0.0 if alpha == 1 else 1 / (alpha * (alpha - 1))  # f(1), so that equal distributions have divergence 0
    return (q * (value - constant)).sum(1), -(q * power / alpha * log_q).sum(1)
