"""The two forms of a model's input: pixels, with the preprocessing in the file, or a tensor that the app prepares.

With pixels, the input is uint8 `(1, height, width, 3)`, and what an app does to an image is version 2 of the
preprocessing: two steps of resizing, in integers; or version 3, which crops or letterboxes first. With a tensor, it is
float32 `(1, 3, height, width)`, and the app also scales and normalises: version 1. `client.python.preprocess`
implements all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ModelInput
from device_profiles.workload.file_size import INPUT_NAME
from exports.client.python.preprocess import model_input, resize
from exports.family.records import (
    PIXELS_FEATURE,
    CropStep,
    InputSpec,
    LetterboxStep,
    Manifest,
    NormaliseStep,
    Preprocessing,
    ResizeStep,
    ResizeToModelStep,
    ScaleStep,
)
from factory_base.errors import ManifestError

_TENSOR_STEPS: Final = ("resize", "resize_to_model", "scale", "normalise")
_PIXEL_STEPS: Final = ("resize", "resize_to_model")
_STEPS: Final = {
    1: (_TENSOR_STEPS,),
    2: (_PIXEL_STEPS,),
    3: (("crop", "resize_to_model"), ("letterbox", "resize_to_model")),
}
"""The steps of each version of the preprocessing that this program runs: one of these."""
_IN_INTEGERS: Final = ("integer_bilinear_antialias", "integer_bilinear")
_METHODS: Final = {1: ("bilinear_antialias", "bilinear"), 2: _IN_INTEGERS, 3: _IN_INTEGERS}
"""The methods of the two steps of resizing, by version of the preprocessing."""
_PIXEL_VERSIONS: Final = (2, 3)
"""The versions that make pixels."""


def input_spec(pixels: bool) -> InputSpec:
    """The description of the input of all models of a family."""
    return InputSpec(
        name=INPUT_NAME, layout="NHWC" if pixels else "NCHW", dtype="uint8" if pixels else "float32", channels=3,
        colour="RGB", image_min=0, image_max=255,
    )  # fmt: skip


def preprocessing(size: tuple[int, int], normalise: NormaliseStep | None) -> Preprocessing:
    """What an app does to an image.

    Args:
        size: Height and width of the base size.
        normalise: The normalisation; None if it is in the files, which take pixels.
    """
    height, width = size
    if normalise is None:
        resize_step = ResizeStep(width=width, height=height, method="integer_bilinear_antialias")
        return Preprocessing(version=2, steps=(resize_step, ResizeToModelStep(method="integer_bilinear")))
    steps = (ResizeStep(width=width, height=height), ResizeToModelStep(), ScaleStep(), normalise)
    return Preprocessing(version=1, steps=steps)


def base_size(found: Preprocessing) -> tuple[int, int]:
    """The height and the width of the base size. Raises `ManifestError` unless one step leads to it."""
    steps = [step for step in found.steps if isinstance(step, ResizeStep | CropStep | LetterboxStep)]
    if len(steps) != 1:
        raise ManifestError(
            f"the preprocessing has {len(steps)} steps 'resize', 'crop' or 'letterbox', expected one of them"
        )
    return steps[0].height, steps[0].width


def normalisation(found: Preprocessing) -> NormaliseStep | None:
    """The normalisation that an app computes; None if the files take pixels.

    Raises:
        ManifestError: This program does not implement the preprocessing.
    """
    names = tuple(step.op for step in found.steps)
    methods = tuple(step.method for step in found.steps if not isinstance(step, ScaleStep | NormaliseStep))
    divisors = {step.divisor for step in found.steps if isinstance(step, ScaleStep)}
    if names not in _STEPS.get(found.version, ()) or methods != _METHODS[found.version] or divisors - {255}:
        raise ManifestError(
            f"the preprocessing is version {found.version} with steps {', '.join(names)}; this program runs only "
            f"version 1: {', '.join(_TENSOR_STEPS)}, with the divisor 255, version 2: {', '.join(_PIXEL_STEPS)}, in "
            "integers, and version 3: the same with crop or letterbox in place of resize"
        )
    steps = [step for step in found.steps if isinstance(step, NormaliseStep)]
    if any(len(step.mean_ppm) != 3 or len(step.std_ppm) != 3 for step in steps):
        raise ManifestError("the preprocessing needs one step 'normalise' with mean and deviation of three channels")
    return steps[0] if steps else None


def sample_input(image: NDArray[np.uint8], size: int, normalise: NormaliseStep | None) -> ModelInput:
    """An image at base size, uint8 `(height, width, 3)`, as the input of a model of that size, a batch of one."""
    if normalise is None:
        return resize(image, size, size)[None]
    return model_input(image, size, normalise.mean_ppm, normalise.std_ppm)[None]


def input_faults(manifest: Manifest) -> Iterator[str]:
    """One line for each way in which what a manifest says about the input, an image, contradicts itself."""
    given, steps = manifest.task.input, manifest.task.preprocessing
    if steps is None or not isinstance(given, InputSpec):
        return
    version = steps.version
    pixels = given.dtype == "uint8"
    if (given.layout == "NHWC") != pixels:
        yield f"the input is {given.dtype} {given.layout}, expected float32 NCHW or uint8 NHWC"
    if version in _METHODS and pixels != (version in _PIXEL_VERSIONS):
        yield f"the input is {given.dtype}, which version {version} of the preprocessing does not make"
    if pixels != (PIXELS_FEATURE in manifest.critical):
        negation = "" if pixels else "not "
        yield f"the input is {given.dtype}, so {PIXELS_FEATURE!r} must {negation}be among the critical features"
