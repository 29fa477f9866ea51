"""From stored images to network inputs: resolution and normalisation, on batches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from factory_base.errors import DataError
from supernet.data.augmentation import augment
from supernet.data.augmentation_config import AugmentConfig
from supernet.data.examples import Draws
from supernet.data.types import LabelledImages, OnDemandImages

_SHARE_OF_DEVICE = 1 / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """Mean and standard deviation per channel, in fractions of full scale."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def to_input(images: Tensor, resolution: int, normalisation: Normalisation) -> Tensor:
    """uint8 (n, 3, size, size) -> float32 (n, 3, resolution, resolution), channels last.

    Bilinear with half-pixel centres and no antialiasing, so that a client can repeat it in a few lines.
    """
    mean, std = _levels(normalisation, images.device)
    x = (images.to(torch.float32) - mean) / std
    if resolution != x.shape[-1]:
        x = functional.interpolate(x, size=(resolution, resolution), mode="bilinear", align_corners=False)
    return x.contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=8)  # made anew, they would make a GPU wait at every batch
def _levels(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation in levels from 0 to 255, (3, 1, 1)."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(value, device=device) for value in (normalisation.mean, normalisation.std))
        return mean[:, None, None] * 255, std[:, None, None] * 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageExamples:
    """Images as examples. See `supernet.data.examples.Examples`.

    Every resolution is made from the images of one size by `to_input`: a batch is read, decoded and augmented once,
    whatever networks it is shown to.

    Attributes:
        images: uint8 (n, 3, size, size); decoded in memory, on any device, or read when asked for.
        labels: int64 (n,), in the memory of the CPU.
        normalisation: of the data set.
        augmentation: random changes of training images; None for none.

    Raises:
        DataError: the changes do not suit the size.
    """

    images: Tensor | OnDemandImages
    labels: Tensor
    normalisation: Normalisation
    augmentation: AugmentConfig | None = None

    def __post_init__(self) -> None:
        try:
            if self.augmentation is not None:
                self.augmentation.check_size(self.images.shape[-1])
        except ValueError as error:
            raise DataError(str(error)) from error

    @staticmethod
    def of(
        part: LabelledImages,
        normalisation: Normalisation,
        augmentation: AugmentConfig | None = None,
        device: torch.device | None = None,
    ) -> ImageExamples:
        """`part` as examples.

        Args:
            part: decoded or not.
            normalisation: of the data set.
            augmentation: random changes; None for none.
            device: where they are used. Decoded images that take little of a GPU's memory are kept there, where
                reading and augmenting a batch costs next to nothing.
        """
        images = part.images if isinstance(part.images, OnDemandImages) else torch.from_numpy(part.images)
        if isinstance(images, Tensor) and device is not None and device.type == "cuda":
            free = torch.cuda.get_device_properties(device).total_memory * _SHARE_OF_DEVICE
            images = images.to(device) if images.numel() < free else images
        return ImageExamples(
            images=images, labels=torch.from_numpy(part.labels), normalisation=normalisation, augmentation=augmentation
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor, draws: Draws | None) -> Tensor:
        """uint8 (b, 3, size, size), on the device of the images."""
        if isinstance(self.images, Tensor):
            images = self.images[rows.to(self.images.device)]
        else:
            images = torch.from_numpy(self.images[rows.numpy()])
        if draws is None or self.augmentation is None:
            return images
        return augment(images, self.augmentation, draws, rows)

    def to_input(self, batch: Tensor, shape: tuple[int, ...]) -> Tensor:
        """float32 (b, *shape)."""
        return to_input(batch, shape[-1], self.normalisation)
