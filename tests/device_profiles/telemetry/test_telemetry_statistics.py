"""Scales, medians and intervals of simulated devices whose true values are known."""

import numpy as np
import pytest
from simulated_rows import DIGESTS, EXPECTED, coverage, device_of, errors, frame, many, measured, runs


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize(
    ("how", "worst_median"),
    [
        ({}, 0.01),
        ({"outliers": 0.2}, 0.01),
        ({"step_us": 1000.0}, 0.01),
        ({"step_us": 1000.0, "noise": 0.03}, 0.01),
        ({"hot": 0.35}, 0.015),
        ({"hot": 0.35, "step_us": 1000.0}, 0.015),
        ({"shape": "tail", "noise": 0.2}, 0.02),
        ({"rows": 12}, 0.05),
    ],
)
def test_the_scale_is_found_and_its_interval_covers_the_truth_as_often_as_it_says(how, worst_median, rng, tmp_path):
    scales, devices = many(rng, tmp_path, **how)
    assert np.median(errors(scales, devices)) < worst_median
    assert 0.87 <= coverage(scales, devices) <= 1  # 95 % of 60 devices are 57; two standard deviations are 3.4


def test_intervals_of_medians_cover_the_true_medians(rng, tmp_path):
    scales, devices = many(rng, tmp_path, devices=100)
    inside = [
        model.low_us <= scale * EXPECTED[model.model] <= model.high_us
        for scale, device in zip(scales, devices, strict=True)
        for model in device.models
    ]
    assert len(inside) == 400
    assert 0.92 <= np.mean(inside) <= 0.98


def test_intervals_allow_for_models_that_deviate_on_their_own(rng, tmp_path):
    inside = []
    for _ in range(60):
        model, latency = runs(rng, 2.0)
        own = np.exp(rng.normal(0, 0.06, len(EXPECTED)))
        scale = device_of(frame(model, latency * own[model]), tmp_path).scale
        inside.append(scale.low <= 2.0 <= scale.high)
    assert 0.87 <= np.mean(inside) <= 1


def test_few_rows_give_a_wide_interval_and_a_note(rng, tmp_path):
    few, many_rows = (device_of(frame(*runs(rng, 2.0, rows, outliers=0)), tmp_path) for rows in (3, 3000))
    assert few.scale.rows == few.rows == 3
    assert "only 3 rows, so the interval is wide" in few.notes
    assert np.log(few.scale.high / few.scale.low) > 10 * np.log(many_rows.scale.high / many_rows.scale.low)


def test_a_single_row_is_enough_for_a_wide_answer(tmp_path):
    device = device_of(frame([1], [3200.0]), tmp_path)
    assert device.scale.low < 1.8 < 2.2 < device.scale.high
    assert (device.rows, device.rows_used, device.scale.models) == (1, 1, 1)


def test_small_latencies_in_whole_milliseconds_are_taken_as_intervals(rng, tmp_path):
    device = device_of(frame(*runs(rng, 1.5, step_us=1000.0)), tmp_path)
    smallest = next(model for model in device.models if model.model == DIGESTS[0])
    assert device.step_us == 1000
    assert "latencies are rounded to 1 ms" in device.notes
    assert smallest.cold_us == pytest.approx(1350, rel=0.03)
    assert smallest.low_us <= 1350 <= smallest.high_us


def test_rounding_down_is_stated_by_the_caller(rng, tmp_path):
    model, latency = runs(rng, 1.5)
    rows = frame(model, np.floor(latency / 1000) * 1000)
    assert device_of(rows, tmp_path, rounding="down").scale.value == pytest.approx(1.5, rel=0.02)
    assert device_of(rows, tmp_path, rounding="nearest").scale.value < 1.46


def test_zeros_count_as_small_values_only_if_latencies_are_rounded(rng, tmp_path):
    model, latency = runs(rng, 0.5, step_us=1000.0)
    rounded = device_of(frame(model, latency), tmp_path)
    assert (latency == 0).mean() > 0.1
    assert "zero" not in rounded.dropped
    model, latency = runs(rng, 0.5)
    exact = device_of(frame(model, np.where(model == 0, 0.0, latency)), tmp_path)
    assert exact.dropped["zero"] == (model == 0).sum()
    assert exact.scale.models == 3


