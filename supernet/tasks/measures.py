"""The measures of a model on examples that it was not trained on: one kind per kind of labels."""

from __future__ import annotations

from supernet.tasks.class_measures import ClassMeasures, class_measures, predicted_class_measures
from supernet.tasks.label_measures import LabelMeasures, label_measures
from supernet.tasks.value_measures import ValueMeasures, value_measures

__all__ = [
    "ClassMeasures",
    "LabelMeasures",
    "Measures",
    "ValueMeasures",
    "class_measures",
    "label_measures",
    "predicted_class_measures",
    "value_measures",
]

Measures = ClassMeasures | LabelMeasures | ValueMeasures
"""What `Task.measure` returns. The field `kind` says which it is."""
