"""The steps of an app at launch: read the manifest, choose this device's model, check it, classify one image.

    python launch.py FAMILY_DIR IMAGE.png

Needs ONNX Runtime, and NumPy, which ONNX Runtime installs. Copy this file with `resolver.py` and `preprocess.py`.

Files of a family may be damaged or forged on their way: only regular files inside its folder are read, each with a
limit on its size, and every value is checked before it is used. A model is trusted if it has the manifest's digest.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import stat
import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # otherwise its builds upload usage data from the first import on
import onnxruntime

CHANNELS = {0: 1, 2: 3, 6: 4}
"""Channels of the PNG colour types that this program reads: gray, RGB, RGBA."""
MAX_PIXELS = 1 << 24
"""16 megapixels, 64 MiB as RGBA: a damaged header must not fill the memory."""
MAX_IMAGE_SIDE = 1 << 14
"""Resizing takes memory in proportion to a side, too: a line of 16 million pixels would need gigabytes."""
MAX_IMAGE_BYTES = 1 << 28
MAX_MANIFEST_BYTES = 1 << 18
MAX_LABELS_BYTES = 1 << 24
MAX_MODEL_BYTES = 1 << 31
"""No ONNX file is larger: protobuf allows 2 GiB."""
MAX_SIDE = 4096
"""The largest side of an input or a base image, in pixels."""
MAX_DEPTH = 16
MAX_VALUES = 200_000
MAX_INTEGER = 2**53 - 1
"""Limits on the JSON of a family: nesting, number of values, and the largest integer."""
STEPS = {1: ["resize", "resize_to_model", "scale", "normalise"], 2: ["resize", "resize_to_model"]}
"""The steps of each version of the preprocessing, in order."""
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
"""A path below the family's folder: no `..`, not absolute, no hidden files."""
QUOTA_FILES = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
"""Quota and period of a cgroup of Linux: version 2 has them in one file, version 1 in two."""


def main(arguments: list[str]) -> None:
    """Print the label of the image, and why this device gets the model that it gets."""
    if len(arguments) != 2:
        raise SystemExit("usage: python launch.py FAMILY_DIR IMAGE.png")
    folder, image = Path(arguments[0]), Path(arguments[1])
    resolver, preprocess = neighbour("resolver"), neighbour("preprocess")
    try:
        manifest = parse_json(read(folder / "manifest.json", MAX_MANIFEST_BYTES, folder), "manifest.json")
        resolution = resolver.resolve(manifest, this_device(resolver, folder))
        if resolution.model is None:
            raise ValueError(resolution.reasons[-1].text)
        labels = class_names(folder, manifest)
        pixels = decode_png(read(image, MAX_IMAGE_BYTES))
        logits = run(folder, manifest, resolution.model, preprocess, pixels)
        if logits.shape != (len(labels),) or not np.isfinite(logits).all():
            raise ValueError(f"the model does not return a finite logit for each of the {len(labels)} labels")
    except (OSError, ValueError) as error:
        raise SystemExit(f"launch: {printable(str(error))}") from error
    for reason in resolution.reasons:
        place = f"{reason.tier}{' ' + reason.model if reason.model else ''}"
        print(printable(f"{place}: {reason.code}: {reason.text}"))
    best = int(logits.argmax())
    odds = np.exp(logits - logits.max())
    print(printable(f"{image.name}: {labels[best]} ({odds[best] / odds.sum():.1%}) by {resolution.model}"))


