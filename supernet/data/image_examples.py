"""Stored images as examples: batches with augmentation, and network inputs (resized and normalised)."""

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
from supernet.data.types import LabelledImages, OnDemandImages, Splits

_DEVICE_SHARE = 1 / 8  # of a GPU's memory for the images: training needs the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """Mean and standard deviation of each channel, as fractions of full scale (255)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def to_input(images: Tensor, size: tuple[int, int], normalisation: Normalisation) -> Tensor:
    """Resize and normalise: uint8 (n, channels, h, w) -> float32 (n, channels, *size), channels last.

    Interpolation is bilinear with half-pixel centres and without antialiasing, which a client can reproduce in a few
    lines.
    """
    mean, std = _levels(normalisation, images.device)
    x = (images.to(torch.float32) - mean) / std
    if size != x.shape[-2:]:
        x = functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
    return x.contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=8)  # else every batch waits for a copy to the GPU; a run needs one entry per data set and device
def _levels(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation in levels from 0 to 255, float32 (channels, 1, 1) each."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(value, device=device) for value in (normalisation.mean, normalisation.std))
        return mean[:, None, None] * 255, std[:, None, None] * 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageExamples:
    """Images as examples. See `supernet.data.examples.Examples`.

    `to_input` makes every resolution from images of one size: a batch is read, decoded and augmented once, no matter
    how many networks it is used for.

    Attributes:
        images: uint8 (n, channels, height, width): decoded, on any device, or read on demand.
        labels: The labels, on the CPU.
        normalisation: Channel statistics of the training images.
        augmentation: Augmentation of training images; None for none.
        weights: How much each image counts in training, float32 (n,) of mean 1; None if all count alike.

    Raises:
        DataError: The augmentation does not suit the image size.
    """

    images: Tensor | OnDemandImages
    labels: Tensor
    normalisation: Normalisation
    augmentation: AugmentConfig | None = None
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        try:
            if self.augmentation is not None:
                self.augmentation.check_size(min(self.images.shape[-2:]))
        except ValueError as error:
            raise DataError(str(error)) from error

    @staticmethod
    def of(
        split: LabelledImages,
        normalisation: Normalisation,
        augmentation: AugmentConfig | None = None,
        device: torch.device | None = None,
    ) -> ImageExamples:
        """The images of one split as examples.

        Args:
            split: The images, decoded or on demand, and their labels.
            normalisation: Channel statistics of the training images.
            augmentation: Augmentation; None for none.
            device: Device of the training. Decoded images that fit a small share of a GPU's memory are kept there,
                where reading and augmenting a batch costs next to nothing. None keeps them on the CPU.
        """
        images = split.images if isinstance(split.images, OnDemandImages) else torch.from_numpy(split.images)
        if isinstance(images, Tensor) and device is not None and device.type == "cuda":
            limit = torch.cuda.get_device_properties(device).total_memory * _DEVICE_SHARE
            images = images.to(device) if images.numel() < limit else images
        return ImageExamples(
            images=images,
            labels=torch.from_numpy(split.labels),
            normalisation=normalisation,
            augmentation=augmentation,
            weights=None if split.weights is None else torch.from_numpy(split.weights / split.weights.mean()),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor, draws: Draws | None) -> Tensor:
        """uint8 (b, channels, height, width), on the device of the images. See `Examples`."""
        if isinstance(self.images, Tensor):
            images = self.images[rows.to(self.images.device)]
        else:
            images = torch.from_numpy(self.images[rows.numpy()])
        if draws is None or self.augmentation is None:
            return images
        return augment(images, self.augmentation, draws, rows)

    def to_input(self, batch: Tensor, shape: tuple[int, ...]) -> Tensor:
        """float32 (b, *shape). See `Examples`."""
        return to_input(batch, (shape[-2], shape[-1]), self.normalisation)


def image_examples(splits: Splits) -> tuple[ImageExamples, ImageExamples, ImageExamples]:
    """The training, held-out and test images of a data set as examples, without augmentation, in this order.

    Raises:
        DataError: The data set is one of texts.
    """
    normalisation = Normalisation(mean=splits.mean, std=splits.std)
    parts = [part for part in (splits.train, splits.heldout, splits.test) if isinstance(part, LabelledImages)]
    if len(parts) != 3:
        raise DataError("the data set has texts, not images; see TokenExamples.of")
    train, heldout, test = (ImageExamples.of(part, normalisation) for part in parts)
    return train, heldout, test
