"""What the manifest says about the task: the input, the output, and what an app does to an image."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from exports.family.record_fields import Byte, Count, File, Positive, Record


class InputSpec(Record):
    """The model's input tensor, and the image that preprocessing turns into it."""

    name: str
    layout: Literal["NCHW", "NHWC"]
    dtype: Literal["float32", "uint8"]
    channels: Positive
    colour: Literal["RGB"]
    image_min: Count
    image_max: Count


class OutputSpec(Record):
    """The model's output tensor: one logit per label."""

    name: str
    dtype: Literal["float32"]
    classes: Positive


class ResizeStep(Record):
    """Resize an image of any size to the base size: bilinear with antialiasing, in version 2 in integers."""

    op: Literal["resize"] = "resize"
    width: Positive
    height: Positive
    method: Literal["bilinear_antialias", "integer_bilinear_antialias"] = "bilinear_antialias"


class CropStep(Record):
    """Resize an image until it covers the base size, and take the centre: version 3."""

    op: Literal["crop"] = "crop"
    width: Positive
    height: Positive
    method: Literal["integer_bilinear_antialias"] = "integer_bilinear_antialias"


class LetterboxStep(Record):
    """Resize an image until it fits into the base size, on a plain colour (RGB, 0 to 255): version 3."""

    op: Literal["letterbox"] = "letterbox"
    width: Positive
    height: Positive
    method: Literal["integer_bilinear_antialias"] = "integer_bilinear_antialias"
    colour: tuple[Byte, Byte, Byte]


class ResizeToModelStep(Record):
    """Resize the base size to the model's input size: bilinear, half-pixel centres, no antialiasing."""

    op: Literal["resize_to_model"] = "resize_to_model"
    method: Literal["bilinear", "integer_bilinear"] = "bilinear"


class ScaleStep(Record):
    """Divide by `divisor`."""

    op: Literal["scale"] = "scale"
    divisor: Positive = 255


class NormaliseStep(Record):
    """Subtract the mean and divide by the standard deviation, per channel; both in millionths."""

    op: Literal["normalise"] = "normalise"
    mean_ppm: tuple[int, ...]
    std_ppm: tuple[Positive, ...]


Step = Annotated[
    ResizeStep | CropStep | LetterboxStep | ResizeToModelStep | ScaleStep | NormaliseStep, Field(discriminator="op")
]


class Preprocessing(Record):
    """The steps that turn pixels into the input, in order. The app must implement this `version`: 1 to 3."""

    version: Positive
    steps: tuple[Step, ...]


class Task(Record):
    """The task of the family. If `labels_file` is given, it holds the labels, and `labels` is empty; see `labels`."""

    name: Literal["image_classification"]
    input: InputSpec
    output: OutputSpec
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    labels_file: File | None = None
