"""Specifications of a family that are made from a profile, costs and a data set."""

from pathlib import Path

import numpy as np
import pytest

from device_profiles.costs import Costs
from device_profiles.profile import Selectors, find_profile
from exports.family.family import write_family
from exports.family.manifest import EXAMPLE_MANIFEST, parse_manifest, read_manifest
from exports.family.records import FORMAT_VERSION, Selector
from exports.family.specs import family_spec, model_spec, sample_rows, tier_ranks, tier_spec
from factory_base.errors import ManifestError
from factory_base.files import sha256_file
from supernet.data.types import LabelledImages, Splits
from supernet.space import Choice, SearchSpace

LABELS = ("cat", "dog", "owl", "yak")
SUBNET = SearchSpace((Choice(name="width", options=(4, 8)),)).largest


@pytest.fixture
def splits(spec):
    """A data set whose test labels are those of `spec`."""

    def part(labels):
        images = np.random.default_rng(0).integers(0, 256, (len(labels), 3, 16, 16)).astype(np.uint8)
        return LabelledImages(images=images, labels=np.asarray(labels, np.int64))

    return Splits(
        train=part([0, 1]), heldout=part([2]), test=part(spec.test_labels), class_names=LABELS,
        mean=(0.5, 0.45, 0.4), std=(0.25, 0.26, 0.27), digest="aa" * 32, test_digest="bb" * 32,
    )  # fmt: skip


def costs(latency_us: float, peak_memory_bytes: int) -> Costs:
    return Costs(latency_us=latency_us, peak_memory_bytes=peak_memory_bytes, file_bytes=1, macs=1234)


def profile(name: str):
    return find_profile(name, Path()).profile


@pytest.fixture
def model(spec):
    """The large model, with its costs on two devices."""
    large, predicted = spec.models[1], [(profile("speaker"), costs(0.2, 9)), (profile("midrange"), costs(7.6, 5))]
    return model_spec(large.artifact, large.evaluation, SUBNET, 99, predicted)


def test_a_model_has_a_latency_for_each_device_and_the_largest_memory(model):
    assert [(perf.device, perf.latency_us, perf.basis) for perf in model.perf] == [
        ("speaker", 1, "modelled"),
        ("midrange", 8, "modelled"),
    ]
    assert (model.macs, model.parameters, model.peak_memory_bytes, model.needs_basis) == (1234, 99, 9, "modelled")
    assert model.subnet_values == {"width": 8}


def test_a_tier_has_the_selectors_of_the_profile_in_mebibytes():
    tier = tier_spec(profile("speaker"), "large")
    assert (tier.id, tier.platform, tier.model_id) == ("speaker", "linux_iot", "large")
    assert tier.selectors == (Selector(platforms=("linux_iot",), ram_class_min=256, cores_min=2),)


def test_ranks_follow_the_demands_of_the_profiles_within_a_platform():
    names = ("flagship", "speaker", "lowend_3gb", "midrange", "flagship", "lowend_1gb")
    assert tier_ranks([tier_spec(profile(name), "") for name in names]) == (4, 1, 2, 3, 5, 1)


def test_a_family_takes_labels_normalisation_and_digests_from_the_data_set(built, splits, model, tmp_path):
    folder, _ = built
    (tmp_path / "supernet").write_bytes(b"weights")
    tiers = [tier_spec(profile("speaker"), model.artifact.model_id)]
    spec = family_spec("pets", splits, [model], tiers, checkpoint=tmp_path / "supernet", config={"a": 1}, release=3)
    assert (spec.labels, spec.mean_ppm, spec.std_ppm) == (
        LABELS,
        (500_000, 450_000, 400_000),
        (250_000, 260_000, 270_000),
    )
    assert spec.sample_images.shape == (8, 16, 16, 3)
    assert spec.provenance.supernet_sha256 == sha256_file(tmp_path / "supernet")
    (tmp_path / "models").mkdir()
    (tmp_path / model.artifact.path).write_bytes((folder / model.artifact.path).read_bytes())
    manifest = write_family(tmp_path, spec)
    assert [tier.id for tier in manifest.tiers] == ["floor", "speaker"]
    assert (manifest.family_id, manifest.release) == ("pets", 3)
    assert manifest.models["large"].quality.test_set_sha256 == "bb" * 32


def test_samples_show_as_many_classes_as_possible():
    labels = np.array([0] * 10 + [1] * 2 + [2, 1, 3])
    assert sample_rows(labels) == [0, 1, 2, 3, 4, 10, 12, 14]
    assert sample_rows(labels, count=2) == [0, 10]
    assert sample_rows(labels[:3]) == [0, 1, 2]


def test_the_example_manifest_is_of_the_present_format_and_sound():
    manifest = read_manifest(EXAMPLE_MANIFEST)
    assert (manifest.manifest_version, len(manifest.models), len(manifest.tiers)) == (FORMAT_VERSION, 2, 4)
    with pytest.raises(ManifestError):
        parse_manifest(EXAMPLE_MANIFEST.read_bytes()[:-9], "cut")


def test_selectors_of_devices_features_and_a_probe_reach_the_manifest():
    stated = {
        "device_include": [{"maker": "acme", "model": "x1"}],
        "device_exclude": [{"maker": "acme", "model": "x2"}],
        "features_all": ["neon"],
        "features_none": ["emulator"],
        "probe_min": {"id": "matmul", "score": 7},
    }
    profile = find_profile("midrange", Path()).profile
    selectors = Selectors.model_validate({"platform": "android", **stated})
    found = tier_spec(profile.model_copy(update={"selectors": selectors}), "large").selectors[0]
    assert found.model_dump(mode="json", exclude_none=True) == {"platforms": ["android"], **stated}
