"""Multilabel classification: any number of classes for each example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from supernet.data.types import LabelKind, Labels
from supernet.spaces.config import InputKind
from supernet.tasks.config import MultilabelConfig
from supernet.tasks.task import Distillation, Outputs, Published, weighted_mean

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Multilabel:
    """Any number of classes for each example. See `supernet.tasks.task.Task`.

    The output of a class is the logit of its probability, whatever the other classes are.

    >>> import numpy as np
    >>> from supernet.tasks import Multilabel
    >>> task = Multilabel(names=("sea", "sky", "sun"))
    >>> logits, labels = np.array([[1.0, 2.0, -3.0]]), np.array([[1, 0, 0]], dtype=np.uint8)
    >>> task.predictions(logits), task.scores(logits, labels, "f1", labels).round(2)
    (array([[1, 1, 0]], dtype=uint8), array([0.67]))

    Attributes:
        names: The name of each class.
        threshold: The probability from which on a class is among the answers.
    """

    names: tuple[str, ...]
    threshold: float = 0.5

    @property
    def name(self) -> str:
        """See `Task`."""
        return "multilabel"

    @property
    def labels(self) -> LabelKind:
        """See `Task`."""
        return "classes"

    @property
    def inputs(self) -> InputKind:
        """See `Task`."""
        return "images"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The mean over the examples of the F1 of their classes, and the share of right yes-or-no answers."""
        return MultilabelConfig().metrics

    def loss(self, outputs: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """The binary cross-entropies of the classes, added up. See `Task`."""
        return _cross_entropy(outputs, labels.to(outputs.dtype) * (1 - smoothing) + smoothing / 2, weights)

    def teach(self, outputs: Tensor) -> Tensor:
        """The probability of each class."""
        return outputs.sigmoid()

    def distillation(
        self,
        outputs: Tensor,
        target: Tensor,
        kind: Distillation = "kl",  # noqa: ARG002 - a config that asks for another is refused
        weights: Tensor | None = None,
    ) -> Tensor:
        """The Kullback-Leibler divergences of the classes, added up. See `Task`."""
        from torch.nn import functional

        entropy = functional.binary_cross_entropy(target, target, reduction="none").sum(1)
        return _cross_entropy(outputs, target, weights) - weighted_mean(entropy, weights)

    def scores(
        self,
        outputs: Outputs,
        labels: Labels,
        metric: str,
        population: Labels,  # noqa: ARG002 - every example counts alike
    ) -> NDArray[np.float64]:
        """See `Task`. An example without any class, and without any in the answer, has the F1 of 1."""
        found, wanted = self.predictions(outputs) == 1, labels == 1
        return _label_accuracy(found, wanted) if metric == "label_accuracy" else _f1(found, wanted)

    def baseline(self, labels: Labels, metric: str) -> float:
        """What the best answer reaches that is made of the most frequent classes, the same for all. See `Task`."""
        score = _label_accuracy if metric == "label_accuracy" else _f1
        order = np.argsort(-labels.sum(axis=0, dtype=np.int64), kind="stable")
        answers = np.zeros((len(order) + 1, len(order)), dtype=np.bool_)
        for count in range(1, len(order) + 1):
            answers[count, order[:count]] = True
        wanted = labels == 1
        return max(float(score(np.broadcast_to(answer, wanted.shape), wanted).mean()) for answer in answers)

    def predictions(self, outputs: Outputs) -> Labels:
        """1 for each class whose probability reaches the threshold, uint8 (n, outputs)."""
        return np.asarray(outputs >= np.log(self.threshold / (1 - self.threshold)), dtype=np.uint8)

    def same(self, a: Outputs, b: Outputs) -> NDArray[np.bool_]:
        """Whether all classes are the same. See `Task`."""
        return np.asarray((self.predictions(a) == self.predictions(b)).all(axis=1))

    def published(self) -> Published:
        """See `Task`."""
        return Published(kind="labels", names=self.names, thresholds=(self.threshold,) * len(self.names))


def _cross_entropy(outputs: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    from torch.nn import functional

    each = functional.binary_cross_entropy_with_logits(outputs, target, reduction="none").sum(1)
    return weighted_mean(each, weights)


def _f1(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    both, all_of = (found & wanted).sum(axis=1), found.sum(axis=1) + wanted.sum(axis=1)
    return np.asarray(np.divide(2 * both, all_of, out=np.ones(len(all_of)), where=all_of > 0), dtype=np.float64)


def _label_accuracy(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray((found == wanted).mean(axis=1), dtype=np.float64)
