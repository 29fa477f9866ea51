"""The empirical-Bayes update on devices that are drawn from a known population."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device_profiles.few_shot.posterior import KnownDevice, fit_costs, fit_prior, stretch_of, suggest, update

PLACES, OPTIONS, NETWORKS = 8, 4, 400
COLUMNS = PLACES * OPTIONS + 1


def designs(count: int, seed: int):
    """(count, COLUMNS): one random option at each place, and the constant."""
    options = np.random.default_rng(seed).integers(0, OPTIONS, (count, PLACES))
    rows = np.zeros((count, COLUMNS))
    for place in range(PLACES):
        rows[np.arange(count), place * OPTIONS + options[:, place]] = 1
    rows[:, -1] = 1
    return rows


def population(count: int, seed: int = 0):
    """Yield costs of devices that differ in scale, along two directions, and a little in each column."""
    rng = np.random.default_rng(seed)
    mean = np.append(rng.uniform(20, 200, COLUMNS - 1), 50.0)
    directions = np.random.default_rng(99).normal(0, 0.25, (2, COLUMNS))
    for _ in range(count):
        tilt = 1 + rng.normal(size=2) @ directions + rng.normal(0, 0.02, COLUMNS)
        yield np.exp(rng.normal(0, 1)) * mean * np.maximum(tilt, 0.1)


def device(costs, seed: int = 1, noise: float = 0.01) -> KnownDevice:
    design = designs(NETWORKS, seed)
    latency_us = design @ costs * (1 + noise * np.random.default_rng(seed).normal(size=NETWORKS))
    return KnownDevice(name="one", costs_us=costs, design=design, latency_us=latency_us)


@pytest.fixture(scope="module")
def known() -> list[KnownDevice]:
    return [device(costs, seed) for seed, costs in enumerate(population(12))]


@pytest.fixture(scope="module")
def new() -> list[KnownDevice]:
    """Devices of the same population that are not in `known`."""
    return [device(costs, 50 + seed) for seed, costs in enumerate(population(20)) if seed >= 12]


def errors(prior, one: KnownDevice, chosen) -> float:
    mean, _ = update(prior, one.design[chosen], one.latency_us[chosen]).predict(one.design)
    return float(np.mean(np.abs(mean / (one.design @ one.costs_us) - 1)))


def test_ten_networks_predict_a_device_that_one_network_does_not(known, new) -> None:
    prior = fit_prior(known)
    one = np.mean([errors(prior, d, [0]) for d in new])
    ten = np.mean([errors(prior, d, range(10)) for d in new])
    assert ten < 0.03 < one


def test_a_prior_beats_ridge_from_scratch_with_as_many_networks(known, new) -> None:
    prior = fit_prior(known)
    for one in new:
        chosen = slice(10)
        level = np.full(COLUMNS, one.latency_us[chosen].mean() / (PLACES + 1))
        scratch = one.design @ fit_costs(one.design[chosen], one.latency_us[chosen], level, own=1.0)
        assert errors(prior, one, chosen) < np.mean(np.abs(scratch / (one.design @ one.costs_us) - 1))


def test_ninety_percent_of_what_is_not_measured_stays_below_its_bound(known, new) -> None:
    prior = fit_prior(known)
    stretch = stretch_of(known, prior, 8)
    below = []
    for one in new:
        mean, std = update(prior, one.design[:8], one.latency_us[:8], stretch).predict(one.design[8:])
        below.append(np.mean(one.latency_us[8:] <= mean + 1.2816 * std))
    assert 0.8 < np.mean(below) <= 1


def test_fewer_networks_leave_wider_intervals(known, new) -> None:
    prior = fit_prior(known)
    spreads = []
    for count in (1, 3, 10):
        mean, std = update(prior, new[0].design[:count], new[0].latency_us[:count]).predict(new[0].design)
        spreads.append(np.median(std / mean))
    assert spreads[0] > spreads[1] > spreads[2]


def test_the_scale_of_a_device_makes_no_difference(known, new) -> None:
    prior, one = fit_prior(known), new[0]
    mean, std = update(prior, one.design[:6], one.latency_us[:6]).predict(one.design)
    slower, wider = update(prior, one.design[:6], 37 * one.latency_us[:6]).predict(one.design)
    assert slower == pytest.approx(37 * mean)
    assert wider == pytest.approx(37 * std)


def test_suggested_networks_are_more_informative_than_random_ones(known) -> None:
    prior, pool = fit_prior(known), designs(300, 7)
    chosen = suggest(prior, pool, 4)
    assert len(set(chosen)) == 4

    def remaining(rows) -> float:
        _, std = update(prior, pool[rows], pool[rows] @ prior.mean).predict(pool)
        return float(np.sum((std / (pool @ prior.mean)) ** 2))

    rng = np.random.default_rng(0)
    random = [remaining(rng.choice(300, 4, replace=False)) for _ in range(20)]
    assert remaining(chosen) < min(random)


def test_a_suggestion_does_not_repeat_what_is_measured(known) -> None:
    prior, pool = fit_prior(known), designs(300, 7)
    first = suggest(prior, pool, 3)
    assert suggest(prior, pool, 2, pool[first]) == suggest(prior, pool, 5)[3:]


def test_few_or_modelled_devices_leave_a_new_one_free(known) -> None:
    modelled = [replace(device, measured=False) for device in known]
    for devices in (known[:2], modelled):
        prior = fit_prior(devices)
        assert prior.freedom.own == 0.2
        assert stretch_of(devices, prior, 5) == 1.5


def test_many_networks_give_the_costs_of_a_device_whatever_the_start(known) -> None:
    one = known[0]
    start = np.full(COLUMNS, one.latency_us.mean() / (PLACES + 1))
    fitted = one.design @ fit_costs(one.design, one.latency_us, start, own=1.0)
    assert fitted == pytest.approx(one.design @ one.costs_us, rel=0.02)
