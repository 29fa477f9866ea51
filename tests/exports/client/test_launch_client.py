import hashlib
import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from family_files import sample
from PIL import Image

import exports

CLIENT = Path(exports.__file__).parent / "client" / "python" / "launch.py"


@pytest.fixture(scope="module")
def launch():
    spec = importlib.util.spec_from_file_location("launch_under_test", CLIENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(script, *arguments):
    command = [sys.executable, "-I", str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_three_copied_files_classify_an_image_as_the_family_expects(make_family, tmp_path):
    folder, app = make_family(), tmp_path / "app"
    app.mkdir()
    for path in (CLIENT, CLIENT.with_name("resolver.py"), CLIENT.with_name("preprocess.py")):
        shutil.copy(path, app)
    expected = json.loads(next(folder.glob("samples/expected-*.json")).read_text())
    done = start(app / "launch.py", folder, sample(folder, 2))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    model = "large" if sys.platform == "linux" else "small"
    label = ("cat", "dog", "owl", "yak")[expected[model]["top1"][2]]
    assert lines[-1].startswith(f"{sample(folder, 2).name}: {label} (")
    assert lines[-1].endswith(f"by {model}")
    assert any(": chosen: " in line or ": floor: " in line for line in lines[:-1])


def run(launch, *arguments):
    with pytest.raises(SystemExit) as caught:
        launch.main([str(argument) for argument in arguments])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_model_is_not_loaded(launch, make_family):
    folder = make_family()
    for path in (folder / "models").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert "is damaged: its SHA-256 is not that of the manifest" in run(launch, folder, sample(folder))


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
    assert message in run(launch, folder, sample(folder))


def test_wrong_arguments_and_missing_files_are_one_line(launch, make_family, tmp_path):
    assert run(launch, "only one").startswith("usage:")
    assert "No such file" in run(launch, tmp_path / "nowhere", tmp_path / "nothing.png")
    assert "No such file" in run(launch, make_family(), tmp_path / "nothing.png")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (13, 7), (40, 33)])
def test_png_files_are_decoded_as_pillow_decodes_them(launch, tmp_path, mode, size):
    smooth = np.add.outer(np.arange(size[1]) * 3, np.arange(size[0]) * 2)
    noise = np.random.default_rng(0).integers(0, 40, (size[1], size[0], 4))
    pixels = (smooth[:, :, None] + noise).astype(np.uint8)
    image = Image.fromarray(pixels, "RGBA") if mode == "RGBA" else Image.fromarray(pixels[:, :, :3]).convert(mode)
    image.save(tmp_path / "image.png")
    expected = np.asarray(image)[..., :3] if mode != "L" else np.repeat(np.asarray(image)[..., None], 3, axis=2)
    np.testing.assert_array_equal(launch.decode_png((tmp_path / "image.png").read_bytes()), expected)


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
def test_every_line_filter_is_undone(launch, kind):
    pixels = np.random.default_rng(kind).integers(0, 256, (5, 18)).astype(int)
    lines = b""
    for y in range(5):
        above = pixels[y - 1] if y else np.zeros(18, int)
        predicted = []
        for x in range(18):
            left, corner = (pixels[y, x - 3], above[x - 3]) if x >= 3 else (0, 0)
            paeth = min((left, above[x], corner), key=lambda v, e=left + above[x] - corner: abs(e - v))
            predicted.append((0, left, above[x], (left + above[x]) // 2, paeth)[kind])
        lines += bytes([kind]) + ((pixels[y] - np.array(predicted)) % 256).astype(np.uint8).tobytes()
    np.testing.assert_array_equal(launch.unfilter(lines, 5, 18, 3), pixels)


def png(header, pixels):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


GOOD = struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GIF89a", "not a PNG"),
        (b"\x89PNG\r\n\x1a\n", "must be 8-bit"),
        (png(GOOD, b"rubbish"), "cannot be unpacked"),
        (png(GOOD, zlib.compress(bytes(6))), "pixels are missing"),
        (png(GOOD, zlib.compress(b"\x07" + bytes(6))), "line filter 7"),
        (png(GOOD, zlib.compress(bytes(7)))[:-30] + b"x" * 30, "checksum"),
        (png(struct.pack(">IIBBBBB", 1 << 20, 1 << 20, 8, 2, 0, 0, 0), b""), "at most"),
        (png(struct.pack(">IIBBBBB", 1 << 24, 1, 8, 2, 0, 0, 0), b""), "16384 a side"),
        (png(GOOD + GOOD, b""), "must be 8-bit"),
        (png(struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 1), b""), "not interlaced"),
        (png(struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), b""), "8-bit"),
    ],
)
def test_another_or_a_damaged_image_is_refused(launch, data, message):
    with pytest.raises(ValueError, match=message):
        launch.decode_png(data)


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
    assert "is not a regular file" in run(launch, folder, sample(folder))
    assert "is not a regular file" in run(launch, make_family("other"), "/dev/zero")