def test_throttling_is_stated_beside_the_cold_scale(rng, tmp_path):
    device = device_of(frame(*runs(rng, 2.0, rows=2000, hot=0.4, factor=1.6)), tmp_path)
    assert device.scale.value == pytest.approx(2.0, rel=0.02)
    assert device.throttling.share == pytest.approx(0.4, abs=0.04)
    assert device.throttling.factor == pytest.approx(1.6, rel=0.03)
    assert any(note.startswith("throttled in 4") for note in device.notes)
    assert all(model.cold_us < model.latency_us for model in device.models)


@pytest.mark.parametrize("how", [{}, {"outliers": 0.2}, {"noise": 0.25}, {"shape": "tail", "noise": 0.3}])
def test_one_mode_is_not_taken_for_throttling(how, rng, tmp_path):
    _, devices = many(rng, tmp_path, devices=30, **how)
    assert sum(device.throttling is not None for device in devices) <= 1


def test_if_slow_runs_may_be_throttling_or_noise_the_interval_allows_for_both(rng, tmp_path):
    device = device_of(frame(*runs(rng, 2.0, rows=4000, hot=0.3, factor=1.2)), tmp_path)
    assert "slow runs may be throttling or noise; the interval of the scale allows for both" in device.notes
    assert device.scale.low < 2.0 < device.scale.value < device.scale.high
    assert device.throttling is None


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_rows_in_another_unit_are_corrected_and_counted(share, factor, rng, tmp_path):
    model, latency = runs(rng, 2.0, outliers=0)
    wrong = rng.random(len(latency)) < share
    device = device_of(frame(model, np.where(wrong, latency * factor, latency)), tmp_path)
    assert device.scale.value == pytest.approx(2.0, rel=0.02)
    assert device.corrected_rows == wrong.sum()
    assert f"{wrong.sum()} rows in another unit, off by 1000; corrected" in device.notes


def test_a_device_whose_rows_are_all_in_another_unit_is_corrected_with_a_note(rng, tmp_path):
    model, latency = runs(rng, 2.0)
    device = device_of(frame(model, latency / 1000), tmp_path)
    assert device.scale.value == pytest.approx(2.0, rel=0.02)
    assert "all latencies were 1000 times too small for what is expected; corrected" in device.notes


def test_a_device_that_may_really_be_forty_times_slower_is_left_alone(rng, tmp_path):
    device = device_of(frame(*runs(rng, 40.0)), tmp_path)
    assert device.scale.value == pytest.approx(40.0, rel=0.02)
    assert device.corrected_rows == 0
    assert any("times what is expected: kept as they are; check the unit" in note for note in device.notes)


@pytest.mark.parametrize("scale", [41_234.567, 4e7, 2e-5])
def test_a_device_that_is_off_by_more_than_any_unit_explains_is_reported_as_it_is(scale, rng, tmp_path):
    model, latency = runs(rng, 1.0)
    device = device_of(frame(model, scale * latency), tmp_path)
    assert device.scale.value == pytest.approx(scale, rel=0.02)
    assert device.corrected_rows == 0


def test_unknown_models_are_measured_and_named_but_give_no_scale(rng, tmp_path):
    rows = frame(*runs(rng, 2.0))
    telemetry = measured(rows, tmp_path, expected={DIGESTS[0]: 900.0})
    (device,) = telemetry.devices
    assert telemetry.unknown_models == {digest: (rows["model"] == digest).sum() for digest in DIGESTS[1:]}
    assert [model.known for model in device.models] == [True, False, False, False]
    assert device.models[2].latency_us == pytest.approx(8400, rel=0.03)
    assert (device.scale.models, device.scale.value) == (1, pytest.approx(2.0, rel=0.03))


def test_without_expectations_there_are_medians_and_no_scale(rng, tmp_path):
    device = device_of(frame(*runs(rng, 2.0)), tmp_path, expected={})
    assert device.scale is None
    assert [model.latency_us for model in device.models] == pytest.approx([1800, 3200, 8400, 30000], rel=0.03)


def test_telemetry_survives_a_round_trip_and_its_rows_add_up(rng, tmp_path):
    telemetry = measured(frame(*runs(rng, 2.0, outliers=0.2)), tmp_path)
    again = type(telemetry).model_validate_json(telemetry.model_dump_json())
    assert again == telemetry
    model = again.devices[0].models[0]
    assert model.rows == model.rows_used + model.outliers
    assert 0.1 < model.outliers / model.rows < 0.3
