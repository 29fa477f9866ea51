"""Values of options and concave curves as linear functions of the variables of an `ArcProgram`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from search.objective import Curve
from search.solving.arc_program import ArcProgram

_SAMPLES = 65
"""Arguments at which a curve is evaluated to see its range, which only serves to scale it."""


class ScaledCurve:
    """A curve whose argument is scaled to a range of about `width`, so that tolerances mean the same for all curves.

    Attributes:
        coefficients: Of the scaled argument, (variables,).
        constant: Of the scaled argument.
        slopes: Slopes over the scaled argument, (lines,).
        intercepts: (lines,).
        spread: Range of the curve's values.

    Args:
        program: The subnets.
        curve: The curve.
        macs: MACs of each arc, (arcs,).
        width: Range of the scaled argument.
    """

    def __init__(self, program: ArcProgram, curve: Curve, macs: NDArray[np.float64], width: float) -> None:
        options, constant = linear(program, curve.options)
        arcs = curve.macs_weight * macs
        low, high = _range_of(options, program.starts) + _range_of(arcs, program.links) + constant
        self.slopes, self.intercepts, factor = curve.slopes, curve.intercepts, 1.0
        if high > low:
            factor = width / (high - low)
            self.slopes = curve.slopes / factor
        self.coefficients = factor * np.concatenate([options, arcs])
        self.constant = factor * constant
        self.spread = float(np.ptp(curve.values(np.linspace(low, high, _SAMPLES))))


def linear(program: ArcProgram, options: Mapping[str, NDArray[np.float64]]) -> tuple[NDArray[np.float64], float]:
    """Coefficients of the options, (options,), and a constant: together, the sum over what present blocks take.

    Args:
        program: The subnets.
        options: For some choices, by name, the value of each option.
    """
    values = np.concatenate([options.get(choice.name, np.zeros(len(choice.options))) for choice in program.space])
    return np.asarray(program.taken.T @ values), float(program.taken_constant @ values)


def spread_of(program: ArcProgram, gain: NDArray[np.float64]) -> float:
    """The range of the sum of one value of `gain`, (options,), for each choice."""
    return float(np.ptp(_range_of(gain, program.starts)))


def _range_of(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The smallest and the largest sum of one value of each group, (2,); `starts` holds the first of each group."""
    groups = [values[first:last] for first, last in pairwise(starts)]
    return np.array([sum(group.min() for group in groups), sum(group.max() for group in groups)])