def test_a_link_out_of_the_family_is_not_followed(launch, make_family, tmp_path):
    folder = make_family()
    (folder / "models").rename(tmp_path / "outside")
    (folder / "models").symlink_to(tmp_path / "outside")
    assert f"leads out of {folder}" in run(launch, folder, sample(folder))


@pytest.mark.parametrize(
    "name", ["../outside/x.onnx", "/etc/passwd", "models/../../x", ".x", "models//x", "a\\b", "x\n", ""]
)
def test_a_name_that_leaves_the_family_is_refused(launch, make_family, name):
    folder = make_family()
    rewrite(folder, lambda v: [m["files"][0].update(name=name) for m in v["models"].values()])
    assert "could lead out of the family" in run(launch, folder, sample(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("task"), "no usable task"),
        (lambda v: v["task"].update(labels=5), "no usable task.labels"),
        (lambda v: v["task"].update(labels=[5, 6, 7, 8]), "not a list of names"),
        (lambda v: v["task"]["labels"].pop(), "for each of the 3 labels"),
        (lambda v: v["task"]["preprocessing"].update(steps=[5, {"op": []}]), "does not know; update the app"),
        (lambda v: v["task"]["preprocessing"].update(version=2), "does not know; update the app"),
        (lambda v: v["task"]["preprocessing"]["steps"].reverse(), "does not know; update the app"),
        (lambda v: v["task"]["preprocessing"]["steps"][2].update(divisor=127), "does not know; update the app"),
        (lambda v: v["task"]["preprocessing"]["steps"][0].pop("height"), "no usable resize.height"),
        (lambda v: v["task"]["preprocessing"]["steps"][0].update(width=10**9), "resize.width is 1000000000 pixels"),
        (lambda v: v["task"]["preprocessing"]["steps"][3].update(mean_ppm=[1]), "no usable normalise.mean_ppm"),
        (lambda v: v["task"]["preprocessing"]["steps"][3].update(std_ppm=[1, 0, 1]), "no usable normalise.std_ppm"),
        (lambda v: [m["input"].update(width=100_000) for m in v["models"].values()], "input.width is 100000 pixels"),
        (lambda v: [m["input"].update(width=9) for m in v["models"].values()], "ONNX Runtime refuses the model"),
        (lambda v: [m.update(files=[]) for m in v["models"].values()], "no usable files.0"),
        (lambda v: v["task"].update(labels_file={"name": "x.json", "sha256": "0"}), "is missing; download it again"),
    ],
)  # fmt: skip
def test_what_the_manifest_lacks_is_named_in_one_line(launch, make_family, change, message):
    folder = make_family()
    rewrite(folder, change)
    assert message in run(launch, folder, sample(folder))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "damaged"),
        (b'{"a": 1, "a": 2}', "a key is repeated"),
        (b'{"a": 1e999}', "1e999 is not a finite number"),
        (b'{"a": NaN}', "NaN is not a finite number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "an integer is too large"),
        (b"[" * 100_000, "nested deeper than 16"),
        (b'["\\\\", "\\"", [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]', "nested deeper than 16"),
        (b'["' + b"[" * 100 + b'"]', "not a manifest"),
        (b"[" + b"1," * 120_000 + b"1]", "not a manifest"),
        (b'"' * 200_000, "damaged"),
        (b'"\xff"', "damaged"),
        (b" " * 300_000, "larger than the limit"),
    ],
)
def test_json_is_read_by_the_rules_of_the_manifest(launch, make_family, data, message):
    folder = make_family()
    (folder / "manifest.json").write_bytes(data)
    assert message in run(launch, folder, sample(folder))


def test_texts_of_the_manifest_cannot_forge_lines_or_colours(launch, make_family, capsys):
    folder = make_family()
    rewrite(folder, lambda v: v["task"].update(labels=["\x1b[31mred\nforged \u202e"] * 4))
    launch.main([str(folder), str(sample(folder))])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.partition(".png")[2].startswith(": \\x1b[31mred\\nforged \\u202e (")
    assert last.isprintable()


def test_labels_are_read_from_a_file_of_their_own(launch, make_family, capsys):
    folder = make_family()
    data = json.dumps(["one", "two", "three", "four"]).encode()
    (folder / "names.json").write_bytes(data)
    file = {"name": "names.json", "sha256": hashlib.sha256(data).hexdigest()}
    rewrite(folder, lambda v: (v.update(critical=["labels_file"]), v["task"].update(labels=[], labels_file=file)))
    launch.main([str(folder), str(sample(folder))])
    assert capsys.readouterr().out.splitlines()[-1].split()[1] in ("one", "two", "three", "four")
