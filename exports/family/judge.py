"""Judging stored predictions: how good they are, and whether two models give the same answer.

A task (`supernet.tasks`) judges the outputs of a network. What is kept of a family are its predictions, so they are
turned back into outputs that stand for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from exports.family.records import LabelsDecoding, Task, ValuesDecoding
from exports.family.task_rules import AnswerKind
from factory_base.intervals import Z95, wilson

if TYPE_CHECKING:
    from supernet.tasks.task import Task as LearntTask

Predictions = NDArray[Any]
"""The answers for examples: classes, uint16 `(n,)`; of several labels each 0 or 1, uint8 `(n, labels)`; or values in
the unit of the data, float32 `(n, values)`."""

ACCURACY: Final = "accuracy"
PUBLISHED_ACCURACY: Final = "top1_accuracy"
"""What the manifest calls the accuracy, as it did before there were other metrics."""
_AT_ONCE = 4096
"""Examples whose outputs are made at a time: of 10,000 classes 330 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A metric on a test set with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What a family learnt, and by which metric it is judged.

    Attributes:
        task: The task.
        metric: One of its metrics.
    """

    task: LearntTask
    metric: str

    @property
    def kind(self) -> AnswerKind:
        """What the answers are."""
        kinds: dict[str, AnswerKind] = {"class": "classes", "classes": "labels", "values": "values"}
        return kinds[self.task.labels]

    def scores(self, predictions: Predictions, labels: Predictions) -> NDArray[np.float64]:
        """The score of each example, `(n,)`, whose mean is the metric; 1 is the best."""
        if self.kind == "classes" and self.metric == ACCURACY:
            return np.asarray(predictions == labels, dtype=np.float64)
        parts = [
            self.task.scores(self._outputs(predictions[rows]), labels[rows], self.metric, labels)
            for rows in _slices(len(labels))
        ]
        return np.concatenate(parts)

    def same(self, a: Predictions, b: Predictions) -> NDArray[np.bool_]:
        """Whether two models give the same answer to each example, `(n,)`."""
        if self.kind == "classes":
            return np.asarray(a == b)
        return np.concatenate(
            [self.task.same(self._outputs(a[rows]), self._outputs(b[rows])) for rows in _slices(len(a))]
        )

    def estimate(self, predictions: Predictions, labels: Predictions) -> Estimate:
        """The metric with its interval: Wilson's for the accuracy, else that of a mean."""
        scores = self.scores(predictions, labels)
        count, mean = len(scores), float(scores.mean())
        if self.metric == ACCURACY:
            low, high = wilson(int(scores.sum()), count)
        else:
            half = Z95 * float(scores.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
            low, high = mean - half, min(1.0, mean + half)
        return Estimate(value=mean, low=low, high=high)

    def _outputs(self, predictions: Predictions) -> NDArray[np.float64]:
        """Outputs that stand for these answers, `(n, outputs)`."""
        if self.kind == "classes":
            return np.asarray(predictions[:, None] == np.arange(len(self.task.names)), dtype=np.float64)
        if self.kind == "labels":
            return np.where(predictions == 1, np.inf, -np.inf)
        published = self.task.published()
        return np.asarray((predictions.astype(np.float64) - np.array(published.offset)) / np.array(published.scale))


def classes_judge(names: tuple[str, ...]) -> Judge:
    """The judge of classes by their accuracy."""
    from supernet.tasks import Classification

    return Judge(task=Classification(names=names), metric=ACCURACY)


def judge_of(task: Task, names: tuple[str, ...], metric: str) -> Judge:
    """The judge of a published family.

    Args:
        task: What its manifest says about the task.
        names: The names of its labels.
        metric: The metric as a manifest states it.
    """
    from supernet.tasks import Classification, Multilabel, Regression

    decoding = task.decoding
    known = ACCURACY if metric == PUBLISHED_ACCURACY else metric
    if isinstance(decoding, LabelsDecoding):  # predictions are known, so the thresholds do not matter
        return Judge(task=Multilabel(names=names), metric=known)
    if isinstance(decoding, ValuesDecoding):
        powers = [10.0**-places for places in decoding.decimals]
        mean = tuple(value * power for value, power in zip(decoding.offset, powers, strict=True))
        std = tuple(value * power for value, power in zip(decoding.scale, powers, strict=True))
        return Judge(task=Regression(names=names, mean=mean, std=std), metric=known)
    return Judge(task=Classification(names=names), metric=known)


def published_metric(metric: str) -> str:
    """What the manifest calls a metric of a task."""
    return PUBLISHED_ACCURACY if metric == ACCURACY else metric


def metric_text(metric: str) -> str:
    """A metric of a manifest for people: `accuracy`, `balanced accuracy`."""
    return ACCURACY if metric == PUBLISHED_ACCURACY else metric.replace("_", " ")


def _slices(count: int) -> list[slice]:
    return [slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE)]
