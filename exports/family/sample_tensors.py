"""Samples that hold nothing of a user's data: invented inputs, which go to the models without preprocessing.

Images are colours that change smoothly over the image, made from a seed, so that the outputs of a model differ between
them. Models of the same input size share a file.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ModelInput, input_type_of
from exports.client.python.preprocess import resize
from exports.family.input_form import sample_input
from exports.family.records import NormaliseStep, SampleFile
from exports.family.task_spec import TextSpec
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


def token_samples(texts: TextSpec) -> NDArray[np.int64]:
    """Invented texts: `SAMPLE_TENSORS` rows of random tokens, of different lengths, int64 `(n, length)`."""
    generator = np.random.Generator(np.random.PCG64(_SEED))
    tokens = generator.integers(0, texts.vocabulary, (SAMPLE_TENSORS, texts.length), dtype=np.int64)
    lengths = np.linspace(1, texts.length, SAMPLE_TENSORS).round().astype(int)
    return np.where(np.arange(texts.length) < lengths[:, None], tokens, texts.padding)


def sample_file(folder: str, inputs: ModelInput) -> tuple[SampleFile, bytes]:
    """The description of the file of inputs in `folder`, named by their size and digest, and its contents."""
    data, dtype = tensor_bytes(inputs), input_type_of(inputs)
    digest = sha256_bytes(data)
    shape = inputs.shape[1:]
    if dtype == "int64":
        size, sides = str(shape[0]), {"length": shape[0]}
    else:
        height, width = shape[:2] if dtype == "uint8" else shape[1:]
        size, sides = f"{height}x{width}", {"height": height, "width": width}
    file = SampleFile(
        role=ROLE, name=f"{folder}/{size}-{digest[:12]}.bin", bytes=len(data), sha256=digest, dtype=dtype,
        count=len(inputs), **sides,
    )  # fmt: skip
    return file, data
