import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from family_files import sample
from onnx import TensorProto, helper

from exports.family.manifest import read_manifest
from exports.family.verify import verify_family
from exports.isolation.process import IsolatedProcess
from factory_base.errors import ManifestError
from factory_base.files import sha256_bytes


@pytest.fixture(scope="module")
def runs():
    """One process for the models of all these tests."""
    with IsolatedProcess() as process:
        yield process


def failed(folder, runs):
    report = verify_family(folder, runs)
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


def test_a_sound_family_passes_every_check(runs, make_family):
    folder = make_family()
    report = verify_family(folder / "manifest.json", runs)
    assert report.ok
    assert {"manifest", "references", "strays", "samples small", "samples large"} <= {c.name for c in report.checks}


def test_the_tiers_are_checked_by_the_questions_of_an_author(runs, make_family):
    folder = make_family()
    sound = {check.name: check for check in verify_family(folder, runs).checks}
    assert {"coverage", "platforms", "tiers reached", "more never gets less"} <= sound.keys()
    assert [check.name for check in sound.values() if check.warning] == ["platforms"]
    assert sound["platforms"].ok
    assert sound["platforms"].detail.startswith("no tier is for ios, web, linux_iot, so")

    def limit(value):
        phone = next(tier for tier in value["tiers"] if tier["id"] == "phone")
        phone["match"][0]["ram_class_max"] = 6144

    edit(folder, limit)
    assert "android, 6 GiB of RAM gets 'entry' (rank 1)" in failed(folder, runs)["more never gets less"]


def test_tiers_of_a_manifest_that_contradicts_itself_are_not_searched(runs, make_family):
    folder = make_family()
    edit(folder, lambda value: value["tiers"].pop(0))
    assert "more never gets less" not in {check.name for check in verify_family(folder, runs).checks}


def test_the_number_of_a_release_is_compared_with_the_one_before(runs, make_family):
    old, new = make_family("old"), make_family("new")
    assert verify_family(new, runs, previous=old).ok
    edit(new, lambda value: value["tiers"].pop())
    names = [check.name for check in verify_family(new, runs, previous=old / "manifest.json").checks if not check.ok]
    assert names == ["release"]
    edit(new, lambda value: value.update(release=2))
    assert verify_family(new, runs, previous=old).ok


def test_a_truncated_model_is_named_and_not_run(runs, make_family):
    folder = make_family()
    name = model_name(folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:-9])
    checks = failed(folder, runs)
    assert set(checks) == {f"file {name}", "samples large"}
    assert "the manifest says" in checks[f"file {name}"]


def test_a_flipped_byte_is_found(runs, make_family):
    folder = make_family()
    data = bytearray((folder / model_name(folder)).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / model_name(folder)).write_bytes(data)
    assert "SHA-256" in failed(folder, runs)[f"file {model_name(folder)}"]


def test_a_missing_sample_fails_its_file_and_the_runs(runs, make_family):
    folder = make_family()
    path = sample(folder, 4)
    path.unlink()
    assert set(failed(folder, runs)) == {f"file {path.relative_to(folder)}", "samples"}


@pytest.mark.parametrize("pattern", ["evaluation/labels-*.npy", "samples/expected-*.json"])
def test_a_missing_file_fails(runs, make_family, pattern):
    folder = make_family()
    path = next(folder.glob(pattern))
    path.unlink()
    assert "cannot be read" in failed(folder, runs)[f"file {path.relative_to(folder)}"]


def test_a_stray_file_is_named_but_is_not_a_fault(runs, make_family):
    folder = make_family()
    (folder / "models/extra.onnx").write_bytes(b"x")
    report = verify_family(folder, runs)
    assert report.ok
    assert next(c.detail for c in report.checks if c.name == "strays").endswith("models/extra.onnx")


