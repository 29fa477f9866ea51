"""The client in TypeScript: what is committed is what its sources compile to; it reads as Python does."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_resolver_vectors import disagreements
from typescript_client import FOLDER, LINES, NODE, compile_to, needs_compiler, needs_node, node

from exports.client.python.images import decode_png
from exports.client.python.preprocess import fit, model_input, resize
from exports.client.python.strict_json import parse_json


@needs_compiler
def test_what_is_committed_is_what_the_sources_compile_to(tmp_path):
    done = compile_to(tmp_path)
    assert done.returncode == 0, done.stdout
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in (FOLDER / "dist").iterdir()}


def test_the_package_names_files_that_exist_and_needs_nothing_but_an_engine():
    package = json.loads((FOLDER / "package.json").read_text())
    named = [path for entry in package["exports"].values() for path in entry.values()] + list(package["bin"].values())
    assert all((FOLDER / path).is_file() for path in named)
    assert "dependencies" not in package
    assert all(package["peerDependenciesMeta"][name]["optional"] for name in package["peerDependencies"])


TEXTS = [
    "{}", "[]", "null", " [1, 2.5, -0, 1e3, 1E-2] ", '{"a": {"b": [true, false, null]}}', '"\\u00e9\\ud83d\\ude00\\n"',
    "9007199254740991", "-9007199254740991", "9007199254740992", "1e400", "NaN", "01", "1.", "+1", "[1,]", '{"a":1,}',
    '{"a":1,"a":2}', '{"__proto__":1,"__proto__":2}', '{"constructor":1}', '"\\ud800"', '"\\x"', '"\t"', '"open', "[1",
    "{\"a\" 1}", "\ufeff{}", "[" * 17 + "]" * 17, "[" * 16 + "]" * 16, "tru", "1 2", "", '{"a":"\u2028"}',
    "[" + "1," * 200_000 + "1]",
]  # fmt: skip


@needs_node
def test_json_is_read_or_refused_as_in_python():
    script = """
const answer = (text) => {
  try { return client.parseJson(new TextEncoder().encode(text), "x"); } catch { return "refused"; }
};
console.log(JSON.stringify(JSON.parse(process.argv[1]).map(answer)));
"""
    found = json.loads(node(script, json.dumps(TEXTS[:-1])))

    def answer(text):
        try:
            return parse_json(text.encode(), "x")
        except ValueError:
            return "refused"

    assert found == [answer(text) for text in TEXTS[:-1]]
    assert answer(TEXTS[-1]) == "refused"


@needs_node
def test_json_of_too_many_values_or_of_bytes_that_are_not_unicode_is_refused():
    script = """
for (const data of [new TextEncoder().encode("[" + "1,".repeat(200000) + "1]"), Uint8Array.of(34, 255, 34)]) {
  try { client.parseJson(data, "x"); console.log("read"); } catch { console.log("refused"); }
}"""
    assert node(script).split() == ["refused", "refused"]


@needs_node
def test_the_own_sha256_is_that_of_python():
    script = f"""
const {{ plainSha256 }} = await import({str(FOLDER / "dist" / "sha256.js")!r});
console.log(JSON.stringify([0, 1, 55, 56, 63, 64, 65, 1000].map((n) => plainSha256(new Uint8Array(n).fill(7)))));
"""
    sizes = (0, 1, 55, 56, 63, 64, 65, 1000)
    assert json.loads(node(script)) == [hashlib.sha256(b"\x07" * size).hexdigest() for size in sizes]


@needs_node
@pytest.mark.parametrize(
    ("size", "to"), [((5, 4), (3, 3)), ((40, 31), (24, 24)), ((7, 9), (16, 20)), ((24, 24), (24, 24))]
)
def test_pixels_become_the_bytes_and_numbers_of_python(size, to):
    image = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), np.uint8)
    script = """
const { data, height, width, to } = JSON.parse(process.argv[1]);
const image = { data: Uint8Array.from(data), height, width };
const resized = [true, false].map((antialias) => [...client.resize(image, ...to, antialias).data]);
const base = client.fit(image, ...to);
const input = [...client.modelInput(base, 8, [490000, 480000, 440000], [200000, 190000, 201000])];
console.log(JSON.stringify({ resized, base: [...base.data], input }));
"""
    given = {"data": image.ravel().tolist(), "height": size[0], "width": size[1], "to": to}
    found = json.loads(node(script, json.dumps(given)))
    assert found["resized"] == [resize(image, *to, antialias=smooth).ravel().tolist() for smooth in (True, False)]
    base = fit(image, *to)
    np.testing.assert_allclose(
        found["base"], base.ravel(), atol=1
    )  # floating-point numbers: a byte may round otherwise
    wanted = model_input(
        np.array(found["base"], np.uint8).reshape(base.shape), 8, [490000, 480000, 440000], [200000, 190000, 201000]
    )
    np.testing.assert_allclose(found["input"], wanted.ravel(), atol=1e-5)


@needs_node
@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_png_files_are_decoded_as_in_python(mode, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (13, 9, 4), np.uint8)
    Image.fromarray(pixels, "RGBA").convert(mode).save(tmp_path / "x.png", bits=8)
    assert pixels_in_node(tmp_path / "x.png") == decode_png((tmp_path / "x.png").read_bytes()).ravel().tolist()


@needs_node
def test_a_damaged_png_is_refused(tmp_path):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "x.png")
    data = bytearray((tmp_path / "x.png").read_bytes())
    data[45] ^= 1
    (tmp_path / "x.png").write_bytes(data)
    assert pixels_in_node(tmp_path / "x.png") == "PngError"


def pixels_in_node(path: Path) -> object:
    script = """
import { readFileSync } from "node:fs";
const read = client.decodePng(readFileSync(process.argv[1])).then((image) => [...image.data]);
console.log(JSON.stringify(await read.catch((error) => error.constructor.name)));
"""
    return json.loads(node(script, str(path)))


@needs_node
def test_the_resolver_answers_all_shared_cases_as_the_one_in_python():
    assert disagreements([str(NODE), str(LINES)]) == []
