"""Choosing how a network is quantised to 8-bit integers: one remedy after the other until it keeps its accuracy.

    minmax -> percentile -> mse -> equalised, with the best of these ranges -> the worst layers in float32

Without images to check the accuracy on, the first way is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from device_profiles.engine import ModelInput
from exports.onnx.conversion import Attempt, CheckImages, RangeMethod
from exports.onnx.quantising.accuracy import paired_drop, scores_of
from exports.onnx.quantising.equalisation import equalised, find_pairs
from exports.onnx.quantising.layers import Layer
from exports.onnx.quantising.qdq import quantised_model, quantised_values
from exports.onnx.quantising.ranges import Observed, chosen_ranges, observe
from exports.onnx.quantising.running import logits_of
from factory_base.errors import EngineError
from factory_base.progress import Progress

_SENSITIVITY_INPUTS: Final = 64
"""Calibration inputs for the error of each layer. The error of a layer is a mean over all of their logits."""

_FLOAT_SHARE: Final = 4
"""At most one in so many layers computes in float32: with more, the file would hardly be faster than the float one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """A quantised network, and how it came about.

    Attributes:
        model: The ModelProto.
        attempts: As in `Conversion`.
        chosen: As in `Conversion`.
    """

    model: Any
    attempts: tuple[Attempt, ...] = ()
    chosen: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A float32 graph, its layers and their activations."""

    model: Any
    layers: tuple[Layer, ...]
    observed: dict[str, Observed]

    def quantised(self, ranges: RangeMethod, float_layers: Sequence[str] = ()) -> Any:
        layers = [layer for layer in self.layers if layer.name not in float_layers]
        return quantised_model(self.model, layers, chosen_ranges(self.observed, ranges))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """A way of quantising. Its source is equalised or not."""

    source: _Source
    ranges: RangeMethod = "minmax"
    equalised: bool = False
    float_layers: tuple[str, ...] = ()


def quantise(
    model: Any,
    original: Any,
    layers: tuple[Layer, ...],
    calibration: ModelInput,
    check: CheckImages | None,
    drop_limit: float,
    progress: Progress,
) -> Quantised:
    """Quantise `layers` of a ModelProto.

    Args:
        model: The float32 graph, with tables of tokens in 8 bits.
        original: The same with tables in float32.
        layers: Its layers, at least one.
        calibration: Inputs `(n, *input_shape)`, from which ranges and the errors of layers follow.
        check: Images on which the accuracy is compared with that of `original`; None to take the first way.
        drop_limit: The drop of accuracy, in percentage points, at which no further remedy is tried.
        progress: Receives the number of attempts.
    """
    progress(0, 1, "observe activations")
    source = _Source(model=model, layers=layers, observed=_observed(model, layers, calibration))
    if check is None:
        return Quantised(model=source.quantised("minmax"))
    return _Remedies(source, original, calibration, check, progress).run(drop_limit)


class _Remedies:
    """The attempts on one network, in the order of the module's overview."""

    def __init__(
        self, source: _Source, original: Any, calibration: ModelInput, check: CheckImages, progress: Progress
    ) -> None:
        self._source, self._calibration, self._check, self._progress = source, calibration, check, progress
        self._reference = scores_of(original, check)
        self._recipes: list[_Recipe] = []
        self._attempts: list[Attempt] = []

    def run(self, drop_limit: float) -> Quantised:
        """Try one remedy after the other until the drop is at most `drop_limit`, and return the best."""
        for recipe in self._all():
            self._progress(len(self._attempts), len(self._attempts) + 1, f"check {_described(recipe)}")
            drop = paired_drop(self._reference, scores_of(_built(recipe), self._check))
            self._recipes.append(recipe)
            self._attempts.append(
                Attempt(
                    ranges=recipe.ranges,
                    equalised=recipe.equalised,
                    float_layers=recipe.float_layers,
                    finetuned=False,
                    drop=drop,
                )
            )
            if drop.points <= drop_limit:
                break
        return Quantised(model=_built(self._recipes[self._best]), attempts=tuple(self._attempts), chosen=self._best)

    @property
    def _best(self) -> int:
        """The attempt with the smallest drop; of equal ones the first, which is the simplest."""
        return min(range(len(self._attempts)), key=lambda index: self._attempts[index].drop.points)

    def _all(self) -> Iterator[_Recipe]:
        yield _Recipe(source=self._source)
        yield _Recipe(source=self._source, ranges="percentile")
        yield _Recipe(source=self._source, ranges="mse")
        yield from self._equalised()
        best = self._recipes[self._best]
        worst = self._worst_layers(best)
        for count in _counts(len(worst) // _FLOAT_SHARE):
            yield replace(best, float_layers=worst[:count])

    def _equalised(self) -> Iterator[_Recipe]:
        pairs = find_pairs(self._source.model, self._source.layers)
        if pairs:
            best = self._recipes[self._best]
            model = equalised(self._source.model, pairs, self._source.observed)
            layers = self._source.layers
            source = _Source(model=model, layers=layers, observed=_observed(model, layers, self._calibration))
            yield replace(best, source=source, equalised=True)

    def _worst_layers(self, recipe: _Recipe) -> tuple[str, ...]:
        """The names of all layers, that with the largest error of the logits when it alone is quantised first."""
        inputs, source = self._calibration[:_SENSITIVITY_INPUTS], recipe.source
        reference = logits_of(source.model, inputs)
        names = [layer.name for layer in source.layers]
        errors = {}
        for index, name in enumerate(names):
            self._progress(index, len(names), f"measure the error of {name}")
            found = logits_of(source.quantised(recipe.ranges, [other for other in names if other != name]), inputs)
            errors[name] = float(np.mean((found - reference) ** 2))
        return tuple(sorted(names, key=lambda name: -errors[name]))


def _observed(model: Any, layers: tuple[Layer, ...], calibration: ModelInput) -> dict[str, Observed]:
    """The activations of the layers. Raises `EngineError` if one is always 0, so that it has no range."""
    observed = observe(model, quantised_values(layers), calibration)
    for layer in layers:
        for name, what in [*((name, "input") for name in layer.reads), (layer.writes, "output")]:
            if name in observed and observed[name].low == observed[name].high:
                raise EngineError(
                    f"cannot be quantised: the {what} of {layer.name} is 0 for all {len(calibration)} calibration "
                    "inputs; pass images of the data set, or train the network"
                )
    return observed


def _built(recipe: _Recipe) -> Any:
    return recipe.source.quantised(recipe.ranges, recipe.float_layers)


def _counts(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    return sorted({min(2**power, most) for power in range(most.bit_length() + 1)} - {0})


def _described(recipe: _Recipe) -> str:
    parts = [recipe.ranges, "equalised" if recipe.equalised else ""]
    parts.append(f"{len(recipe.float_layers)} layers in float32" if recipe.float_layers else "")
    return ", ".join(part for part in parts if part)
