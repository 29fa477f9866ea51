"""The `task` section of a config: what the networks learn. Imports no torch."""

from __future__ import annotations

from typing import Final, Literal, get_args

from pydantic import Field

from factory_base.documents import Document
from supernet.data.types import LabelKind
from supernet.spaces.config import InputKind

TaskName = Literal["classification", "multilabel", "regression", "text_classification"]
"""The tasks; `supernet.tasks.TASKS` holds their implementations."""

TASK_NAMES: Final[tuple[TaskName, ...]] = get_args(TaskName)
"""The values of `TaskName`."""


class TaskConfig(Document):
    """What the networks learn. A name alone is a section with its defaults."""

    name: TaskName

    @property
    def labels(self) -> LabelKind:
        """The kind of labels that a data source must give."""
        return "class"

    @property
    def inputs(self) -> InputKind:
        """The inputs that a model space must take."""
        return "images"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that can steer the search. The first one does unless the config names another."""
        return ("accuracy", "balanced_accuracy")


class ClassificationConfig(TaskConfig):
    """One of several classes for each image."""

    name: Literal["classification"] = "classification"


class TextClassificationConfig(TaskConfig):
    """One of several classes for each text."""

    name: Literal["text_classification"] = "text_classification"

    @property
    def inputs(self) -> InputKind:
        """See `TaskConfig`."""
        return "tokens"


class MultilabelConfig(TaskConfig):
    """Any number of classes for each image."""

    name: Literal["multilabel"] = "multilabel"
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """The probability from which on a class is among the answers."""

    @property
    def labels(self) -> LabelKind:
        """See `TaskConfig`."""
        return "classes"

    @property
    def metrics(self) -> tuple[str, ...]:
        """See `TaskConfig`. `f1` is the mean over the images of the F1 of their classes."""
        return ("f1", "label_accuracy")


class RegressionConfig(TaskConfig):
    """One or several numbers for each image."""

    name: Literal["regression"] = "regression"

    @property
    def labels(self) -> LabelKind:
        """See `TaskConfig`."""
        return "values"

    @property
    def metrics(self) -> tuple[str, ...]:
        """See `TaskConfig`. `r2` is the explained share of the variance, the mean over the values."""
        return ("r2",)
