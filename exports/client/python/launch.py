"""The steps of an app at launch: read the manifest, choose this device's model, check it, classify one image.

    python launch.py FAMILY_DIR IMAGE.png

Needs ONNX Runtime, and NumPy, which ONNX Runtime installs. Copy this file with `resolver.py` and `preprocess.py`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
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
QUOTA_FILES = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
"""Quota and period of a cgroup of Linux: version 2 has them in one file, version 1 in two."""


def main(arguments: list[str]) -> None:
    """Print the label of the image, and why this device gets the model that it gets."""
    if len(arguments) != 2:
        raise SystemExit("usage: python launch.py FAMILY_DIR IMAGE.png")
    folder, image = Path(arguments[0]), Path(arguments[1])
    resolver, preprocess = neighbour("resolver"), neighbour("preprocess")
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        resolution = resolver.resolve(manifest, this_device(resolver, folder))
        if resolution.model is None:
            raise ValueError(resolution.reasons[-1].text)
        logits = run(folder, manifest, resolution.model, preprocess, decode_png(image.read_bytes()))
    except (OSError, ValueError) as error:
        raise SystemExit(f"launch: {error}") from error
    for reason in resolution.reasons:
        print(f"{reason.tier}{' ' + reason.model if reason.model else ''}: {reason.code}: {reason.text}")
    best = int(logits.argmax())
    odds = np.exp(logits - logits.max())
    print(f"{image.name}: {manifest['task']['labels'][best]} ({odds[best] / odds.sum():.1%}) by {resolution.model}")


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
            if len(limit) == 2 and all(word.isascii() and word.isdigit() and int(word) for word in limit):
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
    """Check the model's digest, preprocess `image`, and return its logits, float32 `(classes,)`."""
    model = manifest["models"][name]
    file = model["files"][0]
    data = (folder / file["name"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != file["sha256"]:
        raise ValueError(f"{file['name']} is damaged: its SHA-256 is not that of the manifest; download it again")
    steps = {step["op"]: step for step in manifest["task"]["preprocessing"]["steps"]}
    base = preprocess.fit(image, steps["resize"]["height"], steps["resize"]["width"])
    means, deviations = steps["normalise"]["mean_ppm"], steps["normalise"]["std_ppm"]
    batch = preprocess.model_input(base, model["input"]["width"], means, deviations)[None]
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    logits: NDArray[np.float32] = session.run(["logits"], {"image": batch})[0][0]
    return logits


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """The RGB pixels of an 8-bit gray, RGB or RGBA PNG (ISO/IEC 15948) without interlacing, uint8 `(height, width, 3)`.

    Transparency is ignored.

    Raises:
        ValueError: The file is of another kind or damaged.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("the image is not a PNG; convert it")
    chunks = png_chunks(data)
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks.get(b"IHDR", bytes(13)))
    if depth != 8 or colour not in CHANNELS or interlace or not 0 < width * height <= MAX_PIXELS:
        raise ValueError(
            f"the PNG must be 8-bit gray, RGB or RGBA, not interlaced, and have at most {MAX_PIXELS} pixels"
        )
    row = width * CHANNELS[colour]
    try:
        raw = zlib.decompressobj().decompress(chunks[b"IDAT"], height * (row + 1))
    except (KeyError, zlib.error) as error:
        raise ValueError("the PNG is damaged: its pixels cannot be unpacked") from error
    if len(raw) != height * (row + 1):
        raise ValueError("the PNG is damaged: pixels are missing")
    pixels = unfilter(raw, height, row, CHANNELS[colour]).reshape(height, width, CHANNELS[colour])
    return np.repeat(pixels, 3, axis=2) if colour == 0 else np.ascontiguousarray(pixels[:, :, :3])


def png_chunks(data: bytes) -> dict[bytes, bytes]:
    """Chunk type -> contents, chunks of one type joined. Raises `ValueError` if a checksum does not match."""
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        if data[at + 8 + length : at + 12 + length] != struct.pack(">I", zlib.crc32(body)):
            raise ValueError("the PNG is damaged: a checksum does not match")
        chunks[body[:4]] = chunks.get(body[:4], b"") + body[4:]
        at += 12 + length
    return chunks


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
