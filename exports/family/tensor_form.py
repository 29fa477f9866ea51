"""The input tensor of a model of a family: its shape and type, and the inputs that the family ships for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from device_profiles.engine import InputType, ModelInput
from exports.family.records import Model, SampleFile, Task, TokenShape, TokenSpec
from factory_base.errors import ManifestError

MAX_SIDE = 4096
"""The largest side of a base image or of a model's input that is tried, in pixels."""
MAX_TOKENS = 1 << 16
"""The most tokens of an input that are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorForm:
    """The input of a model.

    Attributes:
        shape: The shape of one input, without the batch.
        dtype: The type of its values.
        padding: The value of an input without content: 0, or the padding of texts.
        vocabulary: The number of tokens; 0 for images.
    """

    shape: tuple[int, ...]
    dtype: InputType
    padding: int = 0
    vocabulary: int = 0

    @property
    def input_bytes(self) -> int:
        """The size of one input."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def size(self) -> str:
        """The size of one input for people: `32 x 24 pixels`, `64 tokens`."""
        if self.vocabulary:
            return f"{self.shape[0]} tokens"
        height, width = self.sides
        return f"{width} x {height} pixels"

    @property
    def sides(self) -> tuple[int, int]:
        """The height and width of an image."""
        height, width = self.shape[:2] if self.dtype == "uint8" else self.shape[1:]
        return height, width

    def empty(self) -> ModelInput:
        """An input without content, with a batch of one."""
        values: ModelInput = np.full((1, *self.shape), self.padding, self.dtype)
        return values

    def takes(self, file: SampleFile) -> bool:
        """Whether a file of samples has inputs of this size."""
        if self.vocabulary:
            return (file.length,) == self.shape
        return (file.height, file.width) == self.sides

    def read(self, data: bytes, file: SampleFile) -> ModelInput:
        """The inputs in a file that the manifest describes.

        Args:
            data: The contents of the file.
            file: Its description.

        Raises:
            ManifestError: The description has another type than the models take, or does not fit to the contents; or
                the values are none that the model can take.
        """
        count = file.count or 0
        if file.dtype != self.dtype:
            raise ManifestError(f"{file.name}: holds {file.dtype}, but the models take {self.dtype}")
        if count < 1 or len(data) != count * self.input_bytes:
            raise ManifestError(f"{file.name}: {len(data):,} bytes are not {count} inputs of {self.size}")
        values = np.frombuffer(data, np.dtype(self.dtype).newbyteorder("<")).astype(self.dtype)
        if self.dtype == "float32" and not np.isfinite(values).all():
            raise ManifestError(f"{file.name}: holds values that are not finite")
        if self.vocabulary and not 0 <= int(values.min()) <= int(values.max()) < self.vocabulary:
            raise ManifestError(f"{file.name}: holds tokens that are not in 0 to {self.vocabulary - 1}")
        inputs: ModelInput = values.reshape(count, *self.shape)
        return inputs


def tensor_form(task: Task, model: Model) -> TensorForm:
    """The input of a model. Raises `ManifestError` if it is not one of the task, or too large to be tried."""
    given, own = task.input, model.input
    if isinstance(given, TokenSpec) or isinstance(own, TokenShape):
        if not isinstance(given, TokenSpec) or not isinstance(own, TokenShape) or own.length > MAX_TOKENS:
            raise ManifestError(f"the input is not that of a text of at most {MAX_TOKENS:,} tokens")
        return TensorForm(shape=(own.length,), dtype="int64", padding=given.padding, vocabulary=given.vocabulary)
    if max(own.height, own.width) > MAX_SIDE or given.channels not in (1, 3):
        raise ManifestError(
            f"the input has {given.channels} channels of {own.width} x {own.height} pixels, expected 1 or 3 of at most "
            f"{MAX_SIDE} a side"
        )
    if given.dtype == "uint8":
        return TensorForm(shape=(own.height, own.width, given.channels), dtype="uint8")
    return TensorForm(shape=(given.channels, own.height, own.width), dtype="float32")
