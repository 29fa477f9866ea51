"""Families of every fitting, of gray and of wide images: every client computes from a photo what training saw of it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from client_programs import CLIENTS
from PIL import Image
from test_released_client import load
from torch import nn

from exports.client.python.preprocess import resize
from exports.engines import get_engine
from exports.exporter import export_artifact
from exports.exporters import get_exporter
from exports.family.artifact import evaluate_artifact
from exports.family.family import write_family
from exports.family.input_form import fitting_notes, input_faults, input_spec, preprocessing
from exports.family.manifest import read_manifest
from exports.family.records import NormaliseStep, Selector
from exports.family.specs import FamilySpec, Publish, TierSpec
from exports.family.verify import verify_family
from factory_base.errors import ManifestError
from supernet.data.decoding import decode
from supernet.data.image_form import ImageForm
from supernet.pixels import PixelInput

FACTS = {"platform": "linux", "ram_bytes": 8 << 30, "cores": 8, "compute_units": ["cpu"]}
FORMS = {
    "crop": ImageForm(height=16, width=16, fitting="crop"),
    "letterbox": ImageForm(height=16, width=16, fitting="letterbox"),
    "gray squash": ImageForm(height=16, width=16, channels=1),
    "gray wide letterbox": ImageForm(height=16, width=24, channels=1, fitting="letterbox"),
    "wide crop": ImageForm(height=16, width=24, fitting="crop"),
    "high squash": ImageForm(height=24, width=16),
}
QUICK = ("crop", "gray wide letterbox")
"""The forms that every run tries in Python; the others are among the heavy tests."""


def photo() -> bytes:
    """A colourful PNG that has none of the shapes above."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (9, 13, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    stream = io.BytesIO()
    Image.fromarray(pixels[:35, :50]).save(stream, "PNG")
    return stream.getvalue()


def images_of(form: ImageForm, count: int) -> np.ndarray:
    colours = np.random.default_rng(6).integers(0, 256, (count, 4, 4, form.channels)).astype(np.uint8)
    return colours.repeat(form.height // 4, 1).repeat(form.width // 4, 2)


def model_size(form: ImageForm) -> tuple[int, int]:
    return form.height * 3 // 4, form.width * 3 // 4


def family(folder: Path, form: ImageForm, spec: FamilySpec) -> FamilySpec:
    """One model for images of `form`, written to `folder`, and the specification of its family."""
    torch.manual_seed(7)
    rows, columns = ((side - 1) // 2 for side in model_size(form))
    layers = [nn.Conv2d(form.channels, 8, 3, stride=2), nn.ReLU(), nn.Flatten()]
    layers.append(nn.Linear(8 * rows * columns, len(spec.labels)))
    mean, std = [0.4, 0.5, 0.6][: form.channels], [0.25, 0.2, 0.3][: form.channels]
    network = PixelInput(nn.Sequential(*layers), mean, std).eval()
    images = images_of(form, 32)
    given, labels = resize(images, *model_size(form)), np.zeros(32, np.int64)
    exporter = get_exporter("onnxruntime")
    artifact = export_artifact(network, given.shape[1:], folder, exporter, given[:16], 1, model_id="large")
    model = replace(spec.models[0], artifact=artifact, evaluation=evaluate_artifact(artifact, folder, given, labels, 1))
    tier = TierSpec(id="computer", platform="linux", selectors=(Selector(cores_min=1),), model_id="large")
    return replace(
        spec,
        models=(model,),
        tiers=(tier,),
        sample_images=images[:4],
        test_labels=labels,
        fitting=form.fitting,
        mean_ppm=tuple(round(1e6 * value) for value in mean),
        std_ppm=tuple(round(1e6 * value) for value in std),
    )


def logits_in_training(form: ImageForm, folder: Path, spec: FamilySpec) -> np.ndarray:
    """What the model answers to the photo as training decodes it."""
    pixels = decode(photo(), form, "photo").transpose(1, 2, 0)
    artifact = spec.models[0].artifact
    given = resize(pixels, *model_size(form)).reshape(1, *artifact.input_shape)
    return get_engine("onnxruntime").load(folder / artifact.path, 1).run(given)[0]


def cases() -> list[Any]:
    found = []
    for language in CLIENTS:
        for form in FORMS:
            marks = [] if language == "python" and form in QUICK else [pytest.mark.engines]
            found.append(pytest.param(language, form, marks=marks, id=f"{language}-{form}"))
    return found


@pytest.mark.parametrize(("language", "name"), cases())
def test_a_client_computes_from_a_photo_what_training_saw_of_it(
    language: str, name: str, built_for_pixels: Any, process: Any, tmp_path: Path
) -> None:
    client, fault = CLIENTS[language]()
    if client is None:
        pytest.skip(fault)
    form, source = FORMS[name], tmp_path / "source"
    source.mkdir()
    spec = family(source, form, built_for_pixels[1])
    samples = "tensors" if form.width > form.height else "images"
    write_family(tmp_path / "dist", replace(spec, publish=Publish(samples=samples)), source=source, process=process)
    (tmp_path / "photo.png").write_bytes(photo())
    (tmp_path / "facts.json").write_text(json.dumps(FACTS))
    places = {"store": "store", "url": "dist", "image": "photo.png", "facts": "facts.json"}
    found = client.launch(*(text for key, place in places.items() for text in (f"--{key}", str(tmp_path / place))))
    assert found.code == 0, found.error
    told = {key: found.found[key] for key in ("action", "model", "proof", "events")}
    assert told == {"action": "model", "model": "large", "proof": "passed", "events": ["switched"]}
    expected = logits_in_training(form, source, spec)
    # Crops and letterboxes are the same bytes; Pillow squashes with levels that differ by one here and there.
    tolerance = 5000 if form.fitting == "squash" else 1 if language == "python" else 20
    assert np.abs(np.array(found.found["logits_micro"]) - expected * 1e6).max() <= tolerance
    assert np.ptp(expected) > 1e-2


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.engines]) for n in FORMS])
def test_the_manifest_states_the_form_and_verify_tries_it(
    name: str, built_for_pixels: Any, process: Any, tmp_path: Path
) -> None:
    form = FORMS[name]
    spec = family(tmp_path, form, built_for_pixels[1])
    for samples in ("images", "tensors", "none"):
        folder = tmp_path / samples
        write_family(folder, replace(spec, publish=Publish(samples=samples)), source=tmp_path, process=process)
        assert [check.detail for check in verify_family(folder, process).checks if not check.ok] == []
    manifest = read_manifest(folder)
    usual = form.is_usual
    assert ("image_form" in manifest.critical) != usual
    steps = manifest.task.preprocessing
    assert steps.version == (4 if form.channels == 1 else 2 if form.fitting == "squash" else 3)
    assert steps.steps[-2].op == {"squash": "resize"}.get(form.fitting, form.fitting)
    given = manifest.task.input
    assert (given.channels, given.colour) == ((1, "gray") if form.channels == 1 else (3, "RGB"))


