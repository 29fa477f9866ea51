"""How notes for people name the metric that subnets are compared by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricWords:
    """The words for a metric.

    Attributes:
        name: Its name, as in `held-out accuracy`.
        better: What a subnet with a higher value is.
        best: What the subnet with the highest value is.
    """

    name: str
    better: str
    best: str


ACCURACY = MetricWords(name="accuracy", better="more accurate", best="most accurate")


def metric_words(metric: str) -> MetricWords:
    """The words for a metric of a config, for example `balanced_accuracy`."""
    if metric == ACCURACY.name:
        return ACCURACY
    return MetricWords(name=metric.replace("_", " "), better="better", best="best")