def printable(text: str) -> str:
    """`text` in one line: control codes, line breaks and bidirectional marks are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def read(path: Path, limit: int, inside: Path | None = None) -> bytes:
    """The content of a regular file of at most `limit` bytes; with `inside`, links must not lead out of that folder.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is of another kind (opening a FIFO would wait for a writer), too large, or elsewhere.
    """
    if inside is not None and not path.resolve().is_relative_to(inside.resolve()):
        raise ValueError(f"{path} leads out of {inside}")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is not a regular file")
    with os.fdopen(descriptor, "rb") as stream:
        data = stream.read(limit + 1) if state.st_size <= limit else None
    if data is None or len(data) > limit:
        raise ValueError(f"{path} is larger than the limit of {limit} bytes")
    return data


def parse_json(data: bytes, name: str) -> Any:
    """The value of strict JSON: no repeated keys, limited nesting, values and integers, finite numbers.

    Raises:
        ValueError: A rule is broken.
    """
    try:
        check_structure(data)
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique_keys,
            parse_int=bounded_integer,
            parse_float=finite_number,
            parse_constant=finite_number,
        )
        json.dumps(value, ensure_ascii=False).encode()  # refuses half of a surrogate pair, which is not Unicode
        return value
    except ValueError as error:
        raise ValueError(f"{name} is damaged ({error}); download it again") from error


def check_structure(data: bytes) -> None:
    """Raise `ValueError` if JSON has too many values, or is nested too deep, before it is parsed."""
    if data.count(b'"') > 4 * MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")
    outside_strings = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    if outside_strings.count(b",") >= MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")
    depth = 0
    for bracket in re.findall(rb"[\[\]{}]", outside_strings):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises `ValueError` if a key is repeated, because parsers disagree on which value counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is repeated")
    return found


def bounded_integer(text: str) -> int:
    """A JSON integer. Raises `ValueError` beyond +-(2^53-1), which not every parser represents exactly."""
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise ValueError("an integer is too large")
    return int(text)


def finite_number(text: str) -> float:
    """A JSON number. Raises `ValueError` for 1e999, NaN and Infinity."""
    value = float(text) if len(text) <= 400 else np.inf
    if not np.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return float(value)


def take(value: Any, kind: type, *path: str | int) -> Any:
    """The value at `path` in the manifest, which must be of type `kind`. Raises `ValueError` if it is not there."""
    for key in path:
        inside = isinstance(value, dict) if isinstance(key, str) else isinstance(value, list) and key < len(value)
        value = value[key] if inside and (isinstance(key, int) or key in value) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"the manifest has no usable {'.'.join(map(str, path))}; download the family again")
    return value


def read_file(folder: Path, file: Any, limit: int) -> bytes:
    """The content of a file that the manifest names, with its digest checked. Raises `ValueError`, `OSError`."""
    name, digest = take(file, str, "name"), take(file, str, "sha256")
    if not FILE_NAME.fullmatch(name):
        raise ValueError(f"the file name {name[:80]!r} is not allowed: it could lead out of the family")
    try:
        data = read(folder / name, limit, folder)
    except FileNotFoundError as error:
        raise ValueError(f"{name} is missing; download it again") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{name} is damaged: its SHA-256 is not that of the manifest; download it again")
    return data


def class_names(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """The names of the classes, in the order of the logits. Long lists have a file of their own."""
    if "labels_file" in take(manifest, dict, "task"):
        names = parse_json(read_file(folder, manifest["task"]["labels_file"], MAX_LABELS_BYTES), "the file of labels")
    else:
        names = take(manifest, list, "task", "labels")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("the labels are not a list of names; download the family again")
    return names


def neighbour(name: str) -> ModuleType:
    """The module in the file `name`.py beside this one."""
    path = Path(__file__).resolve().with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise SystemExit(f"launch: {name}.py is missing; copy it beside launch.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def this_device(resolver: ModuleType, folder: Path) -> Any:
    """`DeviceFacts` of this computer; facts that cannot be determined are None."""
    return resolver.DeviceFacts(
        platform=sys.platform,
        ram_bytes=meminfo("MemTotal"),
        available_memory_bytes=meminfo("MemAvailable"),
        cores=usable_cores(),
        free_disk_bytes=shutil.disk_usage(folder).free,
        engine="onnxruntime",
        engine_version=onnxruntime.__version__,
    )


def usable_cores(root: Path = Path("/")) -> int:
    """Processors that this process may use, at least 1: its affinity, cut to the quotas of its cgroups (1 and 2)."""
    found = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for line in words(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = Path(path.lstrip("/"))
        mounts = [controllers, "cpu"] if controllers else ["", "unified"]
        for folder in [root / "sys/fs/cgroup" / mount / part for mount in mounts for part in (group, *group.parents)]:
            limit = [word for file in QUOTA_FILES for word in words(folder / file)]
            if len(limit) == 2 and all(re.fullmatch(r"0*[1-9][0-9]{0,18}", word) for word in limit):
                found = min(found, int(limit[0]) / int(limit[1]))
    return max(1, int(found))


def words(path: Path) -> list[str]:
    """The words of a file of the system; none if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return []


def meminfo(name: str) -> int | None:
    """The value of a line of Linux's /proc/meminfo, in bytes; None on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def run(
    folder: Path, manifest: dict[str, Any], name: str, preprocess: ModuleType, image: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Check the digests of the model's files, preprocess `image`, and return its logits, float32 `(classes,)`.

    Raises:
        ValueError: The manifest lacks something, the file is not the manifest's, or ONNX Runtime refuses it.
        OSError: The file cannot be read.
    """
    model = manifest["models"][name]
    opened, others = take(model, dict, "files", 0), take(model, list, "files")[1:]
    data = read_file(folder, opened, MAX_MODEL_BYTES)
    for file in others:  # weights that several models share, which ONNX Runtime finds beside the graph
        read_file(folder, file, MAX_MODEL_BYTES)
    source = str(folder / opened["name"]) if others else data
    steps = preprocessing_steps(take(manifest, dict, "task", "preprocessing"))
    base_size = side(steps, "resize", "height"), side(steps, "resize", "width")
    size = side(model, "input", "width")
    if "normalise" in steps:
        means, deviations = channels(steps, "mean_ppm"), channels(steps, "std_ppm")
        if min(deviations) <= 0:
            raise ValueError("the manifest has no usable normalise.std_ppm; download the family again")
        batch = preprocess.model_input(preprocess.fit(image, *base_size), size, means, deviations)[None]
    else:
        batch = preprocess.resize(preprocess.resize(image, *base_size, antialias=True), size, size)[None]
    try:
        session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
        logits: NDArray[np.float32] = session.run(["logits"], {"image": batch})[0]
    except Exception as error:  # its error types are private to its extension module
        raise ValueError(f"ONNX Runtime refuses the model {name}: {str(error)[:200]}") from error
    return np.asarray(logits).reshape(-1)


