"""The statistics with which images are normalised, if not with those of the training images. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from factory_base.documents import Document

_Mean = Annotated[float, Field(ge=0, le=1)]
_Std = Annotated[float, Field(ge=1 / 256, le=1)]
"""At least about one grey level, as for the statistics of data."""


class ChannelStatistics(Document):
    """Mean and standard deviation of each channel (red, green, blue), as fractions of full scale (255)."""

    mean: tuple[_Mean, _Mean, _Mean]
    """Means."""
    std: tuple[_Std, _Std, _Std]
    """Standard deviations."""


def _tag(value: object) -> str:
    """Which of the two forms a value has, so that a mistake in it is reported once."""
    return "<section>" if isinstance(value, dict | ChannelStatistics) else "<name>"


Normalize = Annotated[
    Annotated[Literal["data", "imagenet", "inception"], Tag("<name>")] | Annotated[ChannelStatistics, Tag("<section>")],
    Discriminator(_tag),
]
"""With what images are normalised: the statistics of the training images, those of a name, or others."""

NAMED_STATISTICS: dict[str, ChannelStatistics] = {
    "imagenet": ChannelStatistics(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "inception": ChannelStatistics(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
}
"""The statistics by name. `imagenet`: of ImageNet, with which most published weights of torchvision and timm were
trained. `inception`: what scales pixels to -1 to 1."""


def fixed_statistics(normalize: Normalize) -> ChannelStatistics | None:
    """The statistics that `normalize` states; None for those of the data."""
    if isinstance(normalize, ChannelStatistics):
        return normalize
    return NAMED_STATISTICS.get(normalize)
