"""Small data sets in every form that a source reads."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

PER_CLASS = 10


def picture(value: int, size: tuple[int, int] = (12, 9)) -> Image.Image:
    """A noisy picture around the grey level `value`; the same for the same arguments."""
    noise = np.random.default_rng(value).integers(0, 20, (size[1], size[0], 3))
    return Image.fromarray((noise + value % 230).astype(np.uint8))


def encoded(value: int) -> bytes:
    stream = io.BytesIO()
    picture(value).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def write_folder() -> Callable[..., Path]:
    """`write_folder(root, classes)` writes `PER_CLASS` pictures per class."""

    def write(root: Path, classes: tuple[str, ...] = ("cat", "dog", "emu"), first: int = 0) -> Path:
        for label, name in enumerate(classes):
            (root / name).mkdir(parents=True)
            for index in range(PER_CLASS):
                picture(first + label * 50 + index).save(root / name / f"{index}.png")
        return root

    return write


@pytest.fixture
def write_parquet() -> Callable[..., Path]:
    """`write_parquet(path, ...)` writes rows of three classes as the `datasets` library does."""

    def write(
        path: Path,
        labels: list[int | None] | None = None,
        names: tuple[str, ...] | None = ("cat", "dog", "emu"),
        damaged: dict[int, bytes | None] | None = None,
        column: str = "image",
        plain: bool = False,
    ) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = labels if labels is not None else [0, 1, 2] * PER_CLASS
        cells = [(damaged or {}).get(i, encoded(i)) for i in range(len(rows))]
        struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        images = pa.array(cells, pa.binary())
        if not plain:
            images = pa.array([{"bytes": cell, "path": f"{i}.png"} for i, cell in enumerate(cells)], struct)
        table = pa.table({column: images, "label": pa.array(rows, pa.int64())})
        if names is not None:
            features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=7)
        return path

    return write


@pytest.fixture
def arrays() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """30 images `(30, 6, 6, 3)` of three classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 6, 6, 3)).astype(np.uint8)
    return pixels, np.arange(30, dtype=np.int64) % 3


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.fixture
def deep_png() -> Callable[[NDArray[np.uint16]], bytes]:
    """`deep_png(samples)` encodes 16 bits per sample, `(H, W, 1 to 4 channels)`; Pillow writes none in colour."""

    def encode(samples: NDArray[np.uint16]) -> bytes:
        height, width, channels = samples.shape
        header = struct.pack(">IIBBBBB", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
        rows = b"".join(b"\0" + row.tobytes() for row in samples.astype(">u2"))
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + parts

    return encode
