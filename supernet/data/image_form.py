"""The form of the images of a data set: their size, their channels, and how a picture of another shape is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Fitting = Literal["squash", "crop", "letterbox"]
"""How a picture becomes an image of another shape: distorted, cut at two sides, or with borders at two sides."""

BORDER: Final = 128
"""The grey level of what a picture does not cover with `letterbox`: the middle, which normalisation takes near zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageForm:
    """The form to which every image of a data set is brought.

    Attributes:
        height: Height in pixels.
        width: Width in pixels.
        channels: 3 for red, green and blue, 1 for grey.
        fitting: What happens to pictures of another shape.
    """

    height: int
    width: int
    channels: Literal[1, 3] = 3
    fitting: Fitting = "squash"

    @staticmethod
    def square(size: int) -> ImageForm:
        """RGB of `size` by `size` pixels."""
        return ImageForm(height=size, width=size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image: `(channels, height, width)`."""
        return (self.channels, self.height, self.width)

    def input_shape(self, resolution: int) -> tuple[int, int, int]:
        """The shape of such images at another size: of `resolution` rows, with the same proportions."""
        return (self.channels, resolution, resolution * self.width // self.height)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether such images can be resized to inputs of `shape`, `(channels, height, width)`, undistorted."""
        return len(shape) == 3 and shape[0] == self.channels and shape[1] * self.width == shape[2] * self.height

    def has_whole_width(self, resolution: int) -> bool:
        """Whether images of `resolution` rows have the same proportions exactly."""
        return resolution * self.width % self.height == 0

    @property
    def is_usual(self) -> bool:
        """Whether these are square images in colour."""
        return self.channels == 3 and self.height == self.width

    @property
    def image_bytes(self) -> int:
        """Bytes of one decoded image."""
        return self.channels * self.height * self.width

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in Pillow's order."""
        return (self.width, self.height)


SQUARE: Final = ImageForm.square(1)
"""Square images in colour, of any size."""
