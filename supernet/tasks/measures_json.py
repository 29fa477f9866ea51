"""Measures as JSON values for programs: names in place of indices, and with the figures that follow from counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from supernet.tasks.calibration_error import Calibration
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


def measures_summary(measures: Measures) -> dict[str, float]:
    """The figures over all examples that have no unit, by name; those that are not known are left out."""
    if isinstance(measures, ClassMeasures):
        found = {
            "balanced_accuracy": measures.balanced_accuracy.value,
            "macro_f1": measures.macro_f1,
            "majority_accuracy": measures.majority,
        }
        return found | _calibration(measures.calibration)
    if isinstance(measures, LabelMeasures):
        precision = measures.mean_average_precision
        found = {
            "exact_match": measures.exact_match.value,
            "macro_f1": measures.macro_f1,
            "micro_f1": measures.micro_f1,
            "majority_exact_match": measures.majority_exact / measures.examples,
            **({} if precision is None else {"mean_average_precision": precision}),
        }
        return found | _calibration(measures.calibration)
    return {} if measures.r2 is None else {"r2": measures.r2}


def _calibration(found: Calibration | None) -> dict[str, float]:
    return {} if found is None else {"calibration_error": found.error}


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
        "calibration": asdict(measures.calibration) if measures.calibration else None,
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
