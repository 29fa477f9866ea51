"""The tasks: what networks can learn. Each is one file; a config's `task` is a key of `TASKS`.

A task for other outputs, such as boxes or masks, is another file with the members of `Task`, and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from factory_base.lazy import public
from supernet.data.types import Labels
from supernet.tasks.config import (
    ClassificationConfig,
    MultilabelConfig,
    RegressionConfig,
    TaskConfig,
    TaskName,
    TextClassificationConfig,
)

if TYPE_CHECKING:
    from supernet.tasks.classification import Classification as Classification
    from supernet.tasks.multilabel import Multilabel as Multilabel
    from supernet.tasks.regression import Regression as Regression
    from supernet.tasks.task import Task as Task


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """A task.

    Attributes:
        config: Class of its `task` section.
        make: `(config, names of the outputs, training labels) -> task`.
    """

    config: type[TaskConfig]
    make: Callable[[Any, tuple[str, ...], Labels], Task]


def _classification(config: ClassificationConfig, names: tuple[str, ...], labels: Labels) -> Task:  # noqa: ARG001
    from supernet.tasks.classification import Classification

    return Classification(names=names)


def _text_classification(config: TextClassificationConfig, names: tuple[str, ...], labels: Labels) -> Task:  # noqa: ARG001
    from supernet.tasks.text_classification import text_classification

    return text_classification(names)


def _multilabel(config: MultilabelConfig, names: tuple[str, ...], labels: Labels) -> Task:  # noqa: ARG001
    from supernet.tasks.multilabel import Multilabel

    return Multilabel(names=names, threshold=config.threshold)


def _regression(config: RegressionConfig, names: tuple[str, ...], labels: Labels) -> Task:  # noqa: ARG001
    from supernet.tasks.regression import Regression

    return Regression.of(names, labels)


TASKS: Final[dict[TaskName, TaskEntry]] = {
    "classification": TaskEntry(ClassificationConfig, _classification),
    "multilabel": TaskEntry(MultilabelConfig, _multilabel),
    "regression": TaskEntry(RegressionConfig, _regression),
    "text_classification": TaskEntry(TextClassificationConfig, _text_classification),
}
"""Name in a config -> entry."""


_MODULES = {
    "Classification": "supernet.tasks.classification",
    "Multilabel": "supernet.tasks.multilabel",
    "Regression": "supernet.tasks.regression",
    "Task": "supernet.tasks.task",
}
"""The module of each public name that needs numerical libraries."""

if not TYPE_CHECKING:  # type checkers would accept every name of a package with a `__getattr__`
    __getattr__, __dir__ = public(__name__, _MODULES)


def task_values(task: Task) -> dict[str, Any]:
    """A task as a JSON value; see `task_of`."""
    from pydantic import TypeAdapter

    values: dict[str, Any] = TypeAdapter(type(task)).dump_python(task, mode="json")
    return {**values, "name": task.name}


def task_of(values: Mapping[str, Any]) -> Task:
    """The task that `task_values` turned into `values`."""
    from pydantic import TypeAdapter

    from supernet.tasks.classification import Classification
    from supernet.tasks.multilabel import Multilabel
    from supernet.tasks.regression import Regression

    kinds: dict[str, type[Task]] = {"multilabel": Multilabel, "regression": Regression}
    kind = kinds.get(values["name"], Classification)
    kept = {name: value for name, value in values.items() if name != "name" or kind is Classification}
    return TypeAdapter(kind).validate_python(kept)


def make_task(config: TaskConfig, names: tuple[str, ...], labels: Labels) -> Task:
    """The task that the `task` section of a config describes.

    Args:
        config: The `task` section.
        names: The name of each output: of the classes, or of the values.
        labels: The labels of the training split.

    Raises:
        DataError: The labels cannot be learnt.
    """
    return TASKS[config.name].make(config, names, labels)
