"""The samples that a family ships: real images, and what each exported file answers to them."""

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
    """`(height, width, 3)` uint8 as PNG, without any metadata, so that equal images give equal bytes."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def read_png(path: Path) -> NDArray[np.uint8]:
    """The image at `path`, `(height, width, 3)` uint8 RGB.

    Raises:
        ManifestError: it is missing or not an image.
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
    """Preprocess base images as the manifest documents it, run them: float32 `(n, classes)`. Raises `EngineError`."""
    return session.run(np.stack([model_input(image, size, mean_ppm, std_ppm) for image in images]))


def tolerance_micro(logits: NDArray[np.float32]) -> int:
    """How far another machine's kernels may be off: a thousandth of the largest logit, at least a thousandth."""
    return math.ceil(1000 * max(1.0, float(np.abs(logits).max())))
