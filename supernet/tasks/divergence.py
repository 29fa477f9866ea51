"""How far a student's distribution over classes is from the teacher's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from supernet.tasks.task import weighted_mean

_ALPHAS = (-1.0, 1.0)
_LARGEST_RATIO = 5.0
"""The two alphas, and the limit of t^a: the values of AlphaNet (Wang et al., 2021)."""
_SMALLEST_PROBABILITY = 1e-12
"""Keeps the logarithm of the teacher's probabilities finite; what is smaller has no effect on the loss."""


def kl_divergence(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean over the batch of the Kullback-Leibler divergence from the teacher to the student, a scalar.

    Args:
        logits: Logits of the student, (batch, classes).
        target: Probabilities of the teacher, (batch, classes).
        weights: How much each example counts, (batch,); None if all count alike.
    """
    if weights is None:
        return functional.kl_div(logits.log_softmax(1), target, reduction="batchmean")
    return weighted_mean(functional.kl_div(logits.log_softmax(1), target, reduction="none").sum(1), weights)


def adaptive_alpha_divergence(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """A scalar whose gradient is, for each example, that of the larger of two alpha-divergences.

    Let p be the teacher's distribution, q the student's, and t = p/q. The alpha-divergence is the expectation under q
    of f(t) = t^a / (a (a - 1)), and its gradient is minus the expectation under q of (t^a / a) grad log q (Wang et al.,
    "AlphaNet", 2021, section 4). A negative alpha penalises a student that is too confident, a positive one a student
    that is not confident enough. t^a is clipped at 5, because students far from the teacher would otherwise dominate.

    Arguments as in `kl_divergence`.
    """
    log_q = logits.log_softmax(1)
    log_ratio = (target.clamp_min(_SMALLEST_PROBABILITY).log() - log_q).detach()
    q = log_q.detach().exp()
    values, gradients = zip(*(_alpha_terms(alpha, log_ratio, q, log_q) for alpha in _ALPHAS), strict=True)
    return weighted_mean(torch.where(values[0] > values[1], gradients[0], gradients[1]), weights)


def _alpha_terms(alpha: float, log_ratio: Tensor, q: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """For each example the divergence, and a term that has its gradient: two tensors (batch,)."""
    power = (alpha * log_ratio).exp().clamp_max(_LARGEST_RATIO)
    value = power * log_ratio if alpha == 1 else power / (alpha * (alpha - 1))
    constant = 0.0 if alpha == 1 else 1 / (alpha * (alpha - 1))  # f(1), so that equal distributions have divergence 0
    return (q * (value - constant)).sum(1), -(q * power / alpha * log_q).sum(1)