def preprocessing_steps(preprocessing: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The steps by name. Raises `ValueError` for any other preprocessing than that of `preprocess.py`."""
    steps = [step for step in take(preprocessing, list, "steps") if isinstance(step, dict)]
    version = preprocessing.get("version")
    names = STEPS.get(version, []) if isinstance(version, int) else []
    if not names or [step.get("op") for step in steps] != names or (version == 1 and steps[2].get("divisor") != 255):
        raise ValueError("the manifest needs a preprocessing that this program does not know; update the app")
    return dict(zip(names, steps, strict=True))


def side(value: Any, *path: str) -> int:
    """The size in pixels at `path`. Raises `ValueError` if it is not in 1 to `MAX_SIDE`."""
    pixels: int = take(value, int, *path)
    if not 0 < pixels <= MAX_SIDE:
        raise ValueError(f"{'.'.join(path)} is {pixels} pixels, expected 1 to {MAX_SIDE}")
    return pixels


def channels(steps: dict[Any, Any], key: str) -> list[int]:
    """The three integers of the step `normalise`. Raises `ValueError` if they are not there."""
    values = take(steps, list, "normalise", key)
    if len(values) != 3:
        raise ValueError(f"the manifest has no usable normalise.{key}; download the family again")
    return [take(values, int, channel) for channel in range(3)]


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """The RGB pixels of an 8-bit gray, RGB or RGBA PNG (ISO/IEC 15948) without interlacing, uint8 `(height, width, 3)`.

    Transparency is ignored.

    Raises:
        ValueError: The file is of another kind or damaged.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("the image is not a PNG; convert it")
    header, packed = png_chunks(data)
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if depth != 8 or colour not in CHANNELS or interlace:
        raise ValueError("the PNG must be 8-bit gray, RGB or RGBA, and not interlaced; convert it")
    if not 0 < width * height <= MAX_PIXELS or max(width, height) > MAX_IMAGE_SIDE:
        raise ValueError(
            f"the PNG has {width} x {height} pixels, expected at most {MAX_PIXELS} in all and {MAX_IMAGE_SIDE} a side"
        )
    row = width * CHANNELS[colour]
    try:
        raw = zlib.decompressobj().decompress(packed, height * (row + 1))
    except zlib.error as error:
        raise ValueError("the PNG is damaged: its pixels cannot be unpacked") from error
    if len(raw) != height * (row + 1):
        raise ValueError("the PNG is damaged: pixels are missing")
    pixels = unfilter(raw, height, row, CHANNELS[colour]).reshape(height, width, CHANNELS[colour])
    return np.repeat(pixels, 3, axis=2) if colour == 0 else np.ascontiguousarray(pixels[:, :, :3])


def png_chunks(data: bytes) -> tuple[bytes, bytes]:
    """The header of a PNG, 13 bytes (zeros if it has none), and its packed pixels.

    Raises:
        ValueError: A checksum does not match.
    """
    header, packed, at = bytes(13), list[bytes](), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        if data[at + 8 + length : at + 12 + length] != struct.pack(">I", zlib.crc32(body)):
            raise ValueError("the PNG is damaged: a checksum does not match")
        if body[:4] == b"IHDR" and length == len(header):
            header = body[4:]
        elif body[:4] == b"IDAT":
            packed.append(body[4:])
        at += 12 + length
    return header, b"".join(packed)


def unfilter(raw: bytes, height: int, row: int, step: int) -> NDArray[np.uint8]:
    """Undo PNG's line filters: uint8 `(height, row)`; a line has `row` bytes, a pixel `step`."""
    above = bytearray(row)
    lines = bytearray()
    for y in range(height):
        kind, line = raw[y * (row + 1)], bytearray(raw[y * (row + 1) + 1 : (y + 1) * (row + 1)])
        if kind > 4:
            raise ValueError(f"the PNG is damaged: line filter {kind} does not exist")
        for x in range(row if kind else 0):
            left = line[x - step] if x >= step else 0
            corner = above[x - step] if x >= step else 0
            line[x] = (line[x] + predict(kind, left, above[x], corner)) & 255
        lines += line
        above = line
    return np.frombuffer(bytes(lines), np.uint8).reshape(height, row)


def predict(kind: int, left: int, up: int, corner: int) -> int:
    """The value that PNG's line filter `kind` (1 to 4: left, up, average, Paeth) predicts for a byte."""
    if kind < 4:
        return (left, up, (left + up) // 2)[kind - 1]
    estimate = left + up - corner
    return min((left, up, corner), key=lambda value: abs(estimate - value))


if __name__ == "__main__":
    main(sys.argv[1:])
