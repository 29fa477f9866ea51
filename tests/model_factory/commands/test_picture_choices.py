"""Channels, sides and fitting of images in a config: from pictures in folders to a family that an app launches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exports.client.python.cli import main as client
from exports.family.manifest import read_manifest
from supernet.data.decoding import decode
from supernet.data.image_form import ImageForm

DATA = "data: {source: digits, image_size: 16, heldout_fraction: 0.2, test_fraction: 0.25, limit: 600}"
FORM = ImageForm(height=12, width=16, channels=1, fitting="letterbox")
GREY = "data: {source: folder, path: pets, image_size: [12, 16], channels: 1, fitting: letterbox, ignore: ['*.txt']}"


def refused(factory: Any, app: Path, edit_config: Any, data: str, more: str = "") -> str:
    edit_config(app, DATA, data)
    edit_config(app, "targets:", f"{more}\ntargets:")
    answer = factory(app, "build")
    assert answer.code == 1
    return str(answer.error)


@pytest.mark.parametrize("keys", ["fitting: crop", "channels: 1", "image_size: [12, 16]"])
def test_apps_fit_pictures_only_for_files_that_take_pixels(factory, empty_app, edit_config, keys) -> None:
    data = f"data: {{source: digits, {'' if 'image_size' in keys else 'image_size: 16, '}{keys}}}"
    error = refused(factory, empty_app, edit_config, data, "export: {input: tensor}")
    assert "export.input is tensor, but apps crop, letterbox, turn gray" in error


def test_a_resolution_must_give_whole_pixels(factory, empty_app, edit_config) -> None:
    error = refused(factory, empty_app, edit_config, "data: {source: digits, image_size: [16, 18]}")
    assert "12 x 18 / 16 is not a whole number of pixels; choose other resolutions" in error


def test_a_model_space_for_images_in_colour_refuses_grey_ones(factory, empty_app, edit_config) -> None:
    text = (empty_app / "factory.yaml").read_text(encoding="utf-8")
    model = text[text.index("model:") : text.index("training:")]
    edit_config(empty_app, model, "model: {space: ofa_mbv3, resolutions: [16]}\n")
    error = refused(factory, empty_app, edit_config, "data: {source: digits, image_size: 16, channels: 1}")
    assert "ofa_mbv3: takes inputs of shape (3, 16, 16), but the images have the shape (1, 16, 16)" in error


def write_pets(folder: Path) -> None:
    """Pictures of two classes in many shapes, which differ in the brightness of their centre."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for index in range(40):
            pixels = rng.integers(0, 90, (20 + index % 7, 20 + index % 11, 3))
            pixels[8:14, 8:14] += 150 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")
        (folder / name / "notes.txt").touch()


@pytest.mark.engines
def test_grey_wide_pictures_go_through_the_whole_loop(factory, empty_app, edit_config, capsys) -> None:
    write_pets(empty_app / "pets")
    edit_config(empty_app, DATA, GREY)
    edit_config(empty_app, "resolutions: [12, 16]", "resolutions: [9, 12]")
    edit_config(empty_app, "batch_size: 64", "batch_size: 16")
    edit_config(empty_app, "targets:", "publish: {samples: images}\ntargets:")
    answer = factory(empty_app, "build")
    assert answer.code == 0, answer.err
    assert "data: ignored by data.ignore: *.txt: 2 files" in answer.err
    family = empty_app / "dist" / "tiny"
    manifest = read_manifest(family)
    assert manifest.critical == ("image_form", "pixel_input")
    assert {(model.input.height, model.input.width) for model in manifest.models.values()} <= {(9, 12), (12, 16)}
    assert factory(empty_app, "verify", family).code == 0
    picture = empty_app / "pets/dog/3.png"
    client(["launch", "--store", str(empty_app / "store"), "--url", str(family), "--image", str(picture)])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["label"], found["proof"]) == ("dog", "passed")
    assert decode(picture.read_bytes(), FORM, "dog").shape == (1, 12, 16)
    assert factory(empty_app, "build").stages == []