def test_apps_that_know_no_gray_images_keep_their_earlier_family(
    built_for_pixels: Any, process: Any, tmp_path: Path
) -> None:
    spec = family(tmp_path, FORMS["gray squash"], built_for_pixels[1])
    write_family(tmp_path / "dist", spec, source=tmp_path, process=process)
    old, manifest = load("resolver"), json.loads((tmp_path / "dist/manifest.json").read_text())
    with pytest.raises(old.UnusableManifestError, match="needs the unknown features image_form; update the app"):
        old.resolve(manifest, old.DeviceFacts(platform="linux"))


def test_a_comparison_says_that_apps_fit_images_otherwise() -> None:
    def steps(form: ImageForm) -> Any:
        return preprocessing((form.height, form.width), None, form.fitting, form.channels)

    squashed, boxed, gray = steps(ImageForm.square(16)), steps(FORMS["letterbox"]), steps(FORMS["gray squash"])
    assert fitting_notes(boxed, boxed) == ()
    assert fitting_notes(squashed, boxed) == (
        "apps fit images otherwise: letterbox to 16 x 16 pixels and no longer resize to 16 x 16 pixels; apps that do "
        "not know version 3 of the preprocessing keep their earlier family",
    )
    assert fitting_notes(gray, squashed) == (
        "apps fit images otherwise: resize to 16 x 16 pixels and no longer resize to 16 x 16 pixels in gray",
    )


def test_a_manifest_that_contradicts_itself_about_its_images_is_refused(
    built_for_pixels: Any, process: Any, tmp_path: Path
) -> None:
    spec = family(tmp_path, FORMS["gray wide letterbox"], built_for_pixels[1])
    write_family(tmp_path / "dist", spec, source=tmp_path, process=process)
    manifest = read_manifest(tmp_path / "dist")
    assert list(input_faults(manifest)) == []
    given = manifest.task.input
    wrong = {
        "the input has 3 channels in RGB": {"task": manifest.task.model_copy(update={"input": input_spec(True)})},
        "'image_form' must be among the critical features": {"critical": ("pixel_input",)},
        "is not square, but only pixels may be": {
            "task": manifest.task.model_copy(update={"input": given.model_copy(update={"dtype": "float32"})})
        },
    }
    for words, change in wrong.items():
        assert words in " ".join(input_faults(manifest.model_copy(update=change)))


@pytest.mark.parametrize("change", [{"fitting": "crop"}, {"channels": 1}])
def test_files_that_take_tensors_are_for_squashed_images_in_colour(change: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="models that take tensors cannot have images"):
        preprocessing((16, 16), NormaliseStep(mean_ppm=(1,) * 3, std_ppm=(1,) * 3), **change)
