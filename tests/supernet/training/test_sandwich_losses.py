"""What students minimise."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from supernet.data.examples import Targets
from supernet.tasks import Classification
from supernet.tasks.divergence import adaptive_alpha_divergence
from supernet.training.config import TrainingConfig
from supernet.training.sandwich import sandwich_gradients, student_loss

LABELS = torch.tensor([0, 1, 2, 1])
TARGETS = Targets(LABELS)
TASK = Classification(names=("a", "b", "c"))


def logits(seed: int, scale: float = 1.0) -> torch.Tensor:
    return (scale * torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def gradient(loss: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, of)[0]


def divergence_values(alpha: float, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    if alpha == 1:
        return (p * (p / q).log()).sum(1)
    return (q * ((p / q) ** alpha - 1)).sum(1) / (alpha * (alpha - 1))


def test_the_alpha_divergence_has_the_gradient_of_the_larger_of_the_two() -> None:
    student, target = logits(0, 0.3), logits(1, 0.3).detach().softmax(1)
    q = student.softmax(1)
    assert torch.maximum(target / q, q / target).max() < 5  # nothing is clipped
    both = [divergence_values(alpha, target, q) for alpha in (-1.0, 1.0)]
    expected = gradient(torch.maximum(*both).mean(), student)
    assert torch.allclose(gradient(adaptive_alpha_divergence(student, target), student), expected, atol=1e-6)
    assert (both[0] > both[1]).any()


def test_a_student_equal_to_its_teacher_has_no_gradient() -> None:
    student = logits(0)
    for distillation in ("kl", "alpha"):
        config = TrainingConfig(epochs=1, distillation=distillation)
        loss = student_loss(student, student.detach().softmax(1), TARGETS, config, TASK)
        assert gradient(loss, student).abs().max() < 1e-6


def test_a_student_far_from_its_teacher_has_a_bounded_gradient() -> None:
    student = torch.tensor([[30.0, -30.0, 0.0]], requires_grad=True)
    target = torch.tensor([[1e-9, 1.0 - 2e-9, 1e-9]])
    found = gradient(adaptive_alpha_divergence(student, target), student)
    assert torch.isfinite(found).all()
    assert found.abs().max() <= 5


def test_the_labels_have_their_share_of_the_loss() -> None:
    student, target = logits(0), logits(1).detach().softmax(1)
    config = TrainingConfig(epochs=1, hard_label_share=0.5, label_smoothing=0)
    half = student_loss(student, target, TARGETS, config, TASK)
    soft = functional.kl_div(student.log_softmax(1), target, reduction="batchmean")
    assert torch.isclose(half, (soft + functional.cross_entropy(student, LABELS)) / 2)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_the_weight_of_subnets_scales_their_gradient_and_not_that_of_the_largest(weight: float) -> None:
    weights = {name: logits(seed) for seed, name in enumerate(("largest", "student"))}

    def run(weight: float) -> dict[str, torch.Tensor]:
        for value in weights.values():
            value.grad = None
        config = TrainingConfig(epochs=1, subnet_weight=weight)
        sandwich_gradients(weights.__getitem__, torch.Tensor.backward, "largest", ["student"], TARGETS, config, TASK)
        return {name: value.grad for name, value in weights.items()}

    one, other = run(1.0), run(weight)
    assert torch.equal(one["largest"], other["largest"])
    assert torch.allclose(one["student"] * weight, other["student"])