def test_a_file_swapped_together_with_its_digest_fails_on_the_samples(runs, make_family):
    folder = make_family()
    small = json.loads((folder / "manifest.json").read_text())["models"]["small"]
    edit(folder, lambda value: value["models"]["large"].update(files=small["files"], input=small["input"]))
    assert "largest difference" in failed(folder, runs)["samples large"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(large=None), "are not 4 logits and a class for each of 8 samples"),
        (lambda v: v["large"].pop("top1"), "are not 4 logits and a class for each of 8 samples"),
        (lambda v: v["large"].update(logits_micro=[[1]]), "are not 4 logits"),
        (lambda v: v["large"].update(logits_micro="what"), "are not 4 logits"),
        (lambda v: v["large"]["logits_micro"][7].append(1), "are not 4 logits"),
        (lambda v: v["large"]["logits_micro"][7].__setitem__(0, 1.0), "are not 4 logits"),
        (lambda v: v["large"]["logits_micro"][7].__setitem__(0, True), "are not 4 logits"),
        (lambda v: v["large"].update(top1=[9] * 7), "are not 4 logits"),
        (lambda v: v["large"].update(top1=[9] * 8), "same top-1 on 0 of 8"),
        (lambda v: v["large"].update(tolerance_micro=0), "have the tolerance_micro 0, the manifest says"),
        (lambda v: v["large"].update(tolerance_micro=10**9), "have the tolerance_micro 1000000000, the manifest says"),
        (lambda v: v["large"].update(tolerance_micro="5"), "have the tolerance_micro str, the manifest says"),
        (lambda v: v["large"].update(tolerance_micro=True), "have the tolerance_micro True, the manifest says"),
    ],
)
def test_damaged_expected_outputs_fail_in_one_line(runs, make_family, change, message):
    folder = make_family()
    expected = json.loads(next(folder.glob("samples/expected-*.json")).read_text())
    change(expected)
    replace_expected(folder, json.dumps(expected).encode())
    assert message in failed(folder, runs)["samples large"]


def replace_expected(folder, data):
    next(folder.glob("samples/expected-*.json")).write_bytes(data)
    edit(folder, lambda v: v["samples"]["expected"].update(bytes=len(data), sha256=sha256_bytes(data)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "does not hold the outputs of each model"),
        (b'{"a": 1, "a": 2}', "key 'a' is given twice"),
        (b'{"large": {"tolerance_micro": 1e999}}', "the number 1e999 is too large"),
        (b"[" * 100_000, "nested deeper than 8"),
        (b"{", "not valid JSON"),
    ],
)
def test_expected_outputs_are_read_as_strict_json(runs, make_family, data, message):
    folder = make_family()
    replace_expected(folder, data)
    assert message in failed(folder, runs)["samples"]


def test_the_self_test_states_the_number_of_samples(runs, make_family):
    folder = make_family()
    edit(folder, lambda v: v["models"]["large"]["selftest"].update(samples=9))
    assert failed(folder, runs) == {"samples large": "the manifest has 8 samples, the self-test of the model 9"}


def test_an_unknown_engine_fails_only_its_model(runs, make_family):
    folder = make_family()
    edit(folder, lambda value: value["models"]["small"]["engine"].update(name="warp"))
    assert failed(folder, runs) == {"samples small": "engine 'warp' is unknown; known: mnn, onnxruntime"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["tiers"][1].update(models=["gone"]), "names the model 'gone'"),
        (lambda v: v["tiers"].pop(0), "one tier of rank 0"),
    ],
)
def test_a_manifest_that_contradicts_itself_fails(runs, make_family, change, message):
    folder = make_family()
    edit(folder, change)
    assert message in failed(folder, runs)["references"]


def test_a_manifest_that_cannot_be_read_is_an_error(runs, make_family):
    folder = make_family()
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ManifestError, match="not valid JSON"):
        verify_family(folder, runs)


def test_the_samples_are_really_run(runs, make_family):
    folder = make_family()
    image = np.zeros((16, 16, 3), np.uint8)
    from exports.family.samples import png_bytes

    data = png_bytes(image)
    sample(folder).write_bytes(data)
    edit(folder, lambda v: v["samples"]["inputs"][0].update(bytes=len(data), sha256=sha256_bytes(data)))
    assert set(failed(folder, runs)) == {"samples small", "samples large"}


@pytest.mark.parametrize(
    "pattern", ["evaluation/labels-*.npy", "samples/expected-*.json", "samples/000-*.png", "models/*"]
)
@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "link"])
def test_only_regular_files_inside_the_family_are_read(runs, make_family, tmp_path, pattern, kind):
    folder = make_family()
    path = next(folder.glob(pattern))
    path.rename(tmp_path / "outside")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else tmp_path / "outside")
    words = {"fifo": "not a regular file", "folder": "is a folder"}.get(kind, f"leads out of {folder}")
    assert words in failed(folder, runs)[f"file {path.relative_to(folder)}"]


