"""Apps from the time of format 1.4 resolve and run new families: these are the files of that release."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
import small_family
import small_task_families
from family_files import sample

from exports.client.python.records import ClientState, DeviceFacts
from exports.client.python.resolver import resolve
from exports.family.records import Device, PlatformFloor, Probe, Selector
from exports.family.specs import Publish, TierSpec

RELEASED = Path(__file__).with_name("released_1_4")
DIGESTS = {
    "launch.py": "f6aee9bae464df367d365ff39432bab10a519bcf3df7cf4d3ed3880426374f14",
    "preprocess.py": "0de7cf932b739dfbde94a8ba48ba942dae2ec0aa2a689865e2f4163d5d1bb452",
    "resolver.py": "8f289d1f8e80fc4162bed2e6f390975f0b4ede0dce0303a36bdc5f490d9163a8",
}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the tiers of these families are for Linux")


def load(name: str) -> ModuleType:
    """A module of the release."""
    spec = importlib.util.spec_from_file_location(f"released_{name}", RELEASED / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def old() -> ModuleType:
    """The resolver of the release."""
    return load("resolver")


@pytest.fixture
def launch(monkeypatch, capsys):
    """Classifies an image as the released program does: the last line of its output, and the codes of its reasons."""
    program = load("launch")
    for name in ("resolver", "preprocess"):  # the program puts them there
        monkeypatch.setitem(sys.modules, name, sys)
        monkeypatch.delitem(sys.modules, name)

    def run(folder: Path, image: Path) -> tuple[str, list[str]]:
        program.main([str(folder), str(image)])
        *reasons, last = capsys.readouterr().out.splitlines()
        return last, [line.split(": ")[1] for line in reasons]

    return run


def test_the_files_are_those_of_the_release():
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in RELEASED.glob("*.py")}
    assert found == DIGESTS


NEW_KEYS = {
    "device_include": [{"maker": "Acme"}],
    "device_exclude": [{"maker": "Acme"}],
    "features_all": ["npu"],
    "features_none": ["npu"],
    "probe_min": {"id": "mac_1", "score": 1},
}


def floors(manifest: dict[str, Any]) -> None:
    manifest["floors"] = [{"platform": "linux", "action": "off"}, {"platform": "ios", "action": "cloud"}]


def new_key(key: str, value: Any) -> Any:
    def change(manifest: dict[str, Any]) -> None:
        manifest["tiers"][2]["match"] = [{key: value}]

    return change


def load_time(manifest: dict[str, Any]) -> None:
    for model in manifest["models"].values():
        model["needs"] |= {"load_us": 5000, "load_basis": "measured"}


def nothing(_manifest: dict[str, Any]) -> None:
    """As it is."""


# name -> what makes the family of format 1.5, what changes its manifest, and the model on a computer with 4 GiB
NEW_FAMILIES = {
    "sample images": ({}, nothing, "large"),
    "sample tensors": ({"samples": "tensors"}, nothing, "large"),
    "no samples": ({"samples": None}, nothing, "large"),
    "no blocks": ({"blocks": False}, nothing, "large"),
    "shared weights": ({"shared": True}, nothing, "large"),
    "floors of platforms": ({}, floors, "large"),
    "a file of labels": ({}, nothing, "large"),
    "load times": ({}, load_time, "large"),
    **{f"a selector with {key}": ({}, new_key(key, value), "small") for key, value in NEW_KEYS.items()},
}


@LINUX
@pytest.mark.parametrize("name", NEW_FAMILIES)
def test_the_released_program_runs_every_form_of_a_new_family(launch, tmp_path, monkeypatch, name):
    options, change, model = NEW_FAMILIES[name]
    family = small_family.make_family(**options)
    change(family.manifest)
    if name == "a file of labels":
        family.add_labels_file(family.manifest["task"]["labels"])
    folder = family.write(tmp_path / "family")
    image = tmp_path / "0.png"
    image.write_bytes(family.images["0.png"])
    monkeypatch.setattr(sys.modules["released_launch"], "meminfo", lambda _name: 4 << 30)
    last, codes = launch(folder, image)
    assert last.startswith(f"0.png: {label(model, options)} (")
    assert last.endswith(f" by {model}")
    assert codes == (["chosen"] if model == "large" else ["selector_key_unknown", "chosen"])


def label(model: str, options: dict[str, Any]) -> str:
    """The class of the first image, as the family with sample images states it."""
    family = small_family.make_family(**options | {"samples": "images"})
    outputs = json.loads(family.files[family.manifest["samples"]["expected"]["name"]])
    return family.manifest["task"]["labels"][outputs[model]["top1"][0]]


@LINUX
@pytest.mark.parametrize("make", ["make_family", "make_pixel_family"])
def test_the_released_program_runs_what_the_factory_writes(launch, request, make):
    folder = request.getfixturevalue(make)()
    last, codes = launch(folder, sample(folder, 2))
    expected = json.loads(next(folder.glob("samples/expected-*.json")).read_text())
    names = json.loads((folder / "manifest.json").read_text())["task"]["labels"]
    assert last.startswith(f"{sample(folder, 2).name}: {names[expected['large']['top1'][2]]} (")
    assert codes[-1] == "chosen"


@LINUX
@pytest.mark.parametrize("samples", ["tensors", "none"])
@pytest.mark.parametrize("make", ["make_family", "make_pixel_family"])
def test_the_released_program_runs_a_written_family_without_images(launch, request, make, samples):
    write = request.getfixturevalue(make)
    floors = (PlatformFloor(platform="linux", action="off"), PlatformFloor(platform="ios", action="cloud"))
    with_images, quiet = write("images"), write("quiet", publish=Publish(samples=samples), floors=floors)
    manifest = json.loads((quiet / "manifest.json").read_text())
    assert (manifest["manifest_version"], len(manifest["floors"])) == ("1.6", 2)
    assert not list(quiet.glob("**/*.png"))
    image = sample(with_images, 2)
    assert launch(quiet, image) == launch(with_images, image)


@pytest.mark.parametrize("make", ["multilabel_family", "regression_family", "text_family"])
def test_the_released_resolver_refuses_a_family_that_it_would_misread(old, make):
    manifest = getattr(small_task_families, make)().manifest
    with pytest.raises(old.UnusableManifestError, match=r"unknown features (outputs|token_input)"):
        old.resolve(manifest, old.DeviceFacts(platform="linux"))


# Each is a key of format 1.5 that the factory writes into a tier, and that the release does not know.
NEW_SELECTORS = {
    "device_include": (Device(maker="Acme"),),
    "device_exclude": (Device(maker="Acme"),),
    "features_all": ("npu",),
    "features_none": ("npu",),
    "probe_min": Probe(id="mac_1", score=1),
}


@LINUX
@pytest.mark.parametrize("key", NEW_SELECTORS)
def test_the_released_program_gives_a_written_tier_with_a_new_key_to_no_device(launch, make_family, key):
    selector = Selector(**{"cores_min": 1, key: NEW_SELECTORS[key]})
    computer = TierSpec(id="computer", platform="linux", selectors=(selector,), model_id="small")
    folder = make_family(tiers=(computer,))
    assert key in json.loads((folder / "manifest.json").read_text())["tiers"][-1]["match"][0]
    _, codes = launch(folder, sample(folder))
    assert codes == ["selector_key_unknown", "floor"]


PLATFORMS = ("android", "ios", "web", "linux", "toaster")


def test_a_released_resolver_never_gets_a_higher_rank_than_a_new_one(old, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    from random_devices import random_family

    rng = Random(1)
    ranks = []
    for _ in range(500):
        manifest = random_family(rng, sound=True).manifest
        facts = {
            "platform": rng.choice(PLATFORMS),
            "ram_bytes": rng.choice((None, 1 << 30, 4 << 30, 16 << 30)),
            "cores": rng.choice((None, 2, 8)),
            "os_version": rng.choice((None, "1.20", "14")),
            "soc_maker": rng.choice((None, "Acme")),
            "engine": "onnxruntime",
            "engine_version": "1.20.0",
            "free_disk_bytes": rng.choice((None, 100, 10_000)),
        }
        before = old.resolve(manifest, old.DeviceFacts(**facts))
        now = resolve(manifest, None, DeviceFacts(**facts), ClientState(), 0)
        assert before.model in manifest["models"]
        assert before.rank <= now.rank
        ranks.append((before.rank, now.rank))
    assert any(before == now > 0 for before, now in ranks)
    assert any(before < now for before, now in ranks)
