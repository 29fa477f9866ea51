"""What is checked before the training for the sake of the manifest, and what a build says about the family it wrote."""

import json
import shutil
from pathlib import Path

import device_profiles

_MIDRANGE = Path(device_profiles.__file__).parent / "profiles" / "midrange.yaml"


def test_a_build_says_when_content_changed_under_the_same_release_number(factory, app):
    path = app / "dist" / "tiny" / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    next(iter(value["models"].values()))["needs"]["peak_memory_bytes"] += 1
    path.write_text(json.dumps(value), encoding="utf-8")
    line = "note     release 1 of family tiny was built before with other content"
    assert line in factory(app, "build", "--quiet").out
    assert line in factory(app, "build", "--quiet").out  # until the number is raised: the other may be out there


def test_content_of_a_release_is_remembered_without_the_family(factory, app, edit_config):
    shutil.rmtree(app / "dist")
    edit_config(app, "file_size: 1 MiB}}", "file_size: 1 MiB}, precisions: [fp32]}")
    out = factory(app, "build", "--quiet").out
    assert "release 1 of family tiny was built before with other content; apps that have that will not take this" in out
    assert "set `release: 2`" in out
    edit_config(app, "name: tiny", "name: tiny\nrelease: 2")
    assert "of family tiny" not in factory(app, "build", "--quiet").out
    edit_config(app, "release: 2", "release: 1")
    out = factory(app, "build", "--quiet").out
    assert "release 1 of family tiny comes after release 2, which was built before" in out
    assert "set `release: 3`" in out


def test_a_build_names_the_platforms_whose_devices_get_the_floor(factory, app):
    line = "note     no tier is for ios, web, linux, so all devices there get the floor"
    assert line in factory(app, "build", "--quiet").out


def test_a_tier_that_no_device_gets_is_refused_before_the_training(factory, empty_app, edit_config):
    (empty_app / "profiles").mkdir()
    text = _MIDRANGE.read_text(encoding="utf-8").replace("name: midrange", "name: twin")
    (empty_app / "profiles" / "twin.yaml").write_text(text, encoding="utf-8")
    edit_config(empty_app, "targets:", "targets:\n  - {device: twin}")
    error = factory(empty_app, "build", "--quiet").error
    assert "no device gets the tier 'twin': what meets its selectors, such as android, " in error
    assert "gets 'midrange' (rank 2)" in error
    assert not (empty_app / "runs" / "tiny" / "plan.json").exists()


def test_a_manifest_that_would_be_refused_at_the_end_is_refused_before_the_training(factory, empty_app, edit_config):
    (empty_app / "profiles").mkdir()
    text = _MIDRANGE.read_text(encoding="utf-8").replace("name: midrange", "name: floor")
    (empty_app / "profiles" / "floor.yaml").write_text(text, encoding="utf-8")
    edit_config(empty_app, "device: midrange", "device: floor")
    assert "tier 'floor': needs" in factory(empty_app, "build", "--quiet").error
    assert not (empty_app / "runs" / "tiny" / "plan.json").exists()


def test_worst_classes_are_in_the_manifest_in_the_report_and_in_the_output(factory, app):
    manifest = json.loads((app / "dist" / "tiny" / "manifest.json").read_text(encoding="utf-8"))
    out = factory(app, "build", "--quiet").out
    page = (app / "dist" / "tiny" / "report.html").read_text(encoding="utf-8")
    for tier in manifest["tiers"]:
        classes = manifest["models"][tier["models"][0]]["quality"]["classes"]
        images, worst = manifest["class_images"], classes["worst"]
        assert worst["value_ppm"] == round(1e6 * classes["correct"][worst["index"]] / images[worst["index"]])
        assert f"{worst['index']}: {worst['value_ppm'] / 1e6:.1%} of {worst['images']}" in out
        assert f"{worst['index']}: {worst['value_ppm'] / 1e4:.1f} %" in page
