"""The protocol of a task: everything that depends on what the networks learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from supernet.data.types import LabelKind, Labels
from supernet.spaces.config import InputKind

if TYPE_CHECKING:
    from torch import Tensor

Distillation = Literal["kl", "alpha"]
"""How students are compared with the teacher; see `supernet.training.config.TrainingConfig.distillation`."""

Outputs = NDArray[np.floating[Any]]
"""What a network returns for examples, `(n, outputs)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """How an app reads the outputs of a model.

    Attributes:
        kind: `classes`: the softmax of the outputs are probabilities, and the largest one is the answer. `labels`: the
            sigmoid of each output is the probability of a label of its own. `values`: each output is a number.
        names: The name of each output.
        thresholds: For `labels`, the probability from which on each one is among the answers.
        scale: For `values`, the factor of each output; an answer is output * scale + offset, in the unit of the labels.
        offset: For `values`, what is added.
    """

    kind: Literal["classes", "labels", "values"]
    names: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None


class Task(Protocol):
    """What the networks learn. A task is a frozen value, made from the config and the labels of the training split.

    Metrics are means over examples of a score, and 1 is the best that can be reached. So subnets can be compared
    example by example, and on the first examples before the others.
    """

    @property
    def name(self) -> str:
        """A key of `supernet.tasks.TASKS`."""

    @property
    def labels(self) -> LabelKind:
        """The kind of labels."""

    @property
    def inputs(self) -> InputKind:
        """The inputs of the networks."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each output."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that can steer the search; the first one is the usual one."""

    def loss(self, outputs: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """The loss of the largest network: the mean over the batch of its negative log-likelihood, a scalar in nats.

        Args:
            outputs: What the network returns, float32 (batch, outputs).
            labels: The labels of the batch, of the kind `labels`.
            weights: How much each example counts, (batch,); None if all count alike.
            smoothing: The share of the labels, in [0, 1), that is replaced by an even distribution.
        """

    def teach(self, outputs: Tensor) -> Tensor:
        """What students learn from the teacher's `outputs` (batch, outputs): probabilities, or the outputs."""

    def distillation(
        self, outputs: Tensor, target: Tensor, kind: Distillation = "kl", weights: Tensor | None = None
    ) -> Tensor:
        """The mean over the batch of a student's distance from the `target` of the teacher, a scalar in nats."""

    def scores(self, outputs: Outputs, labels: Labels, metric: str, population: Labels) -> NDArray[np.float64]:
        """The score of each example, (n,), whose mean over the `population` is the metric.

        Args:
            outputs: What a network returns, (n, outputs).
            labels: The labels of these examples.
            metric: One of `metrics`.
            population: The labels of all examples of the split, which some metrics weight by.
        """

    def baseline(self, labels: Labels, metric: str) -> float:
        """What the best constant answer reaches in `metric` on examples with these labels."""

    def predictions(self, outputs: Outputs) -> Labels:
        """The answers, as labels: int64 (n,), uint8 (n, outputs), or float32 (n, outputs) in the unit of the labels."""

    def same(self, a: Outputs, b: Outputs) -> NDArray[np.bool_]:
        """Whether two networks give the same answer to each example, (n,)."""

    def published(self) -> Published:
        """How an app reads the outputs."""


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of `losses` (batch,), each times its weight. Weights have the mean 1 over all training examples."""
    return losses.mean() if weights is None else (losses * weights).mean()
