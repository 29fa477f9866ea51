"""The `augment` section within a config's `training` section. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from factory_base.documents import ADDED, Document

TEXT_CHANGES: Final = ("word_dropout",)
"""The keys that are for texts; all others are for images."""


class AugmentConfig(Document):
    """Data augmentation of training images or texts, applied in the order of the keys. Each gets its own changes.

    Limits on numbers only catch typing errors.
    """

    flip: bool = False
    """Whether to mirror half of the images left to right. Do not use it for digits and text."""
    shift: int = Field(default=4, ge=0, le=1024)
    """Largest shift in pixels in each direction, below the image size; the border is reflected. 4 is usual for images
    of 32 pixels (He et al., 2016); it adds little if images are cropped."""
    crop_area: float = Field(default=1.0, ge=0.001, le=1)
    """Smallest share of the area that a random crop keeps before it is resized to the full size; 1 turns crops off.
    0.25 to 0.35 suits photographs and small networks, 0.08 (Szegedy et al., 2015) large networks and long training."""
    crop_ratio: float = Field(default=4 / 3, ge=1, le=4)
    """Largest aspect ratio of a crop, in either direction; 4/3 as in Szegedy et al., 2015."""
    operations: int = Field(default=0, ge=0, le=4)
    """Number of operations per image, drawn with replacement from rotate, shear_x, shear_y, translate_x, translate_y,
    brightness, contrast, saturation, posterize and solarize (after RandAugment; Cubuk et al., 2019); 0 turns them off,
    2 is usual. Those that move pixels are applied first."""
    magnitude: float = Field(default=0.3, ge=0, le=1)
    """Largest strength of an operation; each draws its own strength from 0 to this value, and its direction. 1 means a
    rotation by 30 degrees, a shear of 0.3, a translation by 0.45 of the size, a change of brightness, contrast or
    saturation by 90 %, 4 of 8 bits removed, and all levels inverted. 0.3 is RandAugment's 9 of 30 for a ResNet-50."""
    cutout: int = Field(default=0, ge=0, le=1024)
    """Side in pixels of one grey square per image, at most the image size (DeVries and Taylor, 2017); 0 turns it
    off."""
    word_dropout: Annotated[float, ADDED] = Field(default=0.0, ge=0, lt=1)
    """For texts, in place of all of the above: the probability that a token is hidden, against overfitting; 0.1 to 0.2
    suits small data sets (Iyyer et al., 2015, drop 0.3 of the words)."""

    def check_size(self, size: int) -> None:
        """Check that these changes suit images whose smaller side has `size` pixels.

        Raises:
            ValueError: `shift` would leave nothing of the image, or `cutout` is larger than the image.
        """
        if self.shift >= size:
            raise ValueError(f"augment.shift {self.shift} must be below the image size {size}; lower it")
        if self.cutout > size:
            raise ValueError(f"augment.cutout {self.cutout} must be at most the image size {size}; lower it")
