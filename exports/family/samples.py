"""The samples that a family ships: real images, and the outputs of each exported file for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ModelInput, Precision
from exports.family.input_form import sample_input
from exports.family.parity import Runnable
from exports.family.records import NormaliseStep
from factory_base.errors import ManifestError
from factory_base.foreign import printable

SAMPLES = "samples"
EXPECTED = "samples/expected"
EVALUATION = "evaluation"
TOKENIZER = "tokenizer"
MAX_EXPECTED_BYTES = 1 << 26
"""The largest file of expected outputs. 8 samples, 10,000 classes and 50 models take about 36 MB."""


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """An image, uint8 `(height, width, 1 or 3)`, as PNG without metadata, so that equal images give equal bytes."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


def decode_png(data: bytes, size: tuple[int, int], name: str) -> NDArray[np.uint8]:
    """The image in a PNG file, RGB, uint8 `(height, width, 3)`.

    Args:
        data: The contents of the file.
        size: The height and width that it must have; nothing is unpacked if it has others.
        name: The name of the file in messages.

    Raises:
        ManifestError: It is not a PNG, damaged, or of another size.
    """
    from PIL import Image

    # The signature, the length and name of the first chunk, then width and height (ISO/IEC 15948).
    if len(data) < 24 or not data.startswith(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"):
        raise ManifestError(f"{name}: is not a PNG")
    found = int.from_bytes(data[20:24]), int.from_bytes(data[16:20])
    if found != size:
        raise ManifestError(f"{name}: has {found[1]} x {found[0]} pixels, expected {size[1]} x {size[0]}")
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # a damaged file makes decoders raise errors of any type
        raise ManifestError(f"{name}: is a damaged PNG ({printable(str(error), 100)})") from error


def run_samples(
    session: Runnable, images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], size: tuple[int, int],
    normalise: NormaliseStep | None,
) -> NDArray[np.float32]:  # fmt: skip
    """The logits of base images, preprocessed as the manifest states: float32 `(n, classes)`.

    Images are preprocessed one at a time, because a manifest of unknown origin may ask for large ones.

    Args:
        session: The model.
        images: The images at base size, each uint8 `(h, w, channels)`.
        size: The height and width of the model's input.
        normalise: The normalisation of the manifest; None if the model takes pixels.

    Raises:
        EngineError: The engine fails.
    """
    return np.concatenate([session.run(sample_input(image, size, normalise)) for image in images])


def run_tensors(session: Runnable, inputs: ModelInput) -> NDArray[np.float32]:
    """The logits of model inputs, run one at a time as an app runs them: float32 `(n, classes)`.

    Raises:
        EngineError: The engine fails.
    """
    return np.concatenate([session.run(inputs[index : index + 1]) for index in range(len(inputs))])


TOLERANCES: Final[Mapping[Precision, float]] = {"fp32": 1e-3, "fp16": 1e-3, "int8_weights": 1e-3, "int8": 0.025}
"""How much logits may differ on another machine, as a share of the largest one.

Files in float32, and those whose weights are decoded to float32 when they are loaded, run in float32 kernels
everywhere: the largest difference seen between sound engines is 5e-4, and this is twice that. Kernels in 8 bits round
sums differently, so that a value may move by one step in every layer. Between ONNX Runtime's integer kernels and the
same operators in float32 (its optimisations off), logits of five networks for CIFAR-10 on 1,000 images each differ by
at most 0.0124 of the largest one (99 of 100 images: 0.008), and the top-1 class on at most one image. The tolerance is
twice that, which is about as much as quantisation itself changes."""


def tolerance_micro(logits: NDArray[np.float32], precision: Precision) -> int:
    """How much logits may differ on another machine, in millionths: `TOLERANCES`, as if the largest were at least 1."""
    return math.ceil(1e6 * TOLERANCES[precision] * max(1.0, float(np.abs(logits).max())))
