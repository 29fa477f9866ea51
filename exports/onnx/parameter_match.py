"""Which parameter of a supernet each constant of an exported file is, found by its values: names are lost on export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from supernet.sharing.slicing import Plan, SlicePlan

Floats = NDArray[np.float32]
Axes = tuple[NDArray[np.intp], ...]
"""The indices that are taken on each axis, in order."""
Kind = Literal["float32", "float16", "int8"]
"""How files store a parameter."""
Key = tuple[str, bool, Kind]
"""A parameter, whether files hold it with its axes exchanged, and how they store it."""

ROUNDING: Final = 2e-6
"""Largest difference, relative to the largest value of a channel, that counts as rounding. Folding a normalisation
rounds each value about three times, by 6e-8 each; one step of fine-tuning changes weights by about 1e-4."""

_HALF_STEP: Final = 0.501
"""Largest difference, in steps, between a value and its integer; the rest is rounding in float32."""

SMALLEST_BYTES: Final = 256
"""Constants below this size stay in the graph: a reference to the shared file and a `Slice` take about as much."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Quantised:
    """A weight as 8-bit integers with a scale per output channel.

    Attributes:
        values: The integers, int8, in the layout of the parameter.
        scale: The scales, float32 (output channels,).
    """

    values: NDArray[np.int8]
    scale: Floats


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Match:
    """A constant of a file that is a part of a supernet's parameter, up to a factor per output channel.

    Attributes:
        parameter: The name of the parameter in the supernet.
        axes: The indices of the part in the supernet's parameter, which has its output channels on axis 0.
        transposed: Whether the file holds the part with its two axes exchanged.
        factor: The constant divided by the part, float64 (output channels,).
        values: The constant in float32, before it was quantised or rounded, in the layout of the parameter.
        quantised: The constant as integers if the file has it so.
        half: Whether the file has it in float16.
    """

    parameter: str
    axes: Axes
    transposed: bool
    factor: NDArray[np.float64]
    values: Floats
    quantised: Quantised | None = None
    half: bool = False

    @property
    def key(self) -> Key:
        """What matches of several files share if they are equal in it."""
        return self.parameter, self.transposed, "int8" if self.quantised else "float16" if self.half else "float32"


def match_constants(
    constants: Mapping[str, Floats], plans: Mapping[str, Plan], full: Mapping[str, Floats]
) -> dict[str, Match]:
    """The constants that are parts of parameters, by name. Others, for example fine-tuned weights, are left out.

    Args:
        constants: The constants of a file, by name.
        plans: How each parameter of the subnet comes out of the supernet's, by name, see `plan_module`.
        full: The supernet's parameters, by name.
    """
    parts = {name: (axes, part_of(full[name], axes)) for name, axes in _indices(plans, full).items()}
    found: dict[str, Match] = {}
    free = list(parts)
    for constant, values in constants.items():
        if values.nbytes < SMALLEST_BYTES or values.dtype != np.float32:
            continue
        for name in [*free, *(name for name in parts if name not in free)]:  # a tied parameter has several constants
            match = _match(values, name, *parts[name])
            if match is not None:
                found[constant] = match
                free = [other for other in free if other != name]
                break
    return found


def match_quantised(
    weights: Mapping[str, tuple[NDArray[np.int8], Floats, int]], source: Mapping[str, Match]
) -> dict[str, Match]:
    """The quantised weights of a file whose values before quantisation are parts of parameters, by name.

    Args:
        weights: Integers, scales and the axis of the output channels of each weight, by name.
        source: The matches in the file that was quantised.
    """
    found: dict[str, Match] = {}
    free = list(source)
    for name, (values, scale, axis) in weights.items():
        for other in free:
            match = source[other]
            quantised = _quantised(values, scale, axis, match)
            if quantised is not None:
                found[name] = replace(match, quantised=quantised)
                free.remove(other)
                break
    return found


def match_halves(weights: Mapping[str, NDArray[np.float16]], source: Mapping[str, Match]) -> dict[str, Match]:
    """As `match_quantised`, for weights that were rounded to float16."""
    found: dict[str, Match] = {}
    free = list(source)
    for name, values in weights.items():
        other = next((other for other in free if _is_rounded(values, source[other])), None)
        if other is not None:
            found[name] = replace(source[other], half=True)
            free.remove(other)
    return found


def _is_rounded(values: NDArray[np.float16], match: Match) -> bool:
    given = values.T if match.transposed else values
    return given.shape == match.values.shape and np.array_equal(given, match.values.astype(np.float16))


def _quantised(values: NDArray[np.int8], scale: Floats, axis: int, match: Match) -> Quantised | None:
    """The integers if they are the values of `match`, each rounded by at most half a step."""
    given = values.T if match.transposed else values
    if given.shape != match.values.shape or axis != int(match.transposed) or scale.shape != (len(given),):
        return None
    step = scale.reshape(-1, *[1] * (given.ndim - 1))
    close = np.abs(given * step - match.values) <= _HALF_STEP * step
    return Quantised(values=given, scale=scale) if close.all() else None


def part_of(tensor: NDArray[Any], axes: Sequence[NDArray[np.intp]]) -> NDArray[Any]:
    """The values of `tensor` at the given indices of each axis."""
    return tensor[np.ix_(*axes)]


def factor_between(values: Floats, part: Floats) -> NDArray[np.float64] | None:
    """The factor per channel on axis 0 by which `values` differ from `part`; None if they differ otherwise.

    A channel that is zero in both has the factor 1. If a channel has a single value, any two tensors would match, so
    they must be equal.
    """
    if values.shape != part.shape:
        return None
    if np.array_equal(values, part):
        return np.ones(len(values))
    if values[0].size < 2:
        return None
    ours, theirs = (tensor.reshape(len(tensor), -1).astype(np.float64) for tensor in (values, part))
    energy = (theirs * theirs).sum(axis=1)
    factor = np.where(energy > 0, (ours * theirs).sum(axis=1) / np.where(energy > 0, energy, 1), 1.0)
    error = np.abs(ours - factor[:, None] * theirs).max(axis=1)
    return factor if (error <= ROUNDING * np.abs(ours).max(axis=1)).all() else None


def _indices(plans: Mapping[str, Plan], full: Mapping[str, Floats]) -> dict[str, Axes]:
    """The indices of the plans that consist of runs; other plans cannot be expressed by slices."""
    return {
        name: tuple(
            np.concatenate([np.arange(*run.indices(size)) for run in runs])
            for runs, size in zip(plan.axes, full[name].shape, strict=True)
        )
        for name, plan in plans.items()
        if isinstance(plan, SlicePlan)
    }


def _match(values: Floats, name: str, axes: Axes, part: Floats) -> Match | None:
    for transposed in (False, True) if values.ndim == 2 else (False,):
        given = values.T if transposed else values
        factor = factor_between(given, part)
        if factor is not None:
            return Match(parameter=name, axes=axes, transposed=transposed, factor=factor, values=given)
    return None