def test_a_link_within_the_family_is_followed(runs, make_family):
    folder = make_family()
    (folder / "models").rename(folder / "files")
    (folder / "models").symlink_to("files")
    assert verify_family(folder, runs).ok


def test_a_manifest_that_is_a_fifo_or_a_link_is_an_error(make_family, tmp_path):
    folder = make_family()
    (folder / "manifest.json").rename(tmp_path / "outside.json")
    (folder / "manifest.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(ManifestError, match="leads out of"):
        verify_family(folder)
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    with pytest.raises(ManifestError, match="is not a regular file; name a family's folder or manifest"):
        verify_family(folder)


def test_folders_that_lead_elsewhere_are_not_searched_for_strays(runs, make_family):
    folder = make_family()
    (folder / "labels").symlink_to("/")
    for number in range(30):
        (folder / f"samples/{number}.txt").write_bytes(b"x")
    report = verify_family(folder, runs)
    detail = next(check.detail for check in report.checks if check.name == "strays")
    assert detail.endswith("samples/16.txt, samples/17.txt and 20 more")


def test_a_family_too_large_to_be_checked_is_refused_before_it_is_read(runs, make_family):
    folder = make_family()
    edit(folder, lambda v: v["models"]["large"]["files"][0].update(bytes=1 << 50))
    assert "more than the limit" in failed(folder, runs)["files"]


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        (lambda v: v["models"]["large"]["input"].update(width=10**5, height=10**5), "samples large", "at most 4096"),
        (lambda v: v["models"]["large"]["input"].update(width=13), "samples large", "expected a square"),
        (lambda v: v["models"]["large"]["input"].update(width=13, height=13), "samples large", "got float32"),
        (lambda v: v["task"]["preprocessing"]["steps"][0].update(width=10**6), "samples", "too large to be tried"),
        (lambda v: v["task"]["preprocessing"]["steps"][0].update(width=17), "samples", "has 16 x 16 pixels"),
        (lambda v: v["task"]["preprocessing"]["steps"].pop(0), "samples", "has 0 steps 'resize'"),
        (lambda v: v["task"]["preprocessing"]["steps"][3].update(mean_ppm=[1]), "samples", "three channels"),
    ],
)  # fmt: skip
def test_nothing_is_allocated_before_its_size_is_known(runs, make_family, change, name, message):
    folder = make_family()
    edit(folder, change)
    assert message in failed(folder, runs)[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["steps"].reverse(), "only version 1: resize, resize_to_model, scale, normalise"),
        (lambda v: v["steps"][2].update(divisor=127), "with the divisor 255"),
        (lambda v: v.update(version=2), "the preprocessing is version 2"),
    ],
)
def test_another_preprocessing_is_not_taken_for_the_known_one(runs, make_family, change, message):
    folder = make_family()
    edit(folder, lambda v: change(v["task"]["preprocessing"]))
    assert message in failed(folder, runs)["samples"]


@pytest.mark.parametrize(
    ("cut", "message"), [(20, "is not a PNG"), (100, "is a damaged PNG"), (None, "17 x 16 pixels")]
)
def test_a_damaged_or_larger_sample_is_not_unpacked(runs, make_family, cut, message):
    from exports.family.samples import png_bytes

    folder = make_family()
    path = sample(folder)
    data = path.read_bytes()[:cut] if cut else png_bytes(np.zeros((16, 17, 3), np.uint8))
    path.write_bytes(data)
    edit(folder, lambda v: v["samples"]["inputs"][0].update(bytes=len(data), sha256=sha256_bytes(data)))
    assert message in failed(folder, runs)["samples"]


