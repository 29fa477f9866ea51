"""The samples that a family ships: real images, and the outputs of each exported file for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exports.client.python.preprocess import model_input
from factory_base.errors import ManifestError

if TYPE_CHECKING:
    from device_profiles.engine import Session

SAMPLES = "samples"
EXPECTED = "samples/expected"
EVALUATION = "evaluation"


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """An image, uint8 `(height, width, 3)`, as PNG without metadata, so that equal images give equal bytes."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def read_png(path: Path) -> NDArray[np.uint8]:
    """The image at `path`, RGB, uint8 `(height, width, 3)`.

    Raises:
        ManifestError: It is missing or not an image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ManifestError(f"{path.name}: is missing or not an image") from error


def run_samples(
    session: Session, images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], size: int,
    mean_ppm: Sequence[int], std_ppm: Sequence[int],
) -> NDArray[np.float32]:  # fmt: skip
    """The logits of base images, preprocessed as the manifest states: float32 `(n, classes)`. Raises `EngineError`."""
    return session.run(np.stack([model_input(image, size, mean_ppm, std_ppm) for image in images]))


def tolerance_micro(logits: NDArray[np.float32]) -> int:
    """How much logits may differ on another machine, in millionths: a thousandth of the largest, at least a thousandth.

    The largest difference seen between sound fp32 engines is 5e-4 (see `check_parity`); this is twice that.
    """
    return math.ceil(1000 * max(1.0, float(np.abs(logits).max())))
