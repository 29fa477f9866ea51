"""The Kotlin client on a JVM: it compiles without warnings, reads JSON strictly, and its README is true."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kotlin_client import SOURCES, command, compile_to, jar, missing
from PIL import Image

from exports.client.python.images import decode_png
from exports.client.python.preprocess import fit, model_input

needs_kotlin = pytest.mark.skipif(missing() is not None, reason=str(missing()))
STAND_INS = Path(__file__).with_name("kotlin_stand_ins")
IMPORTS = """
import ai.onnxruntime.*
import android.*
import java.io.File
import modelfactory.*
"""
FLOOR = {"id": "floor", "platform": "any", "rank": 0, "match": [], "models": ["small"]}
SMALL = {
    "files": [{"name": "models/small.onnx", "bytes": 10, "sha256": "00"}],
    "engine": {"name": "onnxruntime", "min": "1.17.0", "max_tested": "1.22.0"},
    "needs": {"disk_bytes": 10, "peak_memory_bytes": 100},
}
MANIFEST = {"manifest_version": "1.5", "critical": [], "tiers": [FLOOR], "models": {"small": SMALL}}
CASE = '{"policy": null, "facts": {"platform": "android"}, "state": {}, "now": 0, "extra": %s}'


def answers(*values: str) -> list[dict[str, object]]:
    """What `Lines` answers to a case that has each of these JSON values in a field that it ignores."""
    lines = [json.dumps({"manifest": MANIFEST}), *(CASE % value for value in values)]
    # Half of a surrogate pair stands for bytes that are not UTF-8.
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    done = subprocess.run(command("Lines"), input=data, capture_output=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


@needs_kotlin
def test_it_compiles_without_warnings_and_resolves():
    (answer,) = answers("0")
    assert answer == {
        "action": "model",
        "tier": "floor",
        "rank": 0,
        "model": "small",
        "compute_unit": "cpu",
        "installed": False,
        "proven": False,
        "reasons": [["floor", "small", "floor"]],
    }


@needs_kotlin
@pytest.mark.engines
def test_it_tells_how_long_each_call_of_the_resolver_takes():
    lines = "\n".join([json.dumps({"manifest": MANIFEST}), CASE % 0])
    done = subprocess.run(command("Lines", "--time", "5"), input=lines, capture_output=True, text=True, timeout=60)
    times = json.loads(done.stdout)["nanoseconds"]
    assert len(times) == 5
    assert all(0 < time < 10**9 for time in times)


@needs_kotlin
def test_it_reads_what_is_json():
    values = ["-0", "1.5e3", "9007199254740991", "-9007199254740991", r'"\ud83d\ude00\u0000\/"', "[" * 15 + "]" * 15]
    assert not [value for value, answer in zip(values, answers(*values), strict=True) if "error" in answer]


@needs_kotlin
def test_it_refuses_what_readers_might_understand_differently():
    values = [
        '{"a": 1, "a": 1}',
        "9007199254740992",
        "-9007199254740992",
        "1e999",
        "NaN",
        "01",
        "1.",
        "+1",
        ".5",
        "1e",
        "--1",
        "nul",
        "[1,]",
        '{"a": 1,}',
        "{a: 1}",
        '{"a" 1}',
        "[" * 16 + "]" * 16,
        '"\t"',
        r'"\x41"',
        r'"\u12"',
        r'"\ud800"',
        r'"\udc00\ud800"',
        '"\ud800"',
        "'a'",
        "1 2",
        "",
        "[",
        '"',
    ]
    assert not [value for value, answer in zip(values, answers(*values), strict=True) if answer != {"error": "json"}]


def preprocessed(*cases: dict[str, object]) -> list[dict[str, object] | list[float]]:
    """What `Pixels` makes of images."""
    lines = "\n".join(map(json.dumps, cases))
    done = subprocess.run(command("Pixels"), input=lines, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


@needs_kotlin
@pytest.mark.parametrize(("old", "new"), [((32, 32), (24, 24)), ((20, 31), (48, 48)), ((8, 8), (1, 1))])
def test_it_preprocesses_families_of_version_1_as_the_client_in_python(old, new):
    image = np.random.default_rng(sum(old)).integers(0, 256, (*old, 3)).astype(np.uint8)
    means, deviations = (485_000, 456_000, 406_000), (229_000, 224_000, 225_000)
    case = {"size": old, "to": new, "data": image.tobytes().hex(), "mean_ppm": means, "std_ppm": deviations}
    fitted, normalised = preprocessed({"op": "fit", **case}, {"op": "model_input", **case})
    # Sums of products in another order round differently: by a level at most, and in the last digits of a float.
    assert isinstance(fitted, dict)
    found = np.frombuffer(bytes.fromhex(str(fitted["data"])), np.uint8).astype(int)
    assert np.abs(found - fit(image, *new).flatten()).max() <= 1
    assert np.allclose(normalised, model_input(image, new[0], means, deviations).flatten(), rtol=0, atol=1e-5)


@pytest.mark.engines
@needs_kotlin
def test_the_code_of_the_readme_compiles(tmp_path):
    text = (SOURCES.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```kotlin\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    code = tmp_path / "Readme.kt"
    code.write_text(IMPORTS + "\n".join(blocks), encoding="utf-8")
    compile_to(tmp_path / "readme.jar", [code, *STAND_INS.glob("*.kt")], jar())


def test_it_imports_nothing_but_java_and_kotlin():
    files = list((SOURCES / "main").rglob("*.kt"))
    imports = {line for path in files for line in re.findall(r"^import (.*)$", path.read_text(encoding="utf-8"), re.M)}
    assert imports
    assert not [name for name in imports if not name.startswith(("java.", "kotlin."))]


def test_no_line_has_more_than_120_characters():
    files = [path for path in SOURCES.rglob("*.kt") if any(len(line) > 120 for line in path.read_text().splitlines())]
    assert not files


def test_the_readme_names_every_file():
    text = (SOURCES.parent / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in (SOURCES / "main").rglob("*.kt")} <= set(re.findall(r"`(\w+\.kt)`", text))


@needs_kotlin
def test_png_files_are_decoded_as_in_python(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (13, 9, 4), np.uint8)
    paths = [tmp_path / f"{mode}.png" for mode in ("L", "LA", "P", "RGB", "RGBA")]
    for path in paths:
        Image.fromarray(pixels, "RGBA").convert(path.stem).save(path, bits=8)
    damaged = bytearray(paths[0].read_bytes())
    damaged[45] ^= 1
    (tmp_path / "damaged.png").write_bytes(damaged)
    done = subprocess.run(
        command("PngPixels", *map(str, paths), str(tmp_path / "damaged.png")),
        capture_output=True,
        check=True,
        timeout=60,
    )
    *found, fault = map(json.loads, done.stdout.splitlines())
    assert found == [decode_png(path.read_bytes()).ravel().tolist() for path in paths]
    assert fault == "the PNG is damaged: a checksum does not match"
