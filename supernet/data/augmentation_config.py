"""The `augment` part of a config's `training` section. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from factory_base.documents import Document


class AugmentConfig(Document):
    """Random changes of training images, applied in the order of the keys. Every image gets its own."""

    flip: bool = False
    """Mirror half of the images left to right. Wrong for digits and text."""
    shift: int = Field(default=4, ge=0)
    """Largest shift in pixels in each direction, below the image size; the border is reflected. 4 is usual for 32
    pixels; where images are cropped it adds little."""
    crop_area: float = Field(default=1.0, gt=0, le=1)
    """Smallest share of the area that a random crop keeps before it is resized to the whole (Szegedy et al., 2015); 1
    for no crops. 0.25 to 0.35 suits photographs and small networks, 0.08 large networks and long training."""
    crop_ratio: float = Field(default=4 / 3, ge=1, le=4)
    """Largest ratio of a crop's sides, in either direction."""
    operations: int = Field(default=0, ge=0, le=4)
    """Operations per image, drawn with repeats from rotate, shear_x, shear_y, translate_x, translate_y, brightness,
    contrast, saturation, posterize and solarize (after RandAugment; Cubuk et al., 2019); 0 for none, 2 is usual. Those
    that move pixels act first."""
    magnitude: float = Field(default=0.3, ge=0, le=1)
    """Largest strength of an operation; each draws its own from 0 to this, and its direction. 1 stands for a rotation
    by 30 degrees, a shear of 0.3, a translation by 0.45 of the size, colours 0.9 weaker or stronger, 4 of 8 bits, and
    all levels inverted."""
    cutout: int = Field(default=0, ge=0)
    """Side in pixels of one grey square per image, at most the image size; 0 for none (DeVries and Taylor, 2017)."""

    def check_size(self, size: int) -> None:
        """Whether these changes suit images of `size` pixels.

        Raises:
            ValueError: a shift that would leave nothing of the image, or a square larger than it.
        """
        if self.shift >= size:
            raise ValueError(f"augment.shift {self.shift} is not below the image size {size}; lower it")
        if self.cutout > size:
            raise ValueError(f"augment.cutout {self.cutout} is above the image size {size}; lower it")
