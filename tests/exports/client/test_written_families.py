"""Families as the factory writes them, launched by every client: the proof passes, and an image gets its logits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from client_programs import CLIENTS
from written_families import build

from device_profiles.engine import Precision
from exports.client.python.preprocess import model_input, resize
from exports.engines import get_engine
from exports.family.family import write_family
from exports.family.records import Device, PlatformFloor, Probe, Selector
from exports.family.samples import png_bytes, tolerance_micro
from exports.family.specs import FamilySpec, Publish, TierSpec

FACTS = {
    "platform": "linux", "ram_bytes": 8 << 30, "cores": 8, "compute_units": ["cpu"], "features": ["npu"],
    "probe": {"id": "mac_1", "score": 5}, "device_maker": "Acme", "device_model": "X",
}  # fmt: skip
STRONG = Selector(
    cores_min=1, features_all=("npu",), features_none=("slow",), probe_min=Probe(id="mac_1", score=5),
    device_include=(Device(maker="acme"),), device_exclude=(Device(maker="Acme", model="Y"),),
)  # fmt: skip
TIERS = (TierSpec(id="computer", platform="linux", selectors=(STRONG,), model_id="large"),)
FLOORS = (PlatformFloor(platform="linux", action="off"),)
KINDS: tuple[Literal["images", "tensors", "none"], ...] = ("images", "tensors", "none")
Form = tuple[bool, bool, Precision]
FORMS: dict[str, Form] = {
    f"{'shared' if shared else 'separate'} {precision} {'pixels' if pixels else 'tensors'}": (shared, pixels, precision)
    for shared in (False, True)
    for precision in ("fp32", "int8")
    for pixels in (False, True)
}


@pytest.fixture(scope="session")
def models_of(built, built_for_pixels, tmp_path_factory, process) -> Callable[[str], tuple[Path, FamilySpec]]:
    """The models of a form in a folder, and the specification of their family; each is made once."""

    @cache
    def find(form: str) -> tuple[Path, FamilySpec]:
        shared, pixels, precision = FORMS[form]
        folder, spec = built_for_pixels if pixels else built
        if not shared and precision == "fp32":
            return folder, spec
        folder = tmp_path_factory.mktemp("models")
        return folder, build(folder, spec, precision, process, shared=shared)

    return find


PLAIN = {"separate fp32 tensors": KINDS, "separate fp32 pixels": KINDS, "shared fp32 pixels": ("tensors",)}
"""What every run tries in Python: models that are made for other tests, and shared ones, which take a few seconds."""


def cases() -> Iterator[Any]:
    """Language, form and kind of samples; the markers say what runs when."""
    for language in CLIENTS:
        for form in FORMS:
            for kind in KINDS:
                plain = language == "python" and kind in PLAIN.get(form, ())
                smoke = language == "typescript" and form == "separate fp32 pixels" and kind == "tensors"
                marks = [] if plain else [pytest.mark.engines, *([pytest.mark.smoke] if smoke else [])]
                yield pytest.param(language, form, kind, marks=marks, id=f"{language}-{form}-{kind}")


def logits_micro(spec: FamilySpec, folder: Path, image: np.ndarray) -> np.ndarray:
    """What the model `large` answers in the engine of the factory, in millionths."""
    artifact = next(model.artifact for model in spec.models if model.artifact.model_id == "large")
    side = artifact.image_shape[1]
    given = resize(image, side, side) if spec.takes_pixels else model_input(image, side, spec.mean_ppm, spec.std_ppm)
    return get_engine("onnxruntime").load(folder / artifact.path, 1).run(given.reshape(1, *artifact.input_shape))[0]


@pytest.mark.parametrize(("language", "form", "kind"), list(cases()))
def test_a_client_proves_a_written_family_and_computes_its_logits(
    language: str, form: str, kind: Any, models_of: Any, process: Any, tmp_path: Path
) -> None:
    client, fault = CLIENTS[language]()
    if client is None:
        pytest.skip(fault)
    source, spec = models_of(form)
    published = replace(spec, tiers=TIERS, floors=FLOORS, publish=Publish(samples=kind))
    write_family(tmp_path / "dist", published, source=source, process=process)
    image = spec.sample_images[3]
    (tmp_path / "image.png").write_bytes(png_bytes(image))
    (tmp_path / "facts.json").write_text(json.dumps(FACTS))
    places = {"store": "store", "url": "dist", "image": "image.png", "facts": "facts.json"}
    found = client.launch(*(text for name, place in places.items() for text in (f"--{name}", str(tmp_path / place))))
    assert found.code == 0, found.error
    told = {key: found.found[key] for key in ("action", "tier", "model", "proof", "events")}
    assert told == {
        "action": "model", "tier": "computer", "model": "large", "proof": "passed", "events": ["switched"],
    }  # fmt: skip
    expected = logits_micro(spec, source, image)
    difference = np.abs(np.array(found.found["logits_micro"]) - expected * 1e6).max()
    assert difference <= tolerance_micro(expected[None], FORMS[form][2])
    assert np.ptp(expected) * 1e6 > 10 * difference
