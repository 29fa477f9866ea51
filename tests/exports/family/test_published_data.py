"""What a family publishes of the user's data, and that it is verified and compared all the same."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from exports.family.blocks import block_bytes, file_blocks
from exports.family.diff import Limits, diff_families
from exports.family.evaluations import evaluation_of
from exports.family.family import write_family
from exports.family.manifest import read_manifest
from exports.family.records import PlatformFloor
from exports.family.specs import Publish
from exports.family.verify import verify_family
from factory_base.errors import ManifestError
from factory_base.files import sha256_bytes

NOTHING = Publish(samples="none")


@pytest.fixture(params=["make_family", "make_pixel_family"])
def make(request):
    return request.getfixturevalue(request.param)


def test_by_default_no_image_label_or_prediction_of_the_user_is_published(make):
    folder = make(publish=Publish())
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert kinds == {".onnx", ".json", ".bin"}
    assert not (folder / "evaluation").exists()
    assert read_manifest(folder).samples.kind == "tensors"


def test_models_are_verified_on_invented_tensors(make, process):
    folder = make(publish=Publish())
    report = verify_family(folder, process)
    assert report.ok
    assert sum("same top-1 on 8 of 8" in check.detail for check in report.checks) == 2


def test_another_model_under_the_right_digest_fails_on_invented_tensors(make, process):
    folder = make(publish=Publish())
    samples = read_manifest(folder).samples
    path = folder / samples.expected.name
    expected = json.loads(path.read_text())
    expected["small"]["logits_micro"][3][0] += expected["small"]["tolerance_micro"] * 2
    data = json.dumps(expected).encode()
    path.write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["samples"]["expected"] |= {"bytes": len(data), "sha256": sha256_bytes(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert [check.name for check in verify_family(folder, process).checks if not check.ok] == ["samples small"]


@pytest.mark.parametrize("change", [{"count": 7}, {"dtype": "float32"}, {"height": 9}])
def test_tensors_that_do_not_fit_to_their_description_are_a_fault(make_pixel_family, process, change):
    folder = make_pixel_family(publish=Publish())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["samples"]["inputs"][0] |= change
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert not verify_family(folder, process).ok


def test_a_model_without_tensors_of_its_size_is_named(make_pixel_family, process):
    folder = make_pixel_family(publish=Publish())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["samples"]["inputs"] = [file for file in manifest["samples"]["inputs"] if file["width"] == 12]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (fault,) = (check for check in verify_family(folder, process).checks if not check.ok)
    assert fault.name == "samples small"
    assert fault.detail == "there are no samples of 8 x 8 pixels, which the model takes"


def test_without_samples_models_are_tried_on_zeros(make, process):
    report = verify_family(make(publish=NOTHING), process)
    assert report.ok
    assert sum("input of zeros" in check.detail for check in report.checks) == 2


def test_a_run_keeps_the_evaluation_and_diff_finds_it_beside_dist(built, tmp_path, process):
    source, spec = built
    old, new = tmp_path / "dist" / "animals", tmp_path / "last"
    evaluations = tmp_path / "runs" / "animals" / "evaluation"
    for folder in (old, new):
        unpublished = dataclasses.replace(spec, publish=NOTHING)
        write_family(folder, unpublished, source=source, process=process, evaluations=evaluations)
    found = evaluation_of(old, read_manifest(old), [evaluations])
    np.testing.assert_array_equal(found.labels, spec.test_labels)
    np.testing.assert_array_equal(found.predictions["large"], spec.models[1].evaluation.predictions)
    assert diff_families(old, new, Limits()).notes == ()
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    assert "neither family has test labels" in diff_families(old, new, Limits()).notes[0]
    kept = tmp_path / "elsewhere" / "animals" / "evaluation"
    assert diff_families(old, new, Limits(), [kept]).notes == ()


def test_a_run_keeps_confidences_beside_predictions_and_no_family_publishes_them(built, tmp_path, process):
    folder, spec = built
    sure = np.linspace(0.25, 1, len(spec.test_labels)).astype(np.float32)
    kept = {"small": sure, "large": None}
    models = [
        dataclasses.replace(m, evaluation=dataclasses.replace(m.evaluation, confidences=kept[m.artifact.model_id]))
        for m in spec.models
    ]
    family, store = tmp_path / "dist" / "tiny", tmp_path / "runs" / "tiny" / "evaluation"
    spec = dataclasses.replace(spec, models=tuple(models), publish=Publish(evaluation=True))
    written = write_family(family, spec, source=folder, process=process, evaluations=store)
    assert len(list(store.rglob("*.confidences.npy"))) == 1
    assert not list(family.rglob("*.confidences*"))
    found = evaluation_of(family, written, (store,))
    assert list(found.confidences) == ["small"]
    np.testing.assert_array_equal(found.confidences["small"], sure)
    assert not evaluation_of(family, written, ()).confidences


def test_a_worse_family_without_evaluation_is_refused_by_what_the_manifests_state(make_family, spec):
    bad = dataclasses.replace(spec.models[1].evaluation, predictions=(spec.test_labels + 1) % 4, correct=0)
    models = (spec.models[0], dataclasses.replace(spec.models[1], evaluation=bad))
    old = make_family("old", publish=NOTHING)
    worse = make_family("new", publish=NOTHING, models=models)
    outcome = diff_families(old, worse, Limits())
    assert any("accuracy changed by" in line for line in outcome.worse)
    assert outcome.tiers[0].accuracy.low < outcome.tiers[0].accuracy.mean < outcome.tiers[0].accuracy.high
    assert diff_families(old, make_family("same", publish=NOTHING), Limits()).worse == ()


def test_what_is_published_is_no_change_of_content(make_family):
    images = make_family("images")
    assert diff_families(images, make_family("again"), Limits()).notes == ()


def test_floors_per_platform_are_written_and_must_name_a_model(make_family):
    floors = (
        PlatformFloor(platform="ios", action="cloud"),
        PlatformFloor(platform="linux", action="model", models=("large",)),
    )
    assert read_manifest(make_family(floors=floors)).floors == floors
    for index, (wrong, message) in enumerate(
        (
            (PlatformFloor(platform="linux", action="model", models=("huge",)), "'huge', which the manifest does not"),
            (PlatformFloor(platform="linux", action="model"), "'model' and 0 models"),
            (PlatformFloor(platform="ios", action="off"), "has two floors"),
        )
    ):
        with pytest.raises(ManifestError, match=message):
            make_family(f"wrong{index}", floors=(floors[0], wrong))


@pytest.mark.parametrize(
    ("size", "expected"), [(1, 65536), (1 << 20, 65536), ((1 << 20) + 1, 131072), (10**9, 67108864)]
)
def test_blocks_are_the_smallest_power_of_two_that_gives_at_most_sixteen(size, expected):
    assert block_bytes(size) == expected
    assert -(-size // expected) <= 16


def test_each_block_has_its_digest_and_a_small_file_has_none(tmp_path):
    path, data = tmp_path / "model", bytes(range(256)) * 700
    path.write_bytes(data)
    blocks = file_blocks(path)
    assert blocks.sha256 == tuple(sha256_bytes(data[start : start + 65536]) for start in (0, 65536, 131072))
    path.write_bytes(data[:65536])
    assert file_blocks(path) is None


def test_a_manifest_whose_blocks_do_not_make_the_file_is_refused(make_family):
    folder = make_family()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["models"]["small"]["files"][0]["blocks"] = {"bytes": 65536, "sha256": ["0" * 64] * 3}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ManifestError, match="3 blocks of 65,536 bytes"):
        read_manifest(folder)
