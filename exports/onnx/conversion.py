"""What was done to write a network as a file of some precision, and what that cost in accuracy. Imports no engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ModelInput, Precision
from supernet.data.types import Labels
from supernet.tasks.task import Outputs, Task

DROP_LIMIT: Final = 0.3
"""The largest drop of accuracy that a file may cost, in percentage points, unless another limit is given: less than
half of the 95 % interval of an accuracy of 85 % on 10,000 images."""

RangeMethod = Literal["minmax", "percentile", "mse"]
"""How the range of an activation follows from its values for the calibration inputs.

`minmax`: from the smallest to the largest. `percentile`: without the rarest values at either end. `mse`: the range with
the smallest mean squared error of the quantised values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckImages:
    """Images that decide between ways of converting a network: neither training nor test images.

    Attributes:
        inputs: The model inputs, `(n, *input_shape)`.
        labels: The label of each, of the kind that the task has.
        task: What the network learnt.
        metric: The metric of the task that must not drop.
    """

    inputs: ModelInput
    labels: Labels
    task: Task
    metric: str

    def scores(self, outputs: Outputs) -> NDArray[np.float64]:
        """The score of each image, `(n,)`, for the outputs of a network, `(n, outputs)`."""
        return self.task.scores(outputs, self.labels, self.metric, self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """How much less accurate a file is than the float32 network, on the same images.

    Attributes:
        points: The difference of accuracy, or of another metric, in percentage points; negative if the file is better.
        low: The lower end of its 95 % interval, from the images on which the scores of the two differ.
        high: The upper end.
        images: The number of images.
    """

    points: float
    low: float
    high: float
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way of quantising a network, and what it cost.

    Attributes:
        ranges: How the ranges of activations were found.
        equalised: Whether the ranges of consecutive layers were equalised first.
        float_layers: The names of the layers that compute in float32.
        finetuned: Whether the network was fine-tuned with quantised weights and activations first.
        drop: What this attempt cost, on held-out images.
    """

    ranges: RangeMethod
    equalised: bool
    float_layers: tuple[str, ...]
    finetuned: bool
    drop: Drop


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How a file came about.

    Attributes:
        precision: The precision of the file.
        attempts: What was tried, in this order; empty if nothing was to be chosen.
        chosen: The index of the attempt that the file holds; None without attempts.
    """

    precision: Precision
    attempts: tuple[Attempt, ...] = ()
    chosen: int | None = None

    @property
    def drop(self) -> Drop | None:
        """What the file costs in accuracy; None if that was not measured."""
        return None if self.chosen is None else self.attempts[self.chosen].drop
