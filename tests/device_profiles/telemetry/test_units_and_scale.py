"""The steps of the fit of one device: its unit, its rounding, and its scale from what models say."""

import numpy as np
import pytest

from device_profiles.telemetry.scale import Belief, scale_of
from device_profiles.telemetry.units import expectations, in_one_unit, rounding_steps
from device_profiles.telemetry.values import Values, weighted_median, weighted_quantiles


def values(latency_us, expected_us=(1000.0,), model=None, count=None) -> Values:
    latency = np.asarray(latency_us, np.float64)
    return Values(
        latency_us=latency,
        model=np.zeros(len(latency), np.int64) if model is None else np.asarray(model),
        count=np.ones(len(latency)) if count is None else np.asarray(count, np.float64),
        expected_us=np.asarray(expected_us, np.float64),
    )


def belief(mean: float, std: float) -> Belief:
    return Belief(points=np.array([mean]), weights=np.ones(1), variance=std**2)


def test_a_value_that_stands_for_many_rows_weighs_as_much() -> None:
    assert weighted_median(np.array([5.0, 1.0, 2.0]), np.array([10.0, 1.0, 1.0])) == pytest.approx(5.0, rel=0.2)
    assert weighted_quantiles(np.arange(5.0), np.ones(5), np.array([0.1, 0.5, 0.9])).tolist() == [0, 2, 4]


def test_a_model_without_an_expectation_is_put_in_line_with_the_others() -> None:
    rows = values([2000, 2000, 600], (1000.0, np.nan), model=[0, 0, 1])
    assert expectations(rows).tolist() == pytest.approx([1000, 300])
    assert expectations(values([2000], (np.nan,))).tolist() == [2000]


@pytest.mark.parametrize(
    ("latency", "corrected", "factor"), [(2000, 0, 1), (2, 4, 1e-3), (2e6, 4, 1e3), (40_000, 0, 1)]
)
def test_a_single_unit_is_corrected_only_if_it_is_surely_wrong(latency: float, corrected: int, factor: float) -> None:
    rows = values([latency] * 4)
    found = in_one_unit(rows, expectations(rows))
    assert (found.corrected, found.factor) == (corrected, factor)
    assert found.latency_us.tolist() == pytest.approx([latency / factor] * 4)


def test_of_two_units_the_one_nearer_to_the_expectation_is_right() -> None:
    rows = values([2.0, 2.1, 1.9, 2000.0], count=[30, 30, 30, 10])
    found = in_one_unit(rows, expectations(rows))
    assert found.latency_us.tolist() == pytest.approx([2000, 2100, 1900, 2000])
    assert (found.corrected, found.factor) == (90, 1)


def test_the_largest_step_that_half_of_the_rows_are_multiples_of_is_found() -> None:
    assert rounding_steps(np.array([3000.0, 7000.0, 1234.5]), np.ones(3)).tolist() == [1000, 1000, 0]
    assert rounding_steps(np.array([20_000.0] * 30), np.ones(30)).max() == 1000  # one value does not show the step
    assert rounding_steps(np.arange(1, 31) * 10_000.0, np.ones(30)).max() == 10_000
    assert not rounding_steps(np.array([1234.5, 77.7]), np.ones(2)).any()


def test_models_that_agree_give_a_narrower_scale_than_models_that_do_not() -> None:
    assert scale_of([None]) is None
    agree, differ = (scale_of([belief(0.7 + i * step, 0.01) for i in (-1, 0, 1)]) for step in (0.0, 0.1))
    assert agree[0] == pytest.approx(np.exp(0.7), rel=0.01)
    assert agree[1] < agree[0] < agree[2]
    assert np.log(differ[2] / differ[1]) > 3 * np.log(agree[2] / agree[1])
