"""Samples that hold nothing of a user's data: invented inputs, which go to the models without preprocessing.

They are colours that change smoothly over the image, made from a seed, so that the outputs of a model differ between
them. Models of the same input size share a file.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from device_profiles.engine import ModelInput
from exports.client.python.preprocess import resize
from exports.family.input_form import sample_input
from exports.family.records import NormaliseStep, SampleFile
from factory_base.files import sha256_bytes

ROLE: Final = "tensors"
SAMPLE_TENSORS: Final = 8
"""As many as images, so that a proof on a device takes as long with either."""
_SEED: Final = 17
"""Any number; another one would give other files for an unchanged model."""
_PATCHES: Final = 5
"""Patches of colour along a side: fewer give nearly plain images, many more average out in the first layers."""


def tensor_samples(shape: tuple[int, int, int], normalise: NormaliseStep | None) -> ModelInput:
    """Invented inputs of a model.

    Args:
        shape: The channels, the height and the width of the input.
        normalise: The normalisation that an app computes; None if the model takes pixels.

    Returns:
        `SAMPLE_TENSORS` inputs, uint8 `(n, height, width, channels)`, or float32 `(n, channels, height, width)` if they
        are normalised.
    """
    channels, height, width = shape
    size = (SAMPLE_TENSORS, _PATCHES, _PATCHES, channels)
    patches = np.random.Generator(np.random.PCG64(_SEED)).integers(0, 256, size)
    images = [resize(patch, height, width) for patch in patches.astype(np.uint8)]
    return np.concatenate([image[None] if normalise is None else sample_input(image, (height, width), normalise)
                           for image in images])  # fmt: skip


def tensor_bytes(inputs: ModelInput) -> bytes:
    """The values of inputs in C order, little-endian."""
    return np.ascontiguousarray(inputs).astype(inputs.dtype.newbyteorder("<")).tobytes()


def sample_file(folder: str, height: int, width: int, inputs: ModelInput) -> tuple[SampleFile, bytes]:
    """The description of the file of inputs in `folder`, named by their size and digest, and its contents."""
    data = tensor_bytes(inputs)
    digest = sha256_bytes(data)
    file = SampleFile(
        role=ROLE, name=f"{folder}/{height}x{width}-{digest[:12]}.bin", bytes=len(data), sha256=digest, height=height,
        width=width, dtype="uint8" if inputs.dtype == np.uint8 else "float32", count=len(inputs),
    )  # fmt: skip
    return file, data
