"""The section on what each model is worth: what its template calls, and the table of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from model_factory.report.confusion import MOST_CLASSES, confusion_svg
from model_factory.report.data import QualityRow
from model_factory.report.reliability import reliability_svg
from supernet.tasks.class_measures import FEWEST
from supernet.tasks.estimates import Estimate
from supernet.tasks.label_measures import LabelMeasure, LabelMeasures
from supernet.tasks.measures import ClassMeasures

_CLASSES_SHOWN: Final = 20
"""Rows of the table of classes: what people read, and some KiB for a family of ten models."""
_NAMED: Final = 5
"""Classes that a cell of a table names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """The recall of all models on one class.

    Attributes:
        name: Name of the class.
        support: Number of test images of the class.
        is_scarce: Whether they are too few for more than a rough figure.
        recalls: The recall of each model; None if there are no images.
    """

    name: str
    support: int
    is_scarce: bool
    recalls: tuple[Estimate | None, ...]


def quality_globals() -> dict[str, Any]:
    """What the template calls, by name."""
    return {
        "class_rows": class_rows,
        "label_rows": label_rows,
        "unpredicted": unpredicted,
        "fewest": FEWEST,
        "most_classes": MOST_CLASSES,
        "confusion_svg": lambda measures, names: Markup(confusion_svg(measures, names)),
        "reliability_svg": lambda found: Markup(reliability_svg(found)),
    }


def class_rows(quality: Sequence[QualityRow], names: Sequence[str]) -> tuple[ClassRow, ...]:
    """The table of classes, in their order; of many classes those on which any model is worst, the worst first."""
    found = [row.measures for row in quality if isinstance(row.measures, ClassMeasures)]
    rows = []
    for index, name in enumerate(names if found else ()):
        of_class = [measures.classes[index] for measures in found]
        support = of_class[0].support
        recalls = tuple(one.recall for one in of_class)
        rows.append(ClassRow(name=name, support=support, is_scarce=support < FEWEST, recalls=recalls))
    if len(rows) > _CLASSES_SHOWN:
        rows.sort(key=lambda row: (_lowest(row), row.name))
    return tuple(rows[:_CLASSES_SHOWN])


def _lowest(row: ClassRow) -> float:
    return min((recall.value for recall in row.recalls if recall is not None), default=1.0)


def label_rows(measures: LabelMeasures, names: Sequence[str]) -> tuple[tuple[LabelMeasure, str], ...]:
    """The labels with their names, in their order; of many labels those of the lowest F1, the lowest first."""
    rows = list(zip(measures.labels, names, strict=True))
    if len(rows) > _CLASSES_SHOWN:
        rows.sort(key=lambda row: (1.0 if row[0].f1 is None else row[0].f1, row[1]))
    return tuple(rows[:_CLASSES_SHOWN])


def unpredicted(measures: ClassMeasures | LabelMeasures, names: Sequence[str]) -> str:
    """The classes that a model never predicts, although there are test images of them; a dash if there are none."""
    found = [names[index] for index in measures.never_predicted]
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more if found else "–"