def replace_model(folder, nodes, initializers=(), *, model="small", size=8):
    """Put a model with these nodes, which must give `logits`, in place of another."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "hostile", [image], [logits], list(initializers))
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    file = json.loads((folder / "manifest.json").read_text())["models"][model]["files"][0]["name"]
    (folder / file).write_bytes(data)
    edit(folder, lambda v: v["models"][model]["files"][0].update(bytes=len(data), sha256=sha256_bytes(data)))


def constant(name, values, kind=TensorProto.INT64):
    return helper.make_tensor(name, kind, [len(values)] if isinstance(values, list) else [], np.atleast_1d(values))


def endless():
    """A loop of 2^62 steps."""
    names = [("i", TensorProto.INT64), ("on", TensorProto.BOOL), ("x", TensorProto.FLOAT)]
    inputs = [helper.make_tensor_value_info(name, kind, None if name == "x" else []) for name, kind in names]
    outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in (("on2", TensorProto.BOOL), ("x2", 1))]
    nodes = [helper.make_node("Identity", ["on"], ["on2"]), helper.make_node("Neg", ["x"], ["x2"])]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    loop = helper.make_node("Loop", ["steps", "true", "image"], ["logits"], body=body)
    return [loop], [constant("steps", 2**62), constant("true", True, TensorProto.BOOL)]


def greedy():
    """256 GiB of zeros."""
    return [helper.make_node("ConstantOfShape", ["shape"], ["logits"])], [constant("shape", [1, 1 << 36])]


def test_a_model_that_asks_for_too_much_memory_is_a_fault_and_the_others_run(runs, make_family):
    folder = make_family()
    replace_model(folder, *greedy())
    assert set(failed(folder, runs)) == {"facts small", "samples small"}


def test_a_model_without_end_is_stopped_and_no_other_is_tried(runs, make_family, monkeypatch):
    monkeypatch.setattr(
        "exports.family.verify_samples._seconds", lambda model, _: 0.5 if model.input.width == 12 else 60
    )
    folder = make_family()
    replace_model(folder, *endless(), model="large", size=12)
    name = model_name(folder).removeprefix("models/")
    found = failed(folder, runs)
    assert "the file needs opset 17, the manifest says 20; the file and the manifest differ" in found.pop("facts large")
    assert found == {
        "samples large": f"{name}: did not finish within 0.5 s",
        "samples small": "not run, because large did not finish",
    }


def test_a_model_that_returns_another_shape_is_a_fault(runs, make_family):
    folder = make_family()
    replace_model(folder, [helper.make_node("Flatten", ["image"], ["logits"])])
    assert "returns logits of shape [1, 192], expected [1, 4]" in failed(folder, runs)["samples small"]


def test_a_process_that_was_killed_is_a_fault_and_is_started_again(make_family):
    folder = make_family()
    (folder / "numpy.py").write_text("raise SystemExit('a module of the family was run')")
    with IsolatedProcess() as process, contextlib.chdir(folder):
        assert verify_family(Path(), process).ok
        process._process.kill()
        process._process.wait()
        checks = failed(folder, process)
    assert all("ended the process that ran it, by signal 9: the system ended it" in text for text in checks.values())
    assert len(checks) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(precision="int8"), "the file is in fp32, the manifest says int8"),
        (lambda m: m["engine"].update(format_version=21), "the file needs opset 20, the manifest says 21"),
        (lambda m: m["proof"]["operators"].append("Warp"), "differ in these operators: Warp"),
        (lambda m: m["engine"].update(min="99.1"), "is older than 99.1, the oldest version that the file is for"),
    ],
)
def test_what_the_manifest_says_of_a_file_is_checked(runs, make_family, change, message):
    folder = make_family()
    edit(folder, lambda value: change(value["models"]["small"]))
    found = failed(folder, runs)
    assert list(found) == ["facts small"]
    assert message in found["facts small"]


def test_an_engine_newer_than_the_tried_ones_is_named(runs, make_family):
    folder = make_family()
    edit(folder, lambda value: value["models"]["small"]["engine"].update(max_tested="1.18.0"))
    report = verify_family(folder, runs)
    assert report.ok
    detail = next(check.detail for check in report.checks if check.name == "facts small")
    assert detail.endswith("is newer than 1.18.0, the newest version that was tried")


def test_a_family_of_format_1_3_is_verified_as_before(runs, make_family):
    folder = make_family()
    edit(folder, as_written_before)
    assert verify_family(folder, runs).ok


def as_written_before(value):
    value["manifest_version"] = "1.3"
    for model in value["models"].values():
        for key in ("precision", "proof", "conversion"):
            del model[key]
        del model["engine"]["tried"]
