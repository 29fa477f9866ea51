"""What the outputs of a model mean: a class, any number of labels, or values in the unit of the data.

Every client computes the same, with floating-point numbers of 64 bits; `vectors/decoding.json` of the clients has
examples. For an output `x`, which is a float32:

* classes (a manifest with `task.output`): `p[i] = exp(x[i] - max) / sum`, the sum being that of all numerators; the
  answer is the class with the largest `x`, of equals the first;
* `labels`: `p[i] = 1 / (1 + exp(-x[i]))`; a label applies if `p[i] >= thresholds_ppm[i] / 1e6`;
* `values`: `(offset[i] + scale[i] * x[i]) / 10**decimals[i]`; with negative decimals it is multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .strict_json import take

MAX_DECIMALS = 22
"""The largest power of ten that these numbers hold exactly."""
_ONE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model says about an input.

    Attributes:
        labels: The names that apply: of classes one, of labels any number, of values none.
        probabilities: The probability of each name, in their order; empty for values.
        values: The value of each name, in the unit of the data; empty for classes and labels.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How an answer follows from the outputs.

    Attributes:
        kind: What the outputs mean.
        thresholds: For labels, the probability from which on each applies, in parts per million.
        offsets: For values, what is added to each.
        scales: For values, the factor of each.
        decimals: For values, the power of ten that each is divided by.
    """

    kind: Literal["classes", "labels", "values"]
    thresholds: tuple[int, ...] = ()
    offsets: tuple[int, ...] = ()
    scales: tuple[int, ...] = ()
    decimals: tuple[int, ...] = ()

    def check(self, names: Sequence[str]) -> None:
        """Raise `ValueError` if there is not one name per output."""
        stated = len(self.thresholds) + len(self.scales)
        if self.kind != "classes" and stated != len(names):
            raise ValueError(f"the manifest has {len(names)} labels for {stated} outputs; download the family again")

    def answer(self, outputs: NDArray[np.float32], names: Sequence[str]) -> Answer:
        """The answer.

        Args:
            outputs: What the model returned for one input, float32 `(n,)`.
            names: The names of the outputs.

        Raises:
            ValueError: There is not one finite output per name.
        """
        numbers = [float(output) for output in outputs]
        if len(numbers) != len(names) or not all(map(math.isfinite, numbers)):
            raise ValueError(f"the model does not return a finite number for each of the {len(names)} labels")
        if self.kind == "classes":
            return Answer(labels=(names[numbers.index(max(numbers))],), probabilities=_softmax(numbers))
        if self.kind == "labels":
            found = tuple(_sigmoid(number) for number in numbers)
            rows = zip(names, found, self.thresholds, strict=True)
            return Answer(labels=tuple(name for name, p, least in rows if p >= least / _ONE), probabilities=found)
        values = zip(self.offsets, self.scales, self.decimals, numbers, strict=True)
        return Answer(
            labels=(), values=tuple(_shifted(offset + scale * x, places) for offset, scale, places, x in values)
        )


CLASSES = Decoding(kind="classes")


def decoding_of(task: dict[str, Any]) -> Decoding:
    """The decoding of a manifest's `task`.

    Raises:
        ValueError: The manifest lacks something, or has outputs that this program does not know.
    """
    if task.get("outputs") is None:
        return CLASSES
    outputs = take(task, list, "outputs")
    shape, kind = take(outputs, list, 0, "shape"), take(outputs, str, 0, "decoding", "kind")
    if len(outputs) != 1 or len(shape) != 1 or kind not in ("labels", "values"):
        raise ValueError("the manifest has outputs that this program does not know; update the app")
    count, given = take(shape, int, 0), take(outputs, dict, 0, "decoding")
    if kind == "labels":
        return Decoding(kind="labels", thresholds=_integers(given, "thresholds_ppm", count, 1, _ONE - 1))
    limit = 2**53 - 1
    return Decoding(
        kind="values",
        offsets=_integers(given, "offset", count, -limit, limit),
        scales=_integers(given, "scale", count, 1, limit),
        decimals=_integers(given, "decimals", count, -MAX_DECIMALS, MAX_DECIMALS),
    )


def _integers(decoding: dict[str, Any], key: str, count: int, least: int, most: int) -> tuple[int, ...]:
    values = take(decoding, list, key)
    if len(values) != count or not all(type(value) is int and least <= value <= most for value in values):
        raise ValueError(f"the manifest has no usable {key} of the outputs; download the family again")
    return tuple(values)


def _softmax(numbers: Sequence[float]) -> tuple[float, ...]:
    powers = [math.exp(number - max(numbers)) for number in numbers]
    total = sum(powers)
    return tuple(power / total for power in powers)


def _sigmoid(number: float) -> float:
    # Beyond 700, `math.exp` has no number to return; the result is 0 to 300 decimals.
    return 1 / (1 + math.exp(-number)) if number > -700 else 0.0


def _shifted(number: float, decimals: int) -> float:
    """`number / 10**decimals`, with a power that is exact."""
    power = float(10 ** abs(decimals))
    return number / power if decimals >= 0 else number * power
