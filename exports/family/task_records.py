"""What the manifest says about the task: the input, what an app does to get it, the outputs, and what they mean.

An image classifier has the field `output` alone, as ever: one logit per label, of which the largest is the answer. Any
other meaning is stated in `outputs`, with a decoding for each, so that later minor versions can add further kinds
(boxes, masks) and further outputs without a change to this one. Apps before 1.6 would read such outputs as classes, so
the manifest lists `OUTPUTS_FEATURE` as critical; likewise `TOKENS_FEATURE` if the models take text, and
`IMAGE_FORM_FEATURE` if their images are gray or not square.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from exports.family.record_fields import MAX_INTEGER, PPM, Byte, Count, File, Positive, Record

TaskName = Literal["image_classification", "image_multilabel", "image_regression", "text_classification"]

OUTPUTS_FEATURE = "outputs"
"""The critical feature of a manifest whose outputs are not one logit per class."""
IMAGE_FORM_FEATURE = "image_form"
"""The critical feature of a manifest whose models take gray images, or images that are not square."""
TOKENS_FEATURE = "token_input"
"""The critical feature of a manifest whose models take tokens of text."""
MAX_DECIMALS = 22
"""The largest power of ten that floating-point numbers with 53 bits hold exactly."""
Share = Annotated[int, Field(ge=1, lt=PPM)]
"""A probability between 0 and 1 in parts per million."""
Integer = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]


class InputSpec(Record):
    """The model's input tensor, and the image that preprocessing turns into it: of 3 channels in RGB, or 1 in gray."""

    name: str
    layout: Literal["NCHW", "NHWC"]
    dtype: Literal["float32", "uint8"]
    channels: Positive
    colour: Literal["RGB", "gray"]
    image_min: Count
    image_max: Count


class TokenSpec(Record):
    """The model's input tensor for a text: the ids of its tokens.

    Attributes:
        name: The name of the tensor.
        dtype: The type of the ids.
        length: The number of ids of a text: what is shorter is filled with `padding`. A model takes the first ids of
            them, as many as its own `input.length` says.
        padding: The id that fills a text up.
        vocabulary: The number of ids; the largest is one less.
    """

    name: str
    dtype: Literal["int64"]
    length: Positive
    padding: Count
    vocabulary: Positive


class Tokenizer(Record):
    """What turns a text into ids.

    An app reads `file` with the library `tokenizers`, and takes the ids of a text, with the special tokens that the
    file names, truncated by the tokenizer to the `length` of the input. Its `padding` fills them up at the end.

    Attributes:
        format: The format of the file: the JSON that `Tokenizer.save` of the library writes.
        file: The file of the family.
    """

    format: Literal["tokenizers_json"] = "tokenizers_json"
    file: File


class OutputSpec(Record):
    """The model's output tensor: one logit per label."""

    name: str
    dtype: Literal["float32"]
    classes: Positive


class LabelsDecoding(Record):
    """Any number of labels: label `i` applies if `1 / (1 + exp(-output[i]))` is at least its threshold."""

    kind: Literal["labels"] = "labels"
    thresholds_ppm: Annotated[tuple[Share, ...], Field(min_length=1)]


class ValuesDecoding(Record):
    """A value per label, in the unit of the data: `(offset[i] + scale[i] * output[i]) / 10 ** decimals[i]`."""

    kind: Literal["values"] = "values"
    offset: Annotated[tuple[Integer, ...], Field(min_length=1)]
    scale: tuple[Positive, ...]
    decimals: tuple[Annotated[int, Field(ge=-MAX_DECIMALS, le=MAX_DECIMALS)], ...]


class Output(Record):
    """An output tensor and what it means.

    Attributes:
        name: The name of the tensor.
        dtype: Its type.
        shape: Its shape without the batch; for the decodings of this version one axis, as long as the labels.
        decoding: What an app makes of it.
    """

    name: str
    dtype: Literal["float32"]
    shape: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=4)]
    decoding: Annotated[LabelsDecoding | ValuesDecoding, Field(discriminator="kind")]


class GrayStep(Record):
    """Take the luma of an image in RGB, in integers: version 4."""

    op: Literal["gray"] = "gray"


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
    GrayStep | ResizeStep | CropStep | LetterboxStep | ResizeToModelStep | ScaleStep | NormaliseStep,
    Field(discriminator="op"),
]


class Preprocessing(Record):
    """The steps that turn pixels into the input, in order. The app must implement this `version`: 1 to 4."""

    version: Positive
    steps: tuple[Step, ...]


class Task(Record):
    """The task of the family.

    Attributes:
        name: What the models do.
        input: The input tensor.
        output: One logit per class; None if `outputs` says what else there is.
        outputs: The output tensors, in the order of the file; None for classes.
        preprocessing: What an app does to an image; None for text.
        tokenizer: What an app does to a text; None for images.
        labels: The names of the classes, labels or values, in the order of the outputs; empty if they are in a file.
        labels_file: The file with the labels; see `labels`.
    """

    name: TaskName
    input: InputSpec | TokenSpec
    output: OutputSpec | None = None
    outputs: Annotated[tuple[Output, ...], Field(min_length=1, max_length=16)] | None = None
    preprocessing: Preprocessing | None = None
    tokenizer: Tokenizer | None = None
    labels: tuple[str, ...]
    labels_file: File | None = None

    @property
    def output_count(self) -> int:
        """The number of values that a model returns for one input: one per label."""
        if self.outputs:
            return self.outputs[0].shape[0]
        return self.output.classes if self.output else 0

    @property
    def decoding(self) -> LabelsDecoding | ValuesDecoding | None:
        """What the first output means; None for one logit per class."""
        return self.outputs[0].decoding if self.outputs else None

    def files(self) -> tuple[File, ...]:
        """The files that the task names."""
        tokenizer = self.tokenizer.file if self.tokenizer else None
        return tuple(file for file in (self.labels_file, tokenizer) if file is not None)
