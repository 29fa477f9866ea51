"""From a task and its texts to what the manifest states about them, in integers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from exports.family.records import LabelsDecoding, Output, OutputSpec, TaskName, ValuesDecoding
from exports.family.task_records import MAX_DECIMALS
from factory_base.errors import ManifestError

if TYPE_CHECKING:
    from supernet.tasks.task import Published
    from supernet.tasks.task import Task as LearntTask

TASK_NAMES: Final[dict[str, TaskName]] = {
    "classification": "image_classification",
    "multilabel": "image_multilabel",
    "regression": "image_regression",
    "text_classification": "text_classification",
}
"""The name of a task in a config -> in a manifest."""
_DIGITS = 10
"""Significant digits of a scale: outputs are float32, which has 7."""
_LARGEST_DIGITS = 15
"""The most digits of an integer below 2^53."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TextSpec:
    """What a family of models that take text needs beside them.

    Attributes:
        tokenizer: The file `tokenizer.json`.
        length: The number of tokens to which texts are truncated and padded.
        padding: The token that fills a text up.
        vocabulary: The number of tokens.
        samples: Texts of the test set as tokens, int64 `(n, length)`; whether they are published, `publish` says.
    """

    tokenizer: bytes
    length: int
    padding: int
    vocabulary: int
    samples: NDArray[np.int64]


def task_name(task: LearntTask) -> TaskName:
    """The name of a task in manifests. Raises `ManifestError` if it has none."""
    if task.name not in TASK_NAMES:
        raise ManifestError(f"no manifest can describe the task {task.name!r}; known: {', '.join(TASK_NAMES)}")
    return TASK_NAMES[task.name]


def class_output(name: str, published: Published) -> OutputSpec | None:
    """The output of a classifier; None for other answers."""
    if published.kind != "classes":
        return None
    return OutputSpec(name=name, dtype="float32", classes=len(published.names))


def other_outputs(name: str, published: Published) -> tuple[Output, ...] | None:
    """The outputs of anything but a classifier; None for one.

    Raises:
        ManifestError: A scale or an offset cannot be stated.
    """
    if published.kind == "classes":
        return None
    decoding = _labels(published) if published.kind == "labels" else _values(published)
    return (Output(name=name, dtype="float32", shape=(len(published.names),), decoding=decoding),)


def _labels(published: Published) -> LabelsDecoding:
    thresholds = published.thresholds or ()
    return LabelsDecoding(thresholds_ppm=tuple(min(999_999, max(1, round(1e6 * share))) for share in thresholds))


def _values(published: Published) -> ValuesDecoding:
    offset, scale = published.offset or (), published.scale or ()
    decimals = tuple(_decimals(name, *pair) for name, *pair in zip(published.names, offset, scale, strict=True))
    return ValuesDecoding(
        offset=tuple(_shifted(value, places) for value, places in zip(offset, decimals, strict=True)),
        scale=tuple(_shifted(value, places) for value, places in zip(scale, decimals, strict=True)),
        decimals=decimals,
    )


def _decimals(name: str, offset: float, scale: float) -> int:
    """How many decimals state a scale in `_DIGITS` digits, or fewer if the offset would not fit."""
    wanted = _DIGITS - 1 - math.floor(math.log10(scale))
    fitting = _LARGEST_DIGITS - 1 - math.floor(math.log10(max(abs(offset), scale)))
    places = min(wanted, fitting)
    if not -MAX_DECIMALS <= places <= MAX_DECIMALS or _shifted(scale, places) < 1:
        raise ManifestError(
            f"the value {name!r} has the mean {offset:g} and the standard deviation {scale:g}, which a manifest cannot "
            "state; give it in another unit"
        )
    return places


def _shifted(value: float, places: int) -> int:
    """`value * 10**places`, rounded."""
    power = float(10 ** abs(places))
    return round(value * power if places >= 0 else value / power)
