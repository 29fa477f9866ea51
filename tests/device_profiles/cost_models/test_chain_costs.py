"""Costs of chains: the sums over parts equal the costs of whole networks, one by one and by the thousand."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.cost_models.models import costs_of
from device_profiles.latency_table import TERMS, LatencyTable, read_table, space_digest, write_table
from device_profiles.profile import FoundProfile, find_profile
from device_profiles.workload.parts import ChainParts, encoded
from device_profiles.workload.workloads import Workloads, workload_of
from factory_base.errors import ConfigError, SpaceError
from factory_base.files import sha256_file
from supernet.spaces import make_model_space
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.spaces.ofa_config import OfaMbv3Config, OfaProxylessConfig
from supernet.spaces.published_config import EfficientNetLite0Config
from supernet.spaces.transformer_config import VisionTransformerConfig

STAGE = {"widths": [8, 16], "depths": [1, 2], "kernels": [3, 5], "expands": [2, 4], "squeeze_excite": True}
CONFIGS = {
    "efficientnet_lite0": EfficientNetLite0Config(resolutions=(40, 64)),
    "mobilenet": MobileNetConfig.model_validate(
        {"resolutions": [16, 24], "stem_width": 8, "stages": [STAGE, {**STAGE, "stride": 2}], "head_width": 32}
    ),
    "ofa_mbv3": OfaMbv3Config(resolutions=(64,), width_mult=0.25),
    "ofa_proxyless": OfaProxylessConfig(resolutions=(64,), width_mult=0.25),
    "vit": VisionTransformerConfig.model_validate(
        {"resolutions": [16, 32], "patch": 8, "widths": [16, 32], "depths": [1, 2], "heads": [1, 2],
         "mlp_ratios": [1, 2], "head_dim": 8}
    ),
}  # fmt: skip


@pytest.fixture(params=CONFIGS)
def any_space(request: pytest.FixtureRequest):
    return make_model_space(CONFIGS[request.param], 5)


@pytest.fixture
def space():
    return make_model_space(CONFIGS["mobilenet"], 5)


@pytest.fixture
def phone() -> FoundProfile:
    return find_profile("midrange", Path("nowhere"))


def some(space, count: int):
    rng = random.Random(0)
    return [space.space.smallest, space.space.largest, *(space.space.sample(rng) for _ in range(count))]


def test_the_parts_of_a_network_add_up_to_it(any_space) -> None:
    workloads = Workloads(any_space)
    for subnet in some(any_space, 4):
        assert workloads.of(subnet) == workload_of(any_space, subnet)


def test_costs_by_part_equal_costs_of_whole_networks(space, phone) -> None:
    subnets = some(space, 20)
    whole = costs_of([workload_of(space, subnet) for subnet in subnets], phone.profile)
    for found, expected in zip(DeviceCosts(Workloads(space), phone).of(subnets), whole, strict=True):
        assert found.latency_us == pytest.approx(expected.latency_us)
        assert (found.peak_memory_bytes, found.file_bytes, found.macs) == (
            expected.peak_memory_bytes, expected.file_bytes, expected.macs,
        )  # fmt: skip


def test_the_costs_of_a_network_are_bitwise_independent_of_its_batch(space, phone) -> None:
    costs, subnets = DeviceCosts(Workloads(space), phone), some(space, 10)
    assert costs.of(subnets) == [costs.of([subnet])[0] for subnet in subnets]
    assert costs.of([]) == []


def test_every_part_of_the_space_is_enumerated(space) -> None:
    chain, seen = ChainParts(space), ChainParts(space)
    chain.trace_all()
    seen.rows(encoded(space.space, [space.space.sample(random.Random(i)) for i in range(400)]))
    assert {part.id for part in seen.parts} <= {part.id for part in chain.parts}
    assert all((chain.arcs(place)[1] >= 0).all() for place in range(len(chain.links)))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [(np.zeros((2, 3), int), "vectors of shape .* do not belong to this space"),
     (None, r"choice 'resolution': an index is outside 0..1")],
)  # fmt: skip
def test_vectors_that_are_not_subnets_are_refused(space, phone, vectors, message: str) -> None:
    if vectors is None:
        vectors = np.zeros((2, len(space.space.choices)), int)
        vectors[1, 0] = 2
    with pytest.raises(SpaceError, match=message):
        DeviceCosts(Workloads(space), phone).predict(vectors)


def table_for(space, **changes) -> LatencyTable:
    """A table in which every part takes 10 us, and 2 us more in a network. The errors are made up."""
    chain = ChainParts(space)
    chain.trace_all()
    parts = [{"id": p.id, "alone_us": 10.0, "relative_std": 0.01, "measured": True} for p in chain.parts]
    value = {
        "space": space_digest(space), "engine": "onnxruntime", "engine_version": "1.0", "precision": "fp32",
        "threads": 4, "machine": "cpu", "measured_on": "2026-01-01", "repeatability_p95": 0.01, "constant_us": 5.0,
        "coefficients": [1.0, 2.0, *[0.0] * (len(TERMS) - 2)], "fitted_networks": 6,
        "errors": {"networks": 2, "mape": 0.01, "within_5": 1, "within_10": 1, "spearman": 1},
        "part_count": len(parts), "parts": parts,
    }  # fmt: skip
    return LatencyTable.model_validate(value | changes)


def with_table(phone: FoundProfile, table: LatencyTable) -> FoundProfile:
    return FoundProfile(profile=phone.profile, origin="file x.yaml", digest="", tables={phone.profile.precision: table})


def test_a_table_replaces_the_kernels(space, phone) -> None:
    costs = DeviceCosts(Workloads(space), with_table(phone, table_for(space, threads=phone.profile.threads)))
    small, large = costs.of([space.space.smallest, space.space.largest])
    assert small.latency_us == pytest.approx(5 + 4 * 12)
    assert large.latency_us == pytest.approx(5 + 6 * 12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "another"}, "its latency table belongs to another model space; measure it again"),
        ({"engine": "mnn"}, "states engine onnxruntime, but its latency table has mnn"),
        ({"precision": "int8"}, "states precision fp32, but its latency table has int8"),
        ({"threads": 1000}, "its latency table has 1000"),
    ],
)
def test_a_table_that_does_not_match_is_refused_with_the_difference(space, phone, changes, message: str) -> None:
    table = table_for(space, threads=phone.profile.threads).model_copy(update=changes)
    with pytest.raises(ConfigError, match=message):
        DeviceCosts(Workloads(space), with_table(phone, table))


def damaged(space, tmp_path: Path, change) -> Path:
    path = tmp_path / "host.latency.json"
    write_table(table_for(space), path)
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("latency", [-1.0, 0.0, 1e13])
def test_invalid_latencies_are_refused(space, tmp_path: Path, latency: float) -> None:
    path = damaged(space, tmp_path, lambda value: value["parts"][3].update(alone_us=latency))
    with pytest.raises(
        ConfigError, match=r"host.latency.json: 'parts.3.alone_us': must be from 1e-12 to 1000000000000, got"
    ):
        read_table(path, sha256_file(path))


@pytest.mark.parametrize(
    ("number", "words"),
    [("NaN", "NaN is not a number"), ("1e999", "is too large"), ("9" * 5000, "exceeds 64 bits"), ("[" * 99, "deeper")],
)
def test_numbers_that_json_does_not_have_are_refused(space, tmp_path: Path, number: str, words: str) -> None:
    path = damaged(space, tmp_path, lambda value: value.update(constant_us="here"))
    path.write_text(path.read_text().replace('"here"', number))
    with pytest.raises(ConfigError, match=rf"{words}.*; the latency table is damaged, measure again"):
        read_table(path, sha256_file(path))


def test_a_truncated_table_is_noticed(space, tmp_path: Path) -> None:
    path = damaged(space, tmp_path, lambda value: value.update(parts=value["parts"][::2]))
    with pytest.raises(ConfigError, match=r"has \d+ of \d+ parts: the file is truncated; measure again"):
        read_table(path, sha256_file(path))
    path.write_text(path.read_text()[: len(path.read_text()) // 2])
    with pytest.raises(ConfigError, match=r"is not valid JSON .* the latency table is damaged, measure again"):
        read_table(path, sha256_file(path))


def test_a_table_that_is_missing_or_another_is_noticed(space, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="latency table is missing; put it beside the profile"):
        read_table(tmp_path / "none.json", "0" * 64)
    write_table(table_for(space), tmp_path / "t.json")
    with pytest.raises(ConfigError, match="this is not the table that the profile was written with"):
        read_table(tmp_path / "t.json", "0" * 64)
