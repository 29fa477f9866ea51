"""How an image becomes the input of a model, as a manifest states it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .colour import luma
from .preprocess import crop, fit, letterbox, model_input, resize
from .strict_json import take

STEPS = {
    1: [["resize", "resize_to_model", "scale", "normalise"]],
    2: [["resize", "resize_to_model"]],
    3: [["crop", "resize_to_model"], ["letterbox", "resize_to_model"]],
    4: [["gray", fitting, "resize_to_model"] for fitting in ("resize", "crop", "letterbox")],
}
"""The steps of each version of the preprocessing, in order: one of these lists. One of them leads to the base size."""
MAX_SIDE = 4096
"""The largest side of an input or a base image, in pixels."""
CHANNELS = 3
FITTINGS = ("resize", "crop", "letterbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputForm:
    """The input of a model, and what makes it from pixels.

    Attributes:
        base_height: The height to which an image is fitted first, in pixels.
        base_width: Its width.
        fitting: How: `resize`, `crop` or `letterbox`.
        colour: What `letterbox` does not cover, in RGB.
        channels: The channels of the model's input: 3 for RGB, 1 for gray.
        height: The height of the model's input.
        width: Its width.
        mean_ppm: The mean per channel, in parts per million of full scale; None if the model takes pixels.
        std_ppm: The standard deviation per channel.
    """

    base_height: int
    base_width: int
    fitting: str
    colour: tuple[int, ...]
    channels: int
    height: int
    width: int
    mean_ppm: tuple[int, ...] | None
    std_ppm: tuple[int, ...] | None

    @property
    def dtype(self) -> str:
        """The type of the input's values: `uint8` for pixels, else `float32`."""
        return "uint8" if self.mean_ppm is None else "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, without the batch: pixels are `(height, width, channels)`."""
        size = (self.height, self.width)
        return (*size, self.channels) if self.mean_ppm is None else (self.channels, *size)

    @property
    def input_bytes(self) -> int:
        """The size of one input."""
        return self.height * self.width * self.channels * np.dtype(self.dtype).itemsize

    def takes(self, entry: Any) -> bool:
        """Whether an entry of the samples has inputs of this form."""
        wanted = {"height": self.height, "width": self.width, "dtype": self.dtype}
        return isinstance(entry, dict) and all(entry.get(key) == value for key, value in wanted.items())

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """The input for an RGB image of any size, uint8 `(height, width, 3)`, with a batch of one."""
        if self.mean_ppm is None or self.std_ppm is None:
            fitted = self._fitted(luma(image) if self.channels == 1 else image)
            return np.ascontiguousarray(resize(fitted, self.height, self.width)[None, ..., : self.channels])
        fitted = fit(image, self.base_height, self.base_width)
        return model_input(fitted, self.width, self.mean_ppm, self.std_ppm)[None]

    def _fitted(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image at the base size, in integers."""
        base = self.base_height, self.base_width
        if self.fitting == "crop":
            return crop(image, *base)
        if self.fitting == "letterbox":
            return letterbox(image, *base, self.colour)
        return resize(image, *base, antialias=True)

    def unpack(self, data: bytes, count: int) -> NDArray[Any]:
        """`count` inputs from raw little-endian values in the order of `shape`."""
        kind = np.dtype(self.dtype).newbyteorder("<")
        return np.frombuffer(data, kind).astype(self.dtype).reshape(count, *self.shape)

    def zeros(self) -> NDArray[Any]:
        """An input of zeros, with a batch of one."""
        return np.zeros((1, *self.shape), self.dtype)


def input_form(task: dict[str, Any], model: dict[str, Any]) -> InputForm:
    """The form of a model's input.

    Raises:
        ValueError: The manifest lacks something, or needs another preprocessing than that of `preprocess`.
    """
    steps = _steps(take(task, dict, "preprocessing"))
    fitting = next(name for name in steps if name in FITTINGS)
    colour = _channels(steps, "letterbox", "colour") if fitting == "letterbox" else (0, 0, 0)
    if not all(0 <= value <= 255 for value in colour):
        raise ValueError("the manifest has no usable letterbox.colour; download the family again")
    means = _channels(steps, "normalise", "mean_ppm") if "normalise" in steps else None
    deviations = _channels(steps, "normalise", "std_ppm") if "normalise" in steps else None
    if deviations is not None and min(deviations) <= 0:
        raise ValueError("the manifest has no usable normalise.std_ppm; download the family again")
    height, width = (_side(model, "input", key) for key in ("height", "width"))
    if means is not None and height != width:
        raise ValueError(f"the input has {width} x {height} values, expected a square; download the family again")
    return InputForm(
        base_height=_side(steps, fitting, "height"),
        base_width=_side(steps, fitting, "width"),
        fitting=fitting,
        colour=colour,
        channels=1 if "gray" in steps else CHANNELS,
        height=height,
        width=width,
        mean_ppm=means,
        std_ppm=deviations,
    )


def _steps(preprocessing: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The steps by name, in order. Raises `ValueError` for any other preprocessing than that of `preprocess`."""
    steps = [step for step in take(preprocessing, list, "steps") if isinstance(step, dict)]
    version, names = preprocessing.get("version"), [step.get("op") for step in steps]
    known = STEPS.get(version, []) if isinstance(version, int) else []
    if names not in known or (version == 1 and steps[2].get("divisor") != 255):
        raise ValueError("the manifest needs a preprocessing that this program does not know; update the app")
    return dict(zip(names, steps, strict=True))


def _side(value: Any, *path: str) -> int:
    """The size in pixels at `path`. Raises `ValueError` if it is not in 1 to `MAX_SIDE`."""
    pixels: int = take(value, int, *path)
    if not 0 < pixels <= MAX_SIDE:
        raise ValueError(f"{'.'.join(path)} is {pixels} pixels, expected 1 to {MAX_SIDE}")
    return pixels


def _channels(steps: dict[Any, Any], step: str, key: str) -> tuple[int, ...]:
    """Three integers of a step. Raises `ValueError` if they are not there."""
    values = take(steps, list, step, key)
    if len(values) != CHANNELS:
        raise ValueError(f"the manifest has no usable {step}.{key}; download the family again")
    return tuple(take(values, int, channel) for channel in range(CHANNELS))
