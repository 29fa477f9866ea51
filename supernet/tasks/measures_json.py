"""Measures as JSON values for programs: names in place of indices, and with the figures that follow from counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from supernet.tasks.class_measures import ClassMeasure, ClassMeasures
from supernet.tasks.estimates import Estimate
from supernet.tasks.label_measures import LabelMeasure, LabelMeasures
from supernet.tasks.measures import Measures
from supernet.tasks.value_measures import ValueMeasures


def measures_json(measures: Measures, names: Sequence[str]) -> dict[str, Any]:
    """All figures of `measures`; shares and their intervals are fractions.

    Args:
        measures: The measures.
        names: The names of the classes, labels or values.
    """
    if isinstance(measures, ClassMeasures):
        return _classes(measures, names)
    if isinstance(measures, LabelMeasures):
        return _labels(measures, names)
    return _values(measures, names)


def _classes(measures: ClassMeasures, names: Sequence[str]) -> dict[str, Any]:
    return {
        "kind": measures.kind,
        "examples": measures.examples,
        "accuracy": asdict(measures.accuracy),
        "balanced_accuracy": asdict(measures.balanced_accuracy),
        "macro_f1": measures.macro_f1,
        "majority": {"class": names[measures.majority_class], "accuracy": measures.majority},
        "beats_majority": measures.beats_majority,
        "never_predicted": [names[index] for index in measures.never_predicted],
        "calibration": asdict(measures.calibration) if measures.calibration else None,
        "classes": [_counts(one, name) for one, name in zip(measures.classes, names, strict=True)],
        "confusions": [
            {"label": names[cell.label], "predicted": names[cell.predicted], "examples": cell.examples}
            for cell in measures.confusions
        ],
    }


def _labels(measures: LabelMeasures, names: Sequence[str]) -> dict[str, Any]:
    return {
        "kind": measures.kind,
        "examples": measures.examples,
        "exact_match": asdict(measures.exact_match),
        "macro_f1": measures.macro_f1,
        "micro_f1": measures.micro_f1,
        "example_f1": measures.example_f1,
        "mean_average_precision": measures.mean_average_precision,
        "majority_exact_match": measures.majority_exact / measures.examples,
        "never_predicted": [names[index] for index in measures.never_predicted],
        "calibration": asdict(measures.calibration),
        "labels": [
            {**_counts(one, name), "average_precision": one.average_precision}
            for one, name in zip(measures.labels, names, strict=True)
        ],
    }


def _values(measures: ValueMeasures, names: Sequence[str]) -> dict[str, Any]:
    return {
        "kind": measures.kind,
        "examples": measures.examples,
        "r2": measures.r2,
        "values": [
            {"name": name, **asdict(one), "beats_mean": one.beats_mean}
            for one, name in zip(measures.values, names, strict=True)
        ],
    }


def _counts(one: ClassMeasure | LabelMeasure, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "support": one.support,
        "predicted": one.predicted,
        "correct": one.correct,
        "recall": _estimate(one.recall),
        "precision": _estimate(one.precision),
        "f1": one.f1,
    }


def _estimate(found: Estimate | None) -> dict[str, float] | None:
    return asdict(found) if found is not None else None
