"""Classification: one of several classes for each example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from supernet.data.types import LabelKind, Labels
from supernet.spaces.config import InputKind
from supernet.tasks.config import ClassificationConfig
from supernet.tasks.task import Distillation, Outputs, Published, weighted_mean

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """One of several classes for each example. See `supernet.tasks.task.Task`.

    >>> import numpy as np
    >>> from supernet.tasks import Classification
    >>> task = Classification(names=("cat", "dog"))
    >>> logits, labels = np.array([[2.0, 1.0], [0.5, 1.5], [3.0, 0.0]]), np.array([0, 1, 1])
    >>> task.predictions(logits), task.scores(logits, labels, "accuracy", labels)
    (array([0, 1, 0]), array([1., 1., 0.]))

    Attributes:
        names: The name of each class.
        name: The name of the task.
        inputs: What the networks take.
        offsets: What the loss adds to the outputs of each class; empty for nothing. With the logarithms of the classes'
            shares the outputs themselves rank classes as if all were equally frequent (Menon et al., "Long-tail
            learning via logit adjustment", 2021).
    """

    names: tuple[str, ...]
    name: str = "classification"
    inputs: InputKind = "images"
    offsets: tuple[float, ...] = ()

    @property
    def labels(self) -> LabelKind:
        """See `Task`."""
        return "class"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The share of right answers, and the mean over the classes of that share."""
        return ClassificationConfig().metrics

    def loss(self, outputs: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """The cross-entropy, a scalar. See `Task`."""
        from torch.nn import functional

        if self.offsets:
            return weighted_mean(self._adjusted(outputs, labels, smoothing), weights)
        if weights is None:
            return functional.cross_entropy(outputs, labels, label_smoothing=smoothing)
        each = functional.cross_entropy(outputs, labels, label_smoothing=smoothing, reduction="none")
        return weighted_mean(each, weights)

    def _adjusted(self, outputs: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """The cross-entropy of each example, (batch,), with the offsets.

        What smoothing spreads evenly over the classes of the outputs is, with the offsets, spread by the shares. Spread
        evenly it would give each rare class more than its share, and the outputs would prefer rare classes.
        """
        from torch.nn import functional

        offsets = outputs.new_tensor(self.offsets)
        logarithms = (outputs + offsets).log_softmax(1)
        spread = -(logarithms * offsets.softmax(0)).sum(1)
        return (1 - smoothing) * functional.nll_loss(logarithms, labels, reduction="none") + smoothing * spread

    def teach(self, outputs: Tensor) -> Tensor:
        """The probabilities of the classes."""
        return outputs.softmax(1)

    def distillation(
        self, outputs: Tensor, target: Tensor, kind: Distillation = "kl", weights: Tensor | None = None
    ) -> Tensor:
        """The divergence that `kind` names. See `Task`."""
        from supernet.tasks.divergence import adaptive_alpha_divergence, kl_divergence

        divergence = kl_divergence if kind == "kl" else adaptive_alpha_divergence
        return divergence(outputs, target, weights)

    def scores(self, outputs: Outputs, labels: Labels, metric: str, population: Labels) -> NDArray[np.float64]:
        """1 for a right answer, else 0; for `balanced_accuracy` times a weight per class. See `Task`."""
        right = np.asarray(outputs.argmax(axis=1) == labels, dtype=np.float64)
        return right if metric == "accuracy" else np.asarray(right * _balance(population)[labels])

    def baseline(self, labels: Labels, metric: str) -> float:
        """What always answering the most frequent class reaches. See `Task`."""
        counts = np.bincount(labels)
        return float(counts.max() / len(labels)) if metric == "accuracy" else float(1 / np.count_nonzero(counts))

    def predictions(self, outputs: Outputs) -> Labels:
        """The class of the largest output, int64 (n,)."""
        return np.asarray(outputs.argmax(axis=1), dtype=np.int64)

    def same(self, a: Outputs, b: Outputs) -> NDArray[np.bool_]:
        """Whether the classes are the same. See `Task`."""
        return np.asarray(a.argmax(axis=1) == b.argmax(axis=1))

    def published(self) -> Published:
        """See `Task`."""
        return Published(kind="classes", names=self.names)


def _balance(population: Labels) -> NDArray[np.float64]:
    """The weight of each class, with which right answers have the mean of the classes' accuracies as their mean."""
    counts = np.bincount(population)
    present = np.count_nonzero(counts)
    weights = np.divide(len(population), counts * present, out=np.zeros(len(counts)), where=counts > 0)
    return np.asarray(weights, dtype=np.float64)
