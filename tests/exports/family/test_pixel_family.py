"""Families whose models take pixels, beside those whose models take tensors, also from earlier versions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import exports
from exports.client.python import cli
from exports.family.diff import release_notes
from exports.family.family import check_family
from exports.family.manifest import read_manifest
from exports.family.verify import verify_family
from factory_base.errors import ManifestError

EARLIER = Path(__file__).with_name("family-1.3")
"""A family that version 1.3 of the format was written for, with all its files."""


@pytest.fixture
def launch(tmp_path, capsys):
    """Classifies an image with a family, in a new store: what the last line of the output says."""

    def run(folder, image):
        cli.main(["launch", "--url", str(folder), "--store", str(tmp_path / "store"), "--image", str(image)])
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def edit(folder, change):
    value = json.loads((folder / "manifest.json").read_text())
    change(value)
    (folder / "manifest.json").write_text(json.dumps(value))


def test_it_states_pixels_two_steps_in_integers_and_that_apps_must_know(make_pixel_family):
    manifest = read_manifest(make_pixel_family())
    given, steps = manifest.task.input, manifest.task.preprocessing
    assert (given.dtype, given.layout, manifest.critical) == ("uint8", "NHWC", ("pixel_input",))
    assert (steps.version, [step.op for step in steps.steps]) == (2, ["resize", "resize_to_model"])
    assert {step.method for step in steps.steps} == {"integer_bilinear_antialias", "integer_bilinear"}
    assert {(model.input.channels, model.input.width) for model in manifest.models.values()} == {(3, 8), (3, 12)}


def test_it_passes_every_check(make_pixel_family, process):
    report = verify_family(make_pixel_family(), process)
    assert report.ok, [check.detail for check in report.checks if not check.ok]


def test_its_models_answer_as_those_that_take_tensors(make_family, make_pixel_family):
    folders = make_family("tensors"), make_pixel_family("pixels")
    tensors, pixels = (json.loads(next(folder.glob("samples/expected-*.json")).read_text()) for folder in folders)
    for name in ("small", "large"):
        found, expected = (np.array(side[name]["logits_micro"]) / 1e6 for side in (pixels, tensors))
        assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()  # resizing rounds to bytes


def sample(folder, index):
    return folder / read_manifest(folder).samples.inputs[index].name


@pytest.mark.parametrize("index", [0, 5])
def test_the_client_classifies_its_samples_as_expected(make_pixel_family, launch, index):
    folder = make_pixel_family()
    found = launch(folder, sample(folder, index))
    expected = json.loads(next(folder.glob("samples/expected-*.json")).read_text())[found["model"]]
    assert found["label"] == ("cat", "dog", "owl", "yak")[expected["top1"][index]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(critical=[]), "so 'pixel_input' must be among the critical features"),
        (lambda v: v["task"]["input"].update(layout="NCHW"), "the input is uint8 NCHW, expected"),
        (lambda v: v["task"]["preprocessing"].update(version=1), "which version 1 of the preprocessing does not make"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(make_pixel_family, change, message):
    folder = make_pixel_family()
    edit(folder, change)
    with pytest.raises(ManifestError, match=message):
        read_manifest(folder)


def test_a_preprocessing_of_the_future_is_refused_by_name(make_pixel_family, launch, process):
    folder = make_pixel_family()
    image = sample(folder, 0)
    edit(folder, lambda v: v["task"]["preprocessing"].update(version=4))
    with pytest.raises(SystemExit, match="needs a preprocessing that this program does not know; update the app"):
        launch(folder, image)
    failed = [check.detail for check in verify_family(folder, process).checks if not check.ok]
    assert any("this program runs only version 1" in detail for detail in failed)


@pytest.mark.parametrize("step", [{"op": "crop"}, {"op": "letterbox", "colour": [0, 0, 0]}])
def test_version_3_crops_or_letterboxes(make_pixel_family, launch, process, step):
    folder = make_pixel_family()
    size = {key: read_manifest(folder).task.preprocessing.steps[0].model_dump()[key] for key in ("width", "height")}
    first = {**step, **size, "method": "integer_bilinear_antialias"}

    def change(value):
        value["task"]["preprocessing"] = {"version": 3, "steps": [first, value["task"]["preprocessing"]["steps"][1]]}

    edit(folder, change)
    assert verify_family(folder, process).ok
    assert launch(folder, sample(folder, 0))["proof"] == "passed"


@pytest.mark.parametrize(
    "steps",
    [
        [{"op": "letterbox", "width": 8, "height": 8, "colour": [0, 0, 256]}],
        [{"op": "letterbox", "width": 8, "height": 8}],
        [{"op": "crop", "width": 8, "height": 8, "method": "bilinear_antialias"}],
        [{"op": "crop", "width": 0, "height": 8}],
    ],
)
def test_a_step_of_version_3_that_is_not_sound_is_refused(make_pixel_family, steps):
    folder = make_pixel_family()
    edit(folder, lambda v: v["task"]["preprocessing"].update(version=3, steps=steps))
    with pytest.raises(ManifestError):
        read_manifest(folder)


def test_a_family_has_one_form(built, built_for_pixels):
    tensors, pixels = built[1], built_for_pixels[1]
    with pytest.raises(ManifestError, match="some models take pixels and others do not"):
        check_family(exports.FamilySpec(**{**vars_of(tensors), "models": (tensors.models[0], pixels.models[1])}))


def vars_of(spec):
    return {name: getattr(spec, name) for name in spec.__slots__}


def test_people_are_told_that_the_input_changed(make_family, make_pixel_family):
    old, new = read_manifest(make_family("old")), read_manifest(make_pixel_family("new"))
    assert "apps that do not know the critical feature 'pixel_input' keep" in release_notes(old, new)[0]
    assert "apps must normalise images again" in release_notes(new, old)[0]


def test_a_family_of_format_1_3_is_read_verified_and_launched(tmp_path, launch, process):
    folder = shutil.copytree(EARLIER, tmp_path / "family")
    manifest = read_manifest(folder)
    assert (manifest.manifest_version, manifest.task.preprocessing.version) == ("1.3", 1)
    assert verify_family(folder, process).ok
    assert launch(folder, folder / "samples/000.png")["proof"] == "passed"
