"""One step of the sandwich rule with in-place distillation: the gradients of the largest network and of its students.

Source: Yu et al., "BigNAS" (2020). The largest network learns the labels, all others learn the outputs of the largest.
What the losses are is up to the task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from supernet.data.examples import Targets
from supernet.space import SubnetConfig
from supernet.tasks.task import Task
from supernet.training.config import TrainingConfig

Forward = Callable[[SubnetConfig], Tensor]
"""Returns the float32 outputs (batch, outputs) of a subnet for the batch; gradients reach the shared weights."""

Backward = Callable[[Tensor], None]
"""Adds the gradients of a loss, a scalar, to those of the shared weights."""


def sandwich_gradients(
    forward: Forward,
    backward: Backward,
    largest: SubnetConfig,
    students: Sequence[SubnetConfig],
    targets: Targets,
    config: TrainingConfig,
    task: Task,
    teacher: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Add the gradients of the largest network and of `students`.

    The networks run one after the other, so that memory holds one graph at a time.

    Args:
        forward: Computes the outputs of a subnet.
        backward: Adds the gradients of a loss.
        largest: The subnet that learns the labels.
        students: The subnets that learn the teacher's outputs. Repeats are allowed.
        targets: What the batch is to teach.
        config: The shares of the losses.
        task: The losses.
        teacher: Returns the teacher's outputs, (batch, outputs); by default those of the largest network are used.

    Returns:
        The loss of the largest network, a scalar outside the autograd graph.
    """
    outputs = forward(largest)
    loss = task.loss(outputs, targets.labels, targets.weights, config.label_smoothing)
    backward(loss)
    if students:
        taught = task.teach(outputs.detach() if teacher is None else teacher())
        for student in students:
            backward(config.subnet_weight * student_loss(forward(student), taught, targets, config, task))
    return loss.detach()


def student_loss(outputs: Tensor, taught: Tensor, targets: Targets, config: TrainingConfig, task: Task) -> Tensor:
    """The loss that a student minimises, a scalar.

    Args:
        outputs: Outputs of the student, (batch, outputs).
        taught: What it learns from the teacher, as `Task.teach` returns it.
        targets: What the batch is to teach.
        config: Which distance to use, and the share of the labels in the loss.
        task: The losses.
    """
    loss = task.distillation(outputs, taught, config.distillation, targets.weights)
    if config.hard_label_share:
        hard = task.loss(outputs, targets.labels, targets.weights, config.label_smoothing)
        loss = (1 - config.hard_label_share) * loss + config.hard_label_share * hard
    return loss
