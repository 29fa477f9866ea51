"""A MobileNet space that builds in milliseconds, and images whose class is easy to recognise."""

from __future__ import annotations

import pytest
import torch

from supernet.data.augmentation_config import AugmentConfig
from supernet.data.image_examples import ImageExamples, Normalisation
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig

torch.set_num_threads(1)


@pytest.fixture
def small_space() -> MobileNetSpace:
    """Two stages of up to two blocks, resolutions 8 and 12, four classes."""
    stage = {"widths": [8, 16], "depths": [1, 2], "kernels": [3, 5], "expands": [1, 2]}
    config = {
        "resolutions": [8, 12],
        "stem_width": 8,
        "stages": [{**stage, "stride": 1}, {**stage, "stride": 2}],
        "head_width": 16,
    }
    return MobileNetSpace(MobileNetConfig.model_validate(config), classes=4)


@pytest.fixture
def easy_images() -> ImageExamples:
    """128 noisy images (12x12) of four classes: bright in red, green, blue, or none."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(128) % 4
    images = torch.randint(0, 120, (128, 3, 12, 12), generator=generator, dtype=torch.uint8)
    for channel in range(3):
        images[labels == channel, channel] += 120
    normalisation = Normalisation(mean=(0.3, 0.3, 0.3), std=(0.25, 0.25, 0.25))
    augmentation = AugmentConfig(shift=1)
    return ImageExamples(images=images, labels=labels, normalisation=normalisation, augmentation=augmentation)
