import json

import numpy as np
import pytest

from exports.family.manifest import read_manifest
from exports.family.verify import verify_family
from factory_base.errors import ManifestError
from factory_base.files import sha256_bytes


def failed(folder):
    report = verify_family(folder)
    checks = {check.name: check.detail for check in report.checks if not check.ok}
    assert report.ok == (not checks)
    assert all(detail and "\n" not in detail for detail in checks.values())
    return checks


def model_name(folder, model="large"):
    return read_manifest(folder).models[model].files[0].name


def edit(folder, change):
    value = json.loads((folder / "manifest.json").read_text())
    change(value)
    (folder / "manifest.json").write_text(json.dumps(value))


def test_a_sound_family_passes_every_check(make_family):
    folder = make_family()
    report = verify_family(folder / "manifest.json")
    assert report.ok
    assert {"manifest", "references", "strays", "samples small", "samples large"} <= {c.name for c in report.checks}


def test_a_truncated_model_is_named_and_not_run(make_family):
    folder = make_family()
    name = model_name(folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:-9])
    checks = failed(folder)
    assert set(checks) == {f"file {name}", "samples large"}
    assert "the manifest says" in checks[f"file {name}"]


def test_a_flipped_byte_is_found(make_family):
    folder = make_family()
    data = bytearray((folder / model_name(folder)).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / model_name(folder)).write_bytes(data)
    assert "SHA-256" in failed(folder)[f"file {model_name(folder)}"]


def test_a_missing_sample_fails_its_file_and_the_runs(make_family):
    folder = make_family()
    (folder / "samples/004.png").unlink()
    assert set(failed(folder)) == {"file samples/004.png", "samples"}


@pytest.mark.parametrize("pattern", ["evaluation/labels.npy", "samples/expected-*.json"])
def test_a_missing_file_fails(make_family, pattern):
    folder = make_family()
    path = next(folder.glob(pattern))
    path.unlink()
    assert "cannot be read" in failed(folder)[f"file {path.relative_to(folder)}"]


def test_a_stray_file_is_named_but_is_not_a_fault(make_family):
    folder = make_family()
    (folder / "models/extra.onnx").write_bytes(b"x")
    report = verify_family(folder)
    assert report.ok
    assert next(c.detail for c in report.checks if c.name == "strays").endswith("models/extra.onnx")


def test_a_file_swapped_together_with_its_digest_fails_on_the_samples(make_family):
    folder = make_family()
    small = json.loads((folder / "manifest.json").read_text())["models"]["small"]
    edit(folder, lambda value: value["models"]["large"].update(files=small["files"], input=small["input"]))
    assert "largest difference" in failed(folder)["samples large"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(large=None), "missing or damaged"),
        (lambda v: v["large"].update(logits_micro=[[1]]), "but the expected ones are"),
        (lambda v: v["large"].update(logits_micro="what"), "missing or damaged"),
        (lambda v: v["large"].update(top1=[9] * 8), "same top-1 on 0 of 8"),
        (lambda v: v["large"].update(tolerance_micro=0), "at most 0.0e+00"),
    ],
)
def test_damaged_expected_outputs_fail_in_one_line(make_family, change, message):
    folder = make_family()
    expected = json.loads(next(folder.glob("samples/expected-*.json")).read_text())
    change(expected)
    data = json.dumps(expected).encode()
    next(folder.glob("samples/expected-*.json")).write_bytes(data)
    edit(folder, lambda v: v["samples"]["expected"].update(bytes=len(data), sha256=sha256_bytes(data)))
    assert message in failed(folder)["samples large"]


def test_an_unknown_engine_fails_only_its_model(make_family):
    folder = make_family()
    edit(folder, lambda value: value["models"]["small"]["engine"].update(name="warp"))
    assert failed(folder) == {"samples small": "engine 'warp' is unknown; known: mnn, onnxruntime"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["tiers"][1].update(models=["gone"]), "names the model 'gone'"),
        (lambda v: v["tiers"].pop(0), "one tier of rank 0"),
    ],
)
def test_a_manifest_that_contradicts_itself_fails(make_family, change, message):
    folder = make_family()
    edit(folder, change)
    assert message in failed(folder)["references"]


def test_a_manifest_that_cannot_be_read_is_an_error(make_family):
    folder = make_family()
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ManifestError, match="not valid JSON"):
        verify_family(folder)


def test_the_samples_are_really_run(make_family):
    folder = make_family()
    image = np.zeros((16, 16, 3), np.uint8)
    from exports.family.samples import png_bytes

    data = png_bytes(image)
    (folder / "samples/000.png").write_bytes(data)
    edit(folder, lambda v: v["samples"]["inputs"][0].update(bytes=len(data), sha256=sha256_bytes(data)))
    assert set(failed(folder)) == {"samples small", "samples large"}
