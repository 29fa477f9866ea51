"""The client in Python as a program: it is copied or installed, classifies an image, and survives any family."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from family_files import sample

import exports
from exports.client.python import cli

CLIENT = Path(exports.__file__).parent / "client" / "python"
LAUNCH = "import sys; sys.path.insert(0, sys.argv.pop(1)); from model_factory_client.cli import command; command()"


def copied(app):
    shutil.copytree(CLIENT, app / "model_factory_client", ignore=shutil.ignore_patterns("__pycache__"))


def installed(app):
    """The package as an installer puts it into a folder: a wheel is built, and unpacked."""
    source = app.parent / "source"
    shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(app.parent / "wheel")]
    subprocess.run(build, cwd=source, check=True, capture_output=True, timeout=60)
    with zipfile.ZipFile(next((app.parent / "wheel").glob("*.whl"))) as wheel:
        wheel.extractall(app)


@pytest.mark.parametrize("brought", [copied, installed])
def test_an_app_without_the_factory_classifies_an_image_as_the_family_expects(make_family, tmp_path, brought):
    folder, app = make_family(), tmp_path / "app"
    brought(app)
    expected = json.loads(next(folder.glob("samples/expected-*.json")).read_text())
    arguments = ["launch", "--url", folder, "--store", tmp_path / "store", "--image", sample(folder, 2)]
    command = [sys.executable, "-I", "-c", LAUNCH, *map(str, [app, *arguments])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    model = "large" if sys.platform == "linux" else "small"
    label = ("cat", "dog", "owl", "yak")[expected[model]["top1"][2]]
    assert (json.loads(last)["model"], json.loads(last)["label"]) == (model, label)
    assert lines[-1].startswith(f"{sample(folder, 2).name}: {label} (")
    assert lines[-1].endswith(f"by {model}")
    assert any(": chosen: " in line or ": floor: " in line for line in lines)


@pytest.fixture
def launch(tmp_path):
    """Classifies an image with a family, in a new store."""

    def run(folder, image):
        cli.main(["launch", "--url", str(folder), "--store", str(tmp_path / "store"), "--image", str(image)])

    return run


def refusal(launch, *arguments):
    with pytest.raises(SystemExit) as caught:
        launch(*arguments)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("launch: ")
    return str(caught.value)


def test_a_damaged_model_is_not_loaded(launch, make_family):
    folder = make_family()
    for path in (folder / "models").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert "arrives damaged: its SHA-256 is not that of the manifest" in refusal(launch, folder, sample(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifest_version": "2.0"}, "is not 1.x"),
        ({"critical": ["x"]}, "unknown features x"),
        ({"tiers": []}, "not a"),
    ],
)
def test_a_manifest_it_cannot_use_is_one_line(launch, make_family, change, message):
    folder = make_family()
    value = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(value | change))
    assert message in refusal(launch, folder, sample(folder))


def test_wrong_arguments_and_missing_files_are_one_line(launch, make_family, tmp_path):
    assert "--url" in refusal(cli.main, ["launch"])
    assert "--timeout: 0 is not from" in refusal(cli.main, ["launch", "--url", "x", "--timeout", "0"])
    assert "manifest.json is missing in" in refusal(launch, tmp_path / "nowhere", sample(make_family("some")))
    assert refusal(launch, make_family(), tmp_path / "nothing.png").endswith("nothing.png: No such file or directory")
    assert "starts with http:// or https://" in refusal(cli.main, ["launch", "--url", "ftp://a/b"])


def rewrite(folder, change):
    value = json.loads((folder / "manifest.json").read_text())
    change(value)
    (folder / "manifest.json").write_text(json.dumps(value))


@pytest.mark.parametrize("name", ["manifest.json", "models"])
def test_a_fifo_is_refused_without_waiting(launch, make_family, name):
    folder = make_family()
    for path in [folder / name] if name.endswith("json") else list((folder / name).iterdir()):
        path.unlink()
        os.mkfifo(path)
    assert "is not a regular file" in refusal(launch, folder, sample(folder))
    assert "is not a regular file" in refusal(launch, make_family("other"), "/dev/zero")


def test_a_link_out_of_the_family_is_not_followed(launch, make_family, tmp_path):
    folder = make_family()
    (folder / "models").rename(tmp_path / "outside")
    (folder / "models").symlink_to(tmp_path / "outside")
    assert f"leads out of {folder}" in refusal(launch, folder, sample(folder))


@pytest.mark.parametrize(
    "name", ["../outside/x.onnx", "/etc/passwd", "models/../../x", ".x", "models//x", "a\\b", "x\n", ""]
)
def test_a_name_that_leaves_the_family_is_refused(launch, make_family, name):
    folder = make_family()
    rewrite(folder, lambda v: [m["files"][0].update(name=name) for m in v["models"].values()])
    assert "could lead out of the family" in refusal(launch, folder, sample(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("task"), "no usable task"),
        (lambda v: v["task"].update(labels=5), "no usable task.labels"),
        (lambda v: v["task"].update(labels=[5, 6, 7, 8]), "not a list of names"),
        (lambda v: v["task"]["labels"].pop(), "do not fit to the samples of"),
        (lambda v: v["task"]["preprocessing"].update(steps=[5, {"op": []}]), "does not know; update the app"),
        (lambda v: v["task"]["preprocessing"].update(version=2), "does not know; update the app"),
        (lambda v: v["task"]["preprocessing"]["steps"].reverse(), "does not know; update the app"),
        (lambda v: v["task"]["preprocessing"]["steps"][2].update(divisor=127), "does not know; update the app"),
        (lambda v: v["task"]["preprocessing"]["steps"][0].pop("height"), "no usable resize.height"),
        (lambda v: v["task"]["preprocessing"]["steps"][0].update(width=10**9), "resize.width is 1000000000 pixels"),
        (lambda v: v["task"]["preprocessing"]["steps"][3].update(mean_ppm=[1]), "no usable normalise.mean_ppm"),
        (lambda v: v["task"]["preprocessing"]["steps"][3].update(std_ppm=[1, 0, 1]), "no usable normalise.std_ppm"),
        (lambda v: [m["input"].update(width=100_000) for m in v["models"].values()], "input.width is 100000 pixels"),
        (lambda v: [m["input"].update(width=9, height=9) for m in v["models"].values()], "ONNX Runtime refuses the"),
        (lambda v: [m.update(files=[]) for m in v["models"].values()], "no model runs in this app"),
        (lambda v: v["task"].update(labels_file={"name": "x.json", "sha256": "0"}), "no usable bytes"),
        (lambda v: v["task"].update(labels_file={"name": "x", "sha256": "0" * 64, "bytes": 9}), "x is missing in "),
    ],
)  # fmt: skip
def test_what_the_manifest_lacks_is_named_in_one_line(launch, make_family, change, message):
    folder = make_family()
    rewrite(folder, change)
    assert message in refusal(launch, folder, sample(folder))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not usable JSON"),
        (b'{"a": 1, "a": 2}', "a key is repeated"),
        (b'{"a": 1e999}', "1e999 is not a finite number"),
        (b'{"a": NaN}', "NaN is not a finite number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "an integer is too large"),
        (b"[" * 100_000, "nested deeper than 16"),
        (b'["\\\\", "\\"", [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]', "nested deeper than 16"),
        (b'["' + b"[" * 100 + b'"]', "not a manifest"),
        (b"[" + b"1," * 120_000 + b"1]", "not a manifest"),
        (b'"' * 200_000, "not usable JSON"),
        (b'"\xff"', "not usable JSON"),
        (b" " * 300_000, "larger than the limit"),
    ],
)
def test_json_is_read_by_the_rules_of_the_manifest(launch, make_family, data, message):
    folder = make_family()
    (folder / "manifest.json").write_bytes(data)
    assert message in refusal(launch, folder, sample(folder))


def test_texts_of_the_manifest_cannot_forge_lines_or_colours(launch, make_family, capsys):
    folder = make_family()
    rewrite(folder, lambda v: v["task"].update(labels=["\x1b[31mred\nforged \u202e"] * 4))
    launch(folder, sample(folder))
    last = capsys.readouterr().out.splitlines()[-2]
    assert last.partition(".png")[2].startswith(": \\x1b[31mred\\nforged \\u202e (")
    assert last.isprintable()


def test_labels_are_read_from_a_file_of_their_own(launch, make_family, capsys):
    folder = make_family()
    data = json.dumps(["one", "two", "three", "four"]).encode()
    (folder / "names.json").write_bytes(data)
    file = {"name": "names.json", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    rewrite(folder, lambda v: (v.update(critical=["labels_file"]), v["task"].update(labels=[], labels_file=file)))
    launch(folder, sample(folder))
    assert capsys.readouterr().out.splitlines()[-2].split()[1] in ("one", "two", "three", "four")
