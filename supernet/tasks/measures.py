"""The measures of a model on examples that it was not trained on: one kind per kind of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from supernet.tasks.class_measures import ClassMeasures, class_measures, predicted_class_measures
from supernet.tasks.label_measures import LabelMeasures, label_measures, predicted_label_measures
from supernet.tasks.value_measures import ValueMeasures, value_measures

__all__ = [
    "ClassMeasures",
    "LabelMeasures",
    "Measures",
    "ValueMeasures",
    "class_measures",
    "label_measures",
    "predicted_class_measures",
    "predicted_label_measures",
    "predicted_measures",
    "value_measures",
]

Measures = ClassMeasures | LabelMeasures | ValueMeasures
"""The measures of a task; the field `kind` says which they are."""


def predicted_measures(
    predictions: NDArray[Any], labels: NDArray[Any], outputs: int, stated: NDArray[np.float32] | None = None
) -> Measures:
    """The measures of predictions of any kind that were made before.

    Args:
        predictions: The answers, as labels, see `supernet.data.types.Labels`; classes may be of any integer type.
        labels: The labels of the same examples.
        outputs: The number of classes, labels or values.
        stated: The probability of each predicted class `(n,)`, or of each label `(n, outputs)`; None if not known.

    Raises:
        DataError: There are too few examples, or the arrays do not fit.
    """
    if labels.ndim == 1:
        return predicted_class_measures(predictions, labels, outputs, stated)
    if labels.dtype.kind == "f":
        return value_measures(predictions, labels)
    return predicted_label_measures(predictions, labels, stated)
