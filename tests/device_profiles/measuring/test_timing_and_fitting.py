"""Latencies from interleaved visits, and the fits to them, on simulated times."""

from statistics import median

import numpy as np
import pytest

from device_profiles.measuring.fitting import fit_correction, fit_latency
from device_profiles.measuring.timing import Timing, summarise, visit

RNG_SEED = 0


def summarised(rounds) -> Timing:
    """The summary of rounds that each visit the models in another order."""
    rng = np.random.default_rng(RNG_SEED)
    times = np.asarray(rounds)
    return summarise(times.tolist(), [rng.permutation(times.shape[1]).tolist() for _ in times])


class Sleeper:
    """A session that takes a given time and records its calls."""

    def __init__(self, seconds: float, calls: list[float]) -> None:
        self._seconds = seconds
        self._calls = calls

    def run(self, batch):
        import time

        time.sleep(self._seconds)
        self._calls.append(self._seconds)
        return batch

    def peak_memory_bytes(self) -> None:
        return None


def test_a_common_drift_of_the_machine_is_removed() -> None:
    true = np.array([100.0, 250.0, 900.0])
    drift = np.array([1.0, 1.0, 1.4, 1.0, 0.8, 1.0, 1.6, 1.0])
    timing = summarised(np.outer(drift, true))
    assert timing.latency_us == pytest.approx(true)
    assert timing.repeatability_p95() == pytest.approx(0, abs=1e-9)


def test_a_drift_within_the_rounds_is_removed_and_noise_of_single_visits_stays() -> None:
    rng = np.random.default_rng(RNG_SEED)
    true = rng.uniform(100, 5000, 60)
    orders = [rng.permutation(60).tolist() for _ in range(20)]
    waves = 1 + 0.5 * np.sin(np.arange(20 * 60) / 40).reshape(20, 60) ** 2  # 1 to 1.5, within some rounds
    drift = np.empty((20, 60))
    for row, order in enumerate(orders):
        drift[row, order] = waves[row]
    found = summarise((true * drift).tolist(), orders)
    assert found.latency_us / np.median(found.latency_us / true) == pytest.approx(true, rel=0.06)
    assert found.repeatability_p95() < 0.03
    noise = rng.lognormal(0, 0.1, (20, 60))
    noisy = summarise((true * drift * noise).tolist(), orders)
    independent = summarise((true * noise).tolist(), orders)
    assert noisy.repeatability_p95() == pytest.approx(independent.repeatability_p95(), rel=0.4)
    odd, even = np.median(noise[1::2], axis=0), np.median(noise[::2], axis=0)
    plain = np.percentile(2 * np.abs(odd - even) / (odd + even), 95)
    assert independent.repeatability_p95() > 0.8 * plain


def test_one_model_has_no_neighbours_that_show_a_drift() -> None:
    timing = summarised([[100.0], [120.0], [100.0], [120.0]])
    assert timing.latency_us == pytest.approx([110])
    assert timing.repeatability_p95() > 0.15


def test_a_single_disturbed_visit_does_not_count() -> None:
    rounds = np.tile([100.0, 250.0, 900.0], (8, 1))
    rounds[3, 1] = 5000
    assert summarised(rounds).latency_us == pytest.approx([100, 250, 900])


def test_independent_noise_shows_in_the_repeatability() -> None:
    noise = np.random.default_rng(RNG_SEED).lognormal(0, 0.8, (8, 20))
    assert summarised(100 * noise).repeatability_p95() > 0.3


def test_a_visit_warms_up_and_runs_a_quick_model_more_often() -> None:
    calls: list[float] = []
    batch = np.zeros((1, 1), np.float32)
    slow = visit(Sleeper(0.004, calls), batch)
    # on a busy machine any visit may be slow
    quick = max((visit(Sleeper(0.00005, calls), batch) for _ in range(10)), key=len)
    assert len(slow) == 3 < len(quick)
    assert calls.count(0.004) == 4
    assert median(quick) < median(slow)


def test_a_machine_that_gets_slower_is_noticed_whatever_its_latencies() -> None:
    drift = [1.0, 1.0, 1.0, 1.1, 1.5, 1.5, 1.6, 1.5, 1.5]
    assert summarised(np.outer(drift, [100.0, 300.0])).slowdown == pytest.approx(1.5)


def test_the_correction_finds_what_the_sum_of_parts_lacks() -> None:
    rng = np.random.default_rng(RNG_SEED)
    sums = np.column_stack([rng.uniform(100, 1000, 40), rng.integers(4, 20, 40), rng.uniform(1, 50, 40)])
    latency = 30 + 0.9 * sums[:, 0] + 2.0 * sums[:, 1]
    constant, coefficients = fit_correction(sums, latency)
    assert constant + sums @ coefficients == pytest.approx(latency, rel=0.01)


def test_few_networks_correct_little() -> None:
    sums = np.array([[100.0, 5, 1], [200.0, 7, 3], [400.0, 9, 2]])
    constant, coefficients = fit_correction(sums, sums[:, 0])
    assert constant == pytest.approx(0, abs=1)
    assert coefficients == pytest.approx([1, 0, 0], abs=0.05)


def networks(count: int, columns: int) -> np.ndarray:
    return np.random.default_rng(RNG_SEED).uniform(10, 100, (count, columns))


def test_the_fit_finds_the_coefficients_behind_exact_times() -> None:
    features, prior = networks(40, 4), np.array([1.0, 1.0, 2.0, 0.5])
    true = np.array([0.5, 3.0, 1.0, 0.6])
    fitted = fit_latency(features, features @ true, prior)
    assert fitted == pytest.approx(true, rel=0.1)
    assert features @ fitted == pytest.approx(features @ true, rel=0.02)


def test_columns_never_seen_follow_the_common_scale_of_the_prior() -> None:
    features, prior = networks(20, 3), np.array([1.0, 2.0, 5.0])
    features[:, 2] = 0
    fitted = fit_latency(features, features @ (3 * prior), prior)
    assert fitted == pytest.approx(3 * prior, rel=1e-6)


def test_every_coefficient_stays_positive() -> None:
    features, prior = networks(20, 3), np.ones(3)
    fitted = fit_latency(features, features[:, 0] * 2, prior)
    assert (fitted > 0).all()
    assert fitted[0] == pytest.approx(2, rel=0.1)


def test_few_networks_lean_on_the_prior() -> None:
    features, prior = networks(2, 6), np.arange(1.0, 7.0)
    assert fit_latency(features, features @ prior, prior) == pytest.approx(prior, rel=0.05)
