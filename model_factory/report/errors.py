"""The page of the worst errors: test images or texts with what a model took them for."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from factory_base.files import write_text

_TEMPLATE: Final = "errors.html.jinja"
_SIDE: Final = 128
"""The longer side of a picture in pixels: larger images are scaled down, smaller ones are shown larger."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A test image or text that a model gets wrong.

    Attributes:
        shown: An image, uint8 `(channels, height, width)`, with one channel (grey) or three (red, green, blue); or a
            text, as the model read it.
        example: Its place in the test split, counted from 0.
        label: Its class, its labels or its numbers, in words.
        predicted: What was predicted, likewise.
        confidence: The probability that the model gave what is wrong, 0 to 1; None for numbers.
    """

    shown: NDArray[np.uint8] | str
    example: int
    label: str
    predicted: str
    confidence: float | None

    @property
    def text(self) -> str | None:
        """The text; None for an image."""
        return self.shown if isinstance(self.shown, str) else None

    @property
    def source(self) -> str | None:
        """The image as the source of an `img` element; None for a text."""
        return None if isinstance(self.shown, str) else f"data:image/png;base64,{b64encode(_png(self.shown)).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ErrorSection:
    """The worst errors of one model.

    Attributes:
        model_id: Name of the model in the manifest.
        targets: The targets that it was made for.
        wrong: Number of test images that it gets wrong; None for numbers.
        examples: Number of test images.
        pictures: The worst errors, the worst first; None if confidences were not kept.
    """

    model_id: str
    targets: tuple[str, ...]
    wrong: int | None
    examples: int
    pictures: tuple[Picture, ...] | None


def write_errors(family_id: str, sections: Sequence[ErrorSection], path: Path) -> None:
    """Write the page, atomically. Raises `DiskError`."""
    from model_factory.report.environment import page_environment

    page = page_environment().get_template(_TEMPLATE).render(family_id=family_id, sections=sections)
    write_text(path, page.encode("utf-8", "replace").decode())


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()
