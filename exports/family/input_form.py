"""The two forms of a model's input: pixels, with the preprocessing in the file, or a tensor that the app prepares.

With pixels, the input is uint8 `(1, height, width, channels)`, and what an app does to an image is version 2 of the
preprocessing: two steps of resizing, in integers; version 3, which crops or letterboxes first; or version 4, which does
any of them in gray. With a tensor, it is float32 `(1, 3, size, size)`, and the app also scales and normalises: version
1. `client.python.preprocess` implements all of them.
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
    IMAGE_FORM_FEATURE,
    PIXELS_FEATURE,
    CropStep,
    GrayStep,
    InputShape,
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
from supernet.data.image_form import BORDER, Fitting

_TENSOR_STEPS: Final = ("resize", "resize_to_model", "scale", "normalise")
_PIXEL_STEPS: Final = ("resize", "resize_to_model")
_STEPS: Final = {
    1: (_TENSOR_STEPS,),
    2: (_PIXEL_STEPS,),
    3: (("crop", "resize_to_model"), ("letterbox", "resize_to_model")),
    4: tuple(("gray", fitting, "resize_to_model") for fitting in ("resize", "crop", "letterbox")),
}
"""The steps of each version of the preprocessing that this program runs: one of these."""
_IN_INTEGERS: Final = ("integer_bilinear_antialias", "integer_bilinear")
_METHODS: Final = {1: ("bilinear_antialias", "bilinear"), 2: _IN_INTEGERS, 3: _IN_INTEGERS, 4: _IN_INTEGERS}
"""The methods of the two steps of resizing, by version of the preprocessing."""
_PIXEL_VERSIONS: Final = (2, 3, 4)
"""The versions that make pixels."""


def input_spec(pixels: bool, channels: int = 3) -> InputSpec:
    """The description of the input of all models of a family."""
    return InputSpec(
        name=INPUT_NAME, layout="NHWC" if pixels else "NCHW", dtype="uint8" if pixels else "float32", channels=channels,
        colour="gray" if channels == 1 else "RGB", image_min=0, image_max=255,
    )  # fmt: skip


def preprocessing(
    size: tuple[int, int], normalise: NormaliseStep | None, fitting: Fitting = "squash", channels: int = 3
) -> Preprocessing:
    """What an app does to an image.

    Args:
        size: Height and width of the base size.
        normalise: The normalisation; None if it is in the files, which take pixels.
        fitting: How an image of another shape is fitted to the base size, as it was for training.
        channels: 3 for RGB, 1 for gray.

    Raises:
        ManifestError: No version of the preprocessing does that for files that take tensors.
    """
    height, width = size
    if normalise is None:
        fit, to_model = _fitting_step(height, width, fitting), ResizeToModelStep(method="integer_bilinear")
        if channels == 1:
            return Preprocessing(version=4, steps=(GrayStep(), fit, to_model))
        return Preprocessing(version=2 if fitting == "squash" else 3, steps=(fit, to_model))
    if fitting != "squash" or channels == 1:
        raise ManifestError(
            f"models that take tensors cannot have images of {channels} channels with the fitting {fitting!r}; export "
            "them for pixels"
        )
    steps = (ResizeStep(width=width, height=height), ResizeToModelStep(), ScaleStep(), normalise)
    return Preprocessing(version=1, steps=steps)


def _fitting_step(height: int, width: int, fitting: Fitting) -> ResizeStep | CropStep | LetterboxStep:
    if fitting == "crop":
        return CropStep(width=width, height=height)
    if fitting == "letterbox":
        return LetterboxStep(width=width, height=height, colour=(BORDER, BORDER, BORDER))
    return ResizeStep(width=width, height=height, method="integer_bilinear_antialias")


def base_size(found: Preprocessing) -> tuple[int, int]:
    """The height and the width of the base size. Raises `ManifestError` unless one step leads to it."""
    steps = [step for step in found.steps if isinstance(step, ResizeStep | CropStep | LetterboxStep)]
    if len(steps) != 1:
        raise ManifestError(
            f"the preprocessing has {len(steps)} steps 'resize', 'crop' or 'letterbox', expected one of them"
        )
    return steps[0].height, steps[0].width


def fitting_notes(before: Preprocessing | None, after: Preprocessing | None) -> tuple[str, ...]:
    """A note if apps fit images to the base size in another way than before."""
    if before is None or after is None or _fitting(before) == _fitting(after):
        return ()
    note = f"apps fit images otherwise: {_fitting(after)} and no longer {_fitting(before)}"
    if after.version > before.version:
        note += f"; apps that do not know version {after.version} of the preprocessing keep their earlier family"
    return (note,)


def _fitting(found: Preprocessing) -> str:
    fitting = next((s for s in found.steps if isinstance(s, ResizeStep | CropStep | LetterboxStep)), None)
    if fitting is None:
        return "in an unknown way"
    gray = " in gray" if any(isinstance(step, GrayStep) for step in found.steps) else ""
    return f"{fitting.op} to {fitting.width} x {fitting.height} pixels{gray}"


def normalisation(found: Preprocessing) -> NormaliseStep | None:
    """The normalisation that an app computes; None if the files take pixels.

    Raises:
        ManifestError: This program does not implement the preprocessing.
    """
    names = tuple(step.op for step in found.steps)
    methods = tuple(s.method for s in found.steps if not isinstance(s, GrayStep | ScaleStep | NormaliseStep))
    divisors = {step.divisor for step in found.steps if isinstance(step, ScaleStep)}
    if names not in _STEPS.get(found.version, ()) or methods != _METHODS[found.version] or divisors - {255}:
        raise ManifestError(
            f"the preprocessing is version {found.version} with steps {', '.join(names)}; this program runs only "
            f"version 1: {', '.join(_TENSOR_STEPS)}, with the divisor 255, version 2: {', '.join(_PIXEL_STEPS)}, in "
            "integers, version 3: the same with crop or letterbox in place of resize, and version 4: any of these in "
            "gray"
        )
    steps = [step for step in found.steps if isinstance(step, NormaliseStep)]
    if any(len(step.mean_ppm) != 3 or len(step.std_ppm) != 3 for step in steps):
        raise ManifestError("the preprocessing needs one step 'normalise' with mean and deviation of three channels")
    return steps[0] if steps else None


def sample_input(image: NDArray[np.uint8], size: tuple[int, int], normalise: NormaliseStep | None) -> ModelInput:
    """An image at base size, uint8 `(h, w, channels)`, as the input of a model of that size, a batch of one.

    Raises:
        ManifestError: An input that is not square would have to be normalised.
    """
    height, width = size
    if normalise is None:
        return resize(image, height, width)[None]
    if height != width:
        raise ManifestError(f"the input has {width} x {height} pixels, expected a square")
    return model_input(image, width, normalise.mean_ppm, normalise.std_ppm)[None]


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
    gray = any(isinstance(step, GrayStep) for step in steps.steps)
    if (given.channels, given.colour) != ((1, "gray") if gray else (3, "RGB")):
        yield f"the input has {given.channels} channels in {given.colour}, which the preprocessing does not make"
    odd = [name for name, m in manifest.models.items() if isinstance(m.input, InputShape) and not m.input.is_square]
    if odd and not pixels:
        yield f"model {odd[0]!r}: its input is not square, but only pixels may be"
    if bool(gray or odd) != (IMAGE_FORM_FEATURE in manifest.critical):
        negation = "" if gray or odd else "not "
        yield (
            f"the images are {'' if gray or odd else 'neither '}gray or not square, so {IMAGE_FORM_FEATURE!r} must "
            f"{negation}be among the critical features"
        )
