"""Writes `exports/client/vectors/preprocess.json`: what the preprocessing in Python makes of small images and files.

    PYTHONPATH=. python tests/exports/client/preprocess_vectors.py

Clients in other languages must return the same bytes. Tests compare the results with independent definitions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from exif_files import files

from exports.client.python.colour import alpha_to_rgb, gray_to_rgb, luma, yuv_to_rgb
from exports.client.python.exif import orientation, upright
from exports.client.python.inputs import input_form
from exports.client.python.preprocess import crop, letterbox, resize

FILE = Path(__file__).parents[3] / "exports" / "client" / "vectors" / "preprocess.json"
NOTES = {
    "data": "bytes in hexadecimal: an image in RGB, row by row, unless the operation says otherwise",
    "size": "[height, width] of the given image; to: of the result",
    "result": "an image, {size, data}; for orientation a number; null if the client must refuse",
    "prepare": "the input of a model of `model`, [height, width], with the manifest's task.preprocessing; gray as RGB",
}
SIZES = [(5, 4, 3, 3), (4, 3, 6, 7), (16, 16, 12, 12), (9, 14, 4, 4), (1, 1, 3, 2), (6, 6, 1, 1), (8, 8, 8, 8)]
FITTED = [
    *SIZES,
    (12, 18, 8, 8),
    (18, 12, 8, 8),
    (3, 20, 6, 6),
    (20, 3, 6, 6),
    (1, 30, 2, 9),
    (30, 1, 9, 2),
    (7, 5, 16, 9),
]


def pixels(count: int) -> bytes:
    """Bytes that look random, of which neighbours differ."""
    n = np.arange(count)
    return ((7 * n + n * n % 251) % 256).astype(np.uint8).tobytes()


def case(op: str, name: str, data: bytes, **given: Any) -> dict[str, Any]:
    """A vector with its result."""
    made = {"op": op, "name": f"{op}: {name}", **given, "data": data.hex()}
    return {**made, "result": answer(made)}


def answer(case: dict[str, Any]) -> Any:
    """The result of the client in Python, in the form of the file."""
    try:
        return of_data(case, bytes.fromhex(case["data"]))
    except ValueError:
        return None


def of_data(case: dict[str, Any], data: bytes) -> Any:
    """The result of an operation on bytes."""
    op = case["op"]
    if op == "orientation":
        return orientation(data)
    size = case["size"]
    if op == "gray":
        return image_result(gray_to_rgb(data, *size))
    if op == "alpha":
        return image_result(alpha_to_rgb(data, *size, case["order"], tuple(case["background"])))
    if op == "yuv":
        return image_result(yuv_to_rgb(data, *size, case["layout"], case["levels"]))
    return of_image(case, np.frombuffer(data, np.uint8).reshape(*size, 3))


def of_image(case: dict[str, Any], image: Any) -> Any:
    """The result of an operation on an image in RGB."""
    if case["op"] == "upright":
        return image_result(upright(image, case["orientation"]))
    if case["op"] == "prepare":
        height, width = case["model"]
        form = input_form({"preprocessing": case["preprocessing"]}, {"input": {"height": height, "width": width}})
        return image_result(np.broadcast_to(form.prepare(image)[0], (height, width, 3)))
    if case["op"] == "luma":
        return image_result(luma(image))
    if case["op"] == "resize":
        return image_result(resize(image, *case["to"], antialias=case["antialias"]))
    if case["op"] == "crop":
        return image_result(crop(image, *case["to"]))
    return image_result(letterbox(image, *case["to"], case["colour"]))


def image_result(image: Any) -> dict[str, Any]:
    """An image in the form of the file."""
    return {"size": list(image.shape[:2]), "data": image.tobytes().hex()}


def resizing() -> Iterator[dict[str, Any]]:
    """Resize, crop and letterbox."""
    for antialias in (False, True):
        for h, w, height, width in SIZES:
            name = f"{h} x {w} to {height} x {width}{', antialiased' if antialias else ''}"
            given = {"size": [h, w], "to": [height, width], "antialias": antialias}
            yield case("resize", name, pixels(3 * h * w), **given)
    for h, w, height, width in FITTED:
        name, given = f"{h} x {w} to {height} x {width}", {"size": [h, w], "to": [height, width]}
        yield case("crop", name, pixels(3 * h * w), **given)
        yield case("letterbox", name, pixels(3 * h * w), **given, colour=[h, 255 - w, 114])


def colours() -> Iterator[dict[str, Any]]:
    """Gray, alpha and YUV; among the colours are those that overflow a byte."""
    for h, w in [(1, 1), (3, 5)]:
        yield case("gray", f"{h} x {w}", pixels(h * w), size=[h, w])
    levels_of_channels = bytes(value for color in product((0, 1, 127, 128, 255), repeat=3) for value in color)
    yield case("luma", "all corners", levels_of_channels, size=[5, 25])
    yield case("luma", "of gray", bytes(range(256)) * 3, size=[16, 16])
    alphas = bytes(value for alpha in range(0, 256, 5) for value in (alpha // 2, 255, 3 * alpha % 256, alpha))
    for order in ("rgba", "bgra"):
        for background in ([255, 255, 255], [0, 0, 0], [1, 128, 254]):
            name = f"{order} over {background}"
            yield case("alpha", name, alphas, size=[4, 13], order=order, background=background)
    for layout in ("nv12", "nv21", "i420"):
        for levels in ("full", "limited"):
            for h, w in [(1, 1), (2, 2), (5, 7), (8, 6)]:
                data = pixels(h * w + 2 * ((h + 1) // 2) * ((w + 1) // 2))
                yield case("yuv", f"{layout}, {levels}, {h} x {w}", data, size=[h, w], layout=layout, levels=levels)
    corners = [(y, u, v) for y in (0, 16, 235, 255) for u in (0, 16, 128, 240, 255) for v in (0, 16, 128, 240, 255)]
    for levels in ("full", "limited"):
        brightness = bytes(y for y, _, _ in corners for _ in range(2))
        chroma = bytes(value for _, u, v in corners for value in (u, v))
        given = {"size": [1, 2 * len(corners)], "layout": "nv12", "levels": levels}
        yield case("yuv", f"the corners, {levels}", brightness + chroma, **given)


def refused() -> Iterator[dict[str, Any]]:
    """Pixels of another number than stated, and what does not exist."""
    for count in (0, 5, 7):
        yield case("gray", f"{count} bytes for 6 pixels", pixels(count), size=[2, 3])
    given = {"order": "rgba", "background": [0, 0, 0]}
    for count in (0, 23, 25):
        yield case("alpha", f"{count} bytes for 6 pixels", pixels(count), size=[2, 3], **given)
    for background in ([0, 256, 0], [-1, 0, 0]):
        yield case("alpha", f"over {background}", pixels(4), size=[1, 1], order="rgba", background=background)
    for layout, count in (("nv12", 9), ("nv21", 11), ("i420", 0)):
        given = {"layout": layout, "levels": "full"}
        yield case("yuv", f"{layout} with {count} bytes for 6 pixels", pixels(count), size=[2, 3], **given)
    yield case("gray", "no pixels", b"", size=[0, 3])
    for value in (0, 9):
        yield case("upright", f"the orientation {value}", pixels(6), size=[1, 2], orientation=value)


def orientations() -> Iterator[dict[str, Any]]:
    """The eight orientations of pixels, and what files say."""
    for value in range(1, 9):
        yield case("upright", str(value), pixels(3 * 3 * 2), size=[3, 2], orientation=value)
    for name, data, _ in files():
        yield case("orientation", name, data)


def preparations() -> Iterator[dict[str, Any]]:
    """Versions 2 to 4 of the preprocessing, and what must be refused."""
    resized = {"op": "resize", "width": 8, "height": 6, "method": "integer_bilinear_antialias"}
    cropped, boxed = {**resized, "op": "crop"}, {**resized, "op": "letterbox", "colour": [0, 114, 255]}
    last, gray = {"op": "resize_to_model", "method": "integer_bilinear"}, {"op": "gray"}
    cases: list[tuple[str, int, list[Any]]] = [
        ("resized", 2, [resized, last]), ("cropped", 3, [cropped, last]), ("letterboxed", 3, [boxed, last]),
        ("resized in version 3", 3, [resized, last]), ("cropped in version 2", 2, [cropped, last]),
        ("letterboxed without a colour", 3, [{**resized, "op": "letterbox"}, last]),
        ("letterboxed with two channels", 3, [{**boxed, "colour": [0, 0]}, last]),
        ("letterboxed with 256", 3, [{**boxed, "colour": [0, 256, 0]}, last]),
        ("letterboxed with -1", 3, [{**boxed, "colour": [0, -1, 0]}, last]),
        ("letterboxed with a half", 3, [{**boxed, "colour": [0, 0.5, 0]}, last]),
        ("cropped and letterboxed", 3, [cropped, boxed, last]),
        ("cropped to nothing", 3, [{**cropped, "width": 0}, last]),
        ("cropped to too much", 3, [{**cropped, "height": 4097}, last]), ("cropped alone", 3, [cropped]),
        ("no steps", 3, []), ("of version 4", 4, [cropped, last]), ("gray", 4, [gray, resized, last]),
        ("gray, cropped", 4, [gray, cropped, last]), ("gray, letterboxed", 4, [gray, boxed, last]),
        ("gray after the rest", 4, [cropped, last, gray]), ("gray in version 3", 3, [gray, cropped, last]),
        ("gray alone", 4, [gray, last]),
    ]  # fmt: skip
    for name, version, steps in cases:
        given = {"size": [9, 16], "preprocessing": {"version": version, "steps": steps}}
        yield case("prepare", name, pixels(3 * 9 * 16), **given, model=[5, 5])
        if version == 4 or name == "cropped":
            yield case("prepare", f"{name}, to 3 x 7", pixels(3 * 9 * 16), **given, model=[3, 7])


def document() -> str:
    """The file, with one case per line."""
    cases = [*resizing(), *colours(), *refused(), *orientations(), *preparations()]
    lines = ",\n".join(f"    {json.dumps(entry)}" for entry in cases)
    return f'{{\n  "format": 1,\n  "notes": {json.dumps(NOTES)},\n  "cases": [\n{lines}\n  ]\n}}\n'


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
