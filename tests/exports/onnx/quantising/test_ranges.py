"""The range of an activation: exact zeros, outliers, and the smallest error."""

import numpy as np
import pytest

from exports.onnx.quantising.ranges import Observed, Range, chosen_ranges


def observed(values: np.ndarray) -> Observed:
    values = np.sort(values.astype(np.float32))
    return Observed(low=min(0.0, values[0]), high=max(0.0, values[-1]), channels=np.abs(values), sample=values)


def error(values: np.ndarray, span: Range) -> float:
    integers = np.clip(np.rint(values / span.scale) + int(span.zero_point), 0, 255)
    return float(np.mean(((integers - int(span.zero_point)) * span.scale - values) ** 2))


def span_of(values: np.ndarray, method: str) -> Range:
    return chosen_ranges({"value": observed(values)}, method)["value"]


HEAVY = np.concatenate([np.random.default_rng(0).normal(size=30_000), [-8.0, 12.0, 12.0]])
"""Values of which three are far from the rest."""


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (-2.0, 0.0), (-1e-3, 1e3)])
def test_zero_is_exact_and_both_ends_are_within_a_step(low, high):
    span = Range(low=low, high=high)
    smallest, largest = ((level - int(span.zero_point)) * span.scale for level in (0, 255))
    assert abs(smallest - low) <= span.scale
    assert abs(largest - high) <= span.scale


def test_minmax_holds_every_value_and_zero():
    assert span_of(np.array([2.0, 3.0, 5.0]), "minmax") == Range(low=0.0, high=5.0)


def test_percentile_leaves_out_the_rarest():
    span = span_of(HEAVY, "percentile")
    outside = np.mean((span.low > HEAVY) | (span.high < HEAVY))
    assert 1e-4 <= outside < 3e-4


def test_mse_has_the_smallest_error_of_the_three():
    errors = {method: error(HEAVY, span_of(HEAVY, method)) for method in ("minmax", "percentile", "mse")}
    assert errors["mse"] < min(errors["minmax"], errors["percentile"])


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_a_value_that_is_nearly_always_zero_keeps_a_range(method):
    values = np.zeros(30_000)
    values[7] = 4.0
    assert span_of(values, method).high > 0
