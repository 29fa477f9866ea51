"""A profile with costs in several precisions: what it allows, what it predicts for each, and how it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.latency_table import TERMS, LatencyTable, space_digest
from device_profiles.profile import SHIPPED_FOLDER, DeviceProfile, FoundProfile, find_profile
from device_profiles.profile_writer import write_profile
from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads
from factory_base.documents import parse_document
from factory_base.errors import ConfigError
from factory_base.quantities import WITH_UNITS

PHONE = find_profile("midrange", Path("nowhere"))


def only_in(precision: str) -> FoundProfile:
    """The profile with the costs of one precision alone."""
    profile = PHONE.profile.stating({precision: PHONE.profile.costs_in(precision)})
    return FoundProfile(profile=profile, origin="file phone.yaml", digest="")


def as_measured(profile: DeviceProfile) -> DeviceProfile:
    text = yaml.safe_dump(profile.model_dump(mode="json", by_alias=True, exclude_none=True, context=WITH_UNITS))
    for provenance in ("modelled", "assumed"):
        text = text.replace(f"provenance: {provenance}", "provenance: measured")
    return parse_document(yaml.safe_load(text), DeviceProfile, "measured")


@pytest.fixture(scope="module")
def workloads(chain_space) -> Workloads:
    return Workloads(chain_space)


def table_in(precision: str, space, us: float) -> LatencyTable:
    """A table in which every part takes `us`. The errors are made up."""
    workloads = Workloads(space)
    workloads.chain.trace_all()
    return LatencyTable.model_validate(
        {
            "space": space_digest(space), "engine": "onnxruntime", "engine_version": "1.0", "precision": precision,
            "threads": 2, "machine": "cpu", "measured_on": "2026-01-01", "repeatability_p95": 0.01, "constant_us": 5,
            "coefficients": [1, *[0] * (len(TERMS) - 1)], "fitted_networks": 6, "errors": None,
            "part_count": len(workloads.chain.parts),
            "parts": [
                {"id": p.id, "alone_us": us, "relative_std": 0.01, "measured": True} for p in workloads.chain.parts
            ],
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "allowed"),
    [
        (PHONE, ("fp32", "fp16", "int8", "int8_weights")),
        (only_in("fp32"), ("fp32", "fp16", "int8_weights")),
        (only_in("int8"), ("int8",)),
        (find_profile("flagship_npu", Path("nowhere")), ("int8",)),
    ],
)
def test_a_profile_allows_the_files_that_compute_in_a_precision_it_has_costs_for(found, allowed) -> None:
    assert found.profile.precisions == allowed


def test_costs_in_one_precision_are_stated_once() -> None:
    value = yaml.safe_load((SHIPPED_FOLDER / "midrange.yaml").read_text())
    value["more_costs"]["fp32"] = value["costs"]
    with pytest.raises(ConfigError, match=r"mine.yaml: .*more_costs has costs in fp32, .*; remove one of the two"):
        parse_document(value, DeviceProfile, "mine.yaml")


def test_each_precision_is_predicted_from_its_own_costs_and_has_its_own_file_size(workloads) -> None:
    space = workloads.model_space.space
    by_precision = {p: DeviceCosts(workloads, PHONE, p).of([space.largest])[0] for p in PHONE.profile.precisions}
    fp32, fp16, int8, weights = (by_precision[p] for p in ("fp32", "fp16", "int8", "int8_weights"))
    assert int8.latency_us < fp32.latency_us == fp16.latency_us == weights.latency_us
    assert int8.peak_memory_bytes < fp32.peak_memory_bytes == fp16.peak_memory_bytes == weights.peak_memory_bytes
    assert int8.energy_uj < fp32.energy_uj == fp16.energy_uj == weights.energy_uj
    assert len({costs.file_bytes for costs in by_precision.values()}) == 4
    assert fp16.file_bytes < fp32.file_bytes
    assert DeviceCosts(workloads, only_in("int8")).of([space.largest]) == [int8]
    assert DeviceCosts(workloads, PHONE).precision == "fp32"


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8_weights"])
def test_the_arcs_of_a_precision_sum_to_the_costs_of_its_networks(workloads, precision) -> None:
    costs, space = DeviceCosts(workloads, PHONE, precision), workloads.model_space.space
    vectors = encoded(space, [space.smallest, space.largest])
    sums, expected = costs.sum_of_arcs(costs.arcs(), vectors), costs.predict(vectors)
    assert sums.file_bytes.tolist() == expected.file_bytes.tolist()
    assert sums.latency_us == pytest.approx(expected.latency_us)
    assert sums.peak_memory_bytes == pytest.approx(expected.peak_memory_bytes)


@pytest.mark.parametrize(
    ("profile", "command"),
    [
        (only_in("fp32").profile, "factory profile --modelled midrange --precision int8"),
        (only_in("fp32").profile.model_copy(update={"name": "mine"}), "factory profile --modelled SHEET --precision"),
        (as_measured(only_in("fp32").profile), "factory profile --precision int8 --threads 2"),
    ],
)
def test_a_missing_precision_is_refused_with_the_command_that_adds_it(workloads, profile, command) -> None:
    found = FoundProfile(profile=profile, origin="file phone.yaml", digest="")
    with pytest.raises(ConfigError) as error:
        DeviceCosts(workloads, found, "int8")
    assert f"file phone.yaml: device profile {profile.name!r} has no costs in int8" in str(error.value)
    assert "only for files in fp32, fp16, int8_weights" in str(error.value)
    assert command in str(error.value)


def test_a_written_profile_is_found_with_a_table_for_each_precision(workloads, chain_space, tmp_path: Path) -> None:
    tables = [table_in("int8", chain_space, 3.0), table_in("fp32", chain_space, 7.0)]
    write_profile(PHONE.profile, tmp_path / "phone.yaml", tables)
    found = find_profile("phone.yaml", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "phone.int8.latency.json", "phone.latency.json", "phone.yaml",
    ]  # fmt: skip
    assert found.table == tables[1]
    assert found.for_files_in("int8").table == tables[0]
    (slow,), (fast,) = (DeviceCosts(workloads, found, p).of([chain_space.space.largest]) for p in ("fp32", "int8"))
    assert (slow.latency_us - 5) / (fast.latency_us - 5) == pytest.approx(7 / 3)
