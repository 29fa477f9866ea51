"""A new device from a few networks: its profile, its table, and the use of its uncertainty in budgets."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.cost_models.models import LatencyModel
from device_profiles.few_shot.network_tables import MeasuredNetworks
from device_profiles.few_shot.onboarding import Fleet
from device_profiles.latency_table import LatencyTable
from device_profiles.profile import find_profile
from device_profiles.profile_writer import write_profile
from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads
from factory_base.documents import parse_document
from factory_base.errors import ConfigError
from factory_base.progress import silent

KNOWN = ("browser", "flagship", "lowend_1gb", "speaker")
NETWORKS = 6
TODAY = date(2026, 3, 1)


@pytest.fixture
def workloads(chain_space) -> Workloads:
    return Workloads(chain_space)


@pytest.fixture
def fleet(workloads, tmp_path: Path) -> Fleet:
    found = Fleet(workloads, silent)
    for name in KNOWN:
        found.add_profile(find_profile(name, tmp_path))
    return found


def measured_on(workloads, folder: Path, count: int = NETWORKS, factor: float = 3.0) -> MeasuredNetworks:
    """Measurements of a device that is `factor` times as slow as `midrange`, which the fleet does not know."""
    rng, space = random.Random(1), workloads.model_space.space
    drawn = dict.fromkeys([space.smallest, space.largest])
    drawn |= dict.fromkeys(space.sample(rng) for _ in range(40))
    subnets = tuple(drawn)[:count]
    return MeasuredNetworks(subnets=subnets, latency_us=factor * midrange_us(workloads, subnets, folder), rows=count)


def midrange_us(workloads, subnets, folder: Path):
    return LatencyModel().predict([workloads.of(s) for s in subnets], find_profile("midrange", folder).profile)


def onboarded(fleet: Fleet, measured: MeasuredNetworks, folder: Path):
    """Return the new profile as a user gets it: written to a file and found again."""
    new = fleet.onboard(measured, find_profile("midrange", folder).profile, "phone", today=TODAY)
    write_profile(new.profile, folder / "phone.yaml", [new.table])
    return find_profile("phone.yaml", folder)


def all_subnets(space):
    rng = random.Random(5)
    return sorted({space.sample(rng) for _ in range(100)})


def test_a_few_networks_predict_all_others(fleet, workloads, tmp_path: Path) -> None:
    found = onboarded(fleet, measured_on(workloads, tmp_path), tmp_path)
    subnets = all_subnets(workloads.model_space.space)
    predicted = np.array([c.latency_us for c in DeviceCosts(workloads, found).of(subnets)])
    assert predicted == pytest.approx(3 * midrange_us(workloads, subnets, tmp_path), rel=0.1)


def test_the_profile_says_where_its_numbers_come_from(fleet, workloads, tmp_path: Path) -> None:
    profile = onboarded(fleet, measured_on(workloads, tmp_path), tmp_path).profile
    assert profile.latency_provenance == "few_shot"
    assert profile.costs.rows == NETWORKS
    assert profile.costs.latency_std.source == f"{NETWORKS} measured networks, prior of {', '.join(KNOWN)}"
    assert "midrange, latencies 3 times as long" in profile.costs.kernels["conv"].gbytes_per_s.source
    assert profile.budgets.confidence == 0.9


def test_the_profile_and_the_table_state_the_given_day(fleet, workloads, tmp_path: Path) -> None:
    found = onboarded(fleet, measured_on(workloads, tmp_path), tmp_path)
    assert found.profile.costs.measured_on == found.table.measured_on == TODAY


def test_few_networks_are_accepted_with_a_note_on_wide_intervals(fleet, workloads, tmp_path: Path) -> None:
    like = find_profile("midrange", tmp_path).profile
    few = fleet.onboard(measured_on(workloads, tmp_path, 2), like, "phone", today=TODAY)
    more = fleet.onboard(measured_on(workloads, tmp_path, 8), like, "phone", today=TODAY)
    assert few.notes[0].startswith("only 2 networks measured: intervals are wide")
    assert few.profile.costs.latency_std.value > more.profile.costs.latency_std.value
    assert few.table.errors is None
    assert more.table.errors.networks == 8


@pytest.mark.parametrize("speed", [1 / 30, 1 / 5, 1, 3, 30])
@pytest.mark.parametrize(
    ("column", "slip", "words"),
    [
        ("latency_ms", 1000, "look like us, not ms"),
        ("latency_ms", 0.001, "look like s, not ms"),
        ("latency_us", 1000, "look like ns, not us"),
        ("latency_s", 1e6, "look like us, not s"),
        ("latency_s", 0.001, "do not look like s"),
    ],
)
def test_a_wrong_unit_is_noticed_and_named_for_every_plausible_device(
    fleet, workloads, tmp_path: Path, speed: float, column: str, slip: float, words: str
) -> None:
    measured = replace(measured_on(workloads, tmp_path, factor=speed * slip), column=column)
    with pytest.raises(
        ConfigError, match=rf"column {column} are .* times those .* predicted for midrange: they {words};"
    ):
        onboarded(fleet, measured, tmp_path)


@pytest.mark.parametrize("speed", [1 / 30, 30])
def test_a_device_that_is_thirty_times_slower_or_faster_is_accepted(fleet, workloads, tmp_path, speed: float) -> None:
    subnet = workloads.model_space.space.largest
    (predicted,) = DeviceCosts(
        workloads, onboarded(fleet, measured_on(workloads, tmp_path, factor=speed), tmp_path)
    ).of([subnet])
    assert predicted.latency_us == pytest.approx(speed * midrange_us(workloads, [subnet], tmp_path)[0], rel=0.2)


def test_units_can_be_trusted_whatever_they_say(fleet, workloads, tmp_path: Path) -> None:
    like, measured = find_profile("midrange", tmp_path).profile, measured_on(workloads, tmp_path, factor=300.0)
    fleet.onboard(measured, like, "phone", today=TODAY, trust_units=True)
    fleet.add_measured("phone", measured, like, trust_units=True)
    with pytest.raises(ConfigError, match=r"the column latency_us are 300 times those .* --trust-units"):
        fleet.add_measured("phone", measured, like)


def test_one_network_in_another_unit_is_named(fleet, workloads, tmp_path: Path) -> None:
    measured = measured_on(workloads, tmp_path)
    measured.latency_us[3] /= 1000
    with pytest.raises(ConfigError, match=rf"network {measured.subnets[3].id}: .* is it in another unit"):
        onboarded(fleet, measured, tmp_path)


def test_the_deviation_of_a_written_table_is_that_of_the_posterior(fleet, workloads, tmp_path: Path) -> None:
    costs = DeviceCosts(workloads, onboarded(fleet, measured_on(workloads, tmp_path), tmp_path))
    known, *_ = measured_on(workloads, tmp_path).subnets
    (measured,) = costs.of([known])
    relative = [c.latency_std_us / c.latency_us for c in costs.of(all_subnets(workloads.model_space.space))]
    assert measured.latency_std_us / measured.latency_us < np.median(relative) < 0.5
    arrays = costs.predict(encoded(workloads.model_space.space, [known]))
    assert arrays.latency_std_us[0] == measured.latency_std_us


def test_arcs_bound_the_deviation_from_above(fleet, workloads, tmp_path: Path) -> None:
    found = onboarded(fleet, measured_on(workloads, tmp_path), tmp_path)
    costs, subnets = DeviceCosts(workloads, found), all_subnets(workloads.model_space.space)
    bound = costs.sum_of_arcs(costs.arcs(), encoded(workloads.model_space.space, subnets))
    for row, exact in enumerate(costs.of(subnets)):
        assert bound.latency_us[row] == pytest.approx(exact.latency_us)
        assert bound.latency_std_us[row] >= exact.latency_std_us * (1 - 1e-9)


def test_a_budget_with_a_confidence_counts_the_bound(fleet, workloads, tmp_path: Path) -> None:
    costs = DeviceCosts(workloads, onboarded(fleet, measured_on(workloads, tmp_path), tmp_path))
    (found,) = costs.of([workloads.model_space.space.largest])
    bound = found.latency_us + NormalDist().inv_cdf(0.9) * found.latency_std_us
    limit = f"{round((found.latency_us + bound) / 2)} us"
    assert not Budgets(latency=limit).excesses(found)
    (excess,) = Budgets(latency=limit, confidence="90 %").excesses(found)
    assert excess.value == pytest.approx(bound)
    assert "(with 90 %) exceeds" in excess.describe()
    assert found.kept_probability(bound) == pytest.approx(0.9)


@pytest.mark.parametrize("confidence", ["20 %", "100 %"])
def test_a_confidence_that_is_out_of_range_is_refused(confidence: str) -> None:
    with pytest.raises(ValueError, match=r"is outside the allowed range, 50 % to 99\.9 %"):
        Budgets(latency="8 ms", confidence=confidence)


def test_a_target_may_require_another_confidence() -> None:
    both = Budgets(latency="8 ms", confidence="90 %").overridden_by(Budgets(latency="5 ms"))
    assert (both.latency_us, both.confidence) == (5000, 0.9)
    assert both.overridden_by(Budgets(confidence="99 %")).limits()[0].describe() == "latency <= 5 ms with 99 %"


def test_suggestions_exclude_what_is_measured(fleet, tmp_path: Path) -> None:
    like = find_profile("midrange", tmp_path).profile
    first = fleet.suggest(5, like)
    assert len(set(first)) == 5
    measured = MeasuredNetworks(subnets=tuple(first), latency_us=np.full(5, 1e3), rows=5)
    assert not set(fleet.suggest(3, like, measured)) & set(first)


def test_imported_tables_are_devices_too(workloads, tmp_path: Path) -> None:
    found, like = Fleet(workloads, silent), find_profile("speaker", tmp_path).profile
    for index, factor in enumerate((1.0, 2.0, 5.0)):
        found.add_measured(f"device{index}", measured_on(workloads, tmp_path, 30, factor), like)
    new = onboarded(found, measured_on(workloads, tmp_path, 5, 3.0), tmp_path)
    subnets = all_subnets(workloads.model_space.space)
    predicted = np.array([c.latency_us for c in DeviceCosts(workloads, new).of(subnets)])
    assert predicted == pytest.approx(3 * midrange_us(workloads, subnets, tmp_path), rel=0.1)


def test_without_known_devices_or_a_chain_onboarding_is_refused(tiny_space, workloads, tmp_path: Path) -> None:
    like = find_profile("midrange", tmp_path).profile
    with pytest.raises(ConfigError, match="no known device to start from; name profiles or measured tables"):
        Fleet(workloads, silent).suggest(3, like)
    with pytest.raises(ConfigError, match="TinySpace is not a chain of parts"):
        Fleet(Workloads(tiny_space), silent)


@pytest.mark.parametrize("field", ["shared_us", "learnt_us"])
def test_uncertainties_of_unequal_length_are_refused(fleet, workloads, tmp_path: Path, field: str) -> None:
    like = find_profile("midrange", tmp_path).profile
    value = fleet.onboard(measured_on(workloads, tmp_path), like, "phone", today=TODAY).table.model_dump(mode="json")
    value["uncertainty"][field][2] = value["uncertainty"][field][2][:-1]
    with pytest.raises(ConfigError, match="the rows of its uncertainty differ in length"):
        parse_document(value, LatencyTable, "phone.latency.json")


def test_a_truncated_uncertainty_is_noticed(fleet, workloads, tmp_path: Path) -> None:
    like = find_profile("midrange", tmp_path).profile
    table = fleet.onboard(measured_on(workloads, tmp_path), like, "phone", today=TODAY).table
    content = table.model_dump(mode="json")
    content["uncertainty"]["own_us"].pop()
    with pytest.raises(ValueError, match=r"its uncertainty does not cover the \d+ parts and the constant"):
        type(table).model_validate(content)
