"""Model spaces for images with one channel, and for images that are not square."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from factory_base.documents import parse_document
from factory_base.errors import SpaceError
from supernet.conformance import ModelSpaceConformance
from supernet.data.image_form import ImageForm
from supernet.model_space import ModelSpace
from supernet.spaces import make_model_space
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.spaces.transformer_config import VisionTransformerConfig

GREY = ImageForm(height=16, width=24, channels=1)
STAGES = [{"widths": [8, 16], "depths": [1, 2], "kernels": [3, 5], "expands": [2], "stride": 2}]
MOBILENET = {"resolutions": [8, 16], "stem_width": 8, "stages": STAGES, "head_width": 32}
VIT = {
    "space": "vit", "resolutions": [8, 16], "patch": 4, "widths": [12, 16], "depths": [1], "heads": [1, 2],
    "head_dim": 4, "mlp_ratios": [1],
}  # fmt: skip


class TestMobileNetOfGreyWideImages(ModelSpaceConformance):
    def model_space(self) -> ModelSpace:
        return make_model_space(parse_document(MOBILENET, MobileNetConfig, "test"), 5, Path(), GREY)


class TestVisionTransformerOfGreyWideImages(ModelSpaceConformance):
    def model_space(self) -> ModelSpace:
        return make_model_space(parse_document(VIT, VisionTransformerConfig, "test"), 5, Path(), GREY)


@pytest.mark.parametrize("suite", [TestMobileNetOfGreyWideImages(), TestVisionTransformerOfGreyWideImages()])
def test_a_resolution_is_the_height_of_an_input(suite: ModelSpaceConformance) -> None:
    space = suite.model_space()
    shapes = [space.input_shape(subnet) for subnet in (space.space.smallest, space.space.largest)]
    assert shapes == [(1, 8, 12), (1, 16, 24)]
    assert space.build(space.space.largest).eval()(torch.zeros(2, 1, 16, 24)).shape == (2, 5)


def test_images_must_be_whole_patches_wide() -> None:
    config = parse_document({**VIT, "resolutions": [8, 12]}, VisionTransformerConfig, "test")
    with pytest.raises(SpaceError, match="inputs of 12 rows are 18 pixels wide, which is not a multiple of patch 4"):
        make_model_space(config, 5, Path(), GREY)
