"""The built-in model spaces. A config's `model.space` is a key of `MODEL_SPACES`, or an import path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory_base.errors import SpaceError
from supernet.data.image_form import SQUARE, ImageForm
from supernet.model_space import ImageModelSpace
from supernet.spaces.config import ImportedConfig, InputKind, SpaceConfig
from supernet.spaces.hf_config import TransformersConfig
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.spaces.ofa_config import OfaConfig, OfaMbv3Config, OfaProxylessConfig
from supernet.spaces.published_config import EfficientNetLite0Config, MobileNetV3LargeConfig, PublishedConfig
from supernet.spaces.transformer_config import TextEncoderConfig, VisionTransformerConfig

if TYPE_CHECKING:
    from supernet.model_space import ModelSpace


CHECKED_CLASSES = 2
"""The number of classes with which a model space is made before that of the data is known."""


@dataclass(frozen=True, slots=True)
class SpaceEntry:
    """A built-in model space.

    Attributes:
        config: Class of its `model` section.
        make: `(config, number of classes) -> model space`.
        inputs: What its networks can take; the section decides between several.
    """

    config: type[SpaceConfig]
    make: Callable[[Any, int], ModelSpace]
    inputs: tuple[InputKind, ...] = ("images",)


def _mobilenet(config: MobileNetConfig, classes: int) -> ModelSpace:
    from supernet.spaces.mobilenet import MobileNetSpace

    return MobileNetSpace(config, classes)


def _ofa(config: OfaConfig, classes: int) -> ModelSpace:
    from supernet.spaces.ofa import OfaSpace

    return OfaSpace(config, classes)


def _published(config: PublishedConfig, classes: int) -> ModelSpace:
    from supernet.spaces.published import PublishedSpace

    return PublishedSpace(config, classes)


def _vit(config: VisionTransformerConfig, classes: int) -> ModelSpace:
    from supernet.spaces.vit import VisionTransformerSpace

    return VisionTransformerSpace(config, classes)


def _text_encoder(config: TextEncoderConfig, classes: int) -> ModelSpace:
    from supernet.spaces.text_encoder import TextEncoderSpace

    return TextEncoderSpace(config, classes)


def _transformers(config: TransformersConfig, classes: int) -> ModelSpace:
    from supernet.spaces.hf import TransformersSpace

    return TransformersSpace(config, classes)


MODEL_SPACES: dict[str, SpaceEntry] = {
    "efficientnet_lite0": SpaceEntry(EfficientNetLite0Config, _published),
    "mobilenet": SpaceEntry(MobileNetConfig, _mobilenet),
    "mobilenetv3_large": SpaceEntry(MobileNetV3LargeConfig, _published),
    "ofa_mbv3": SpaceEntry(OfaMbv3Config, _ofa),
    "ofa_proxyless": SpaceEntry(OfaProxylessConfig, _ofa),
    "text_encoder": SpaceEntry(TextEncoderConfig, _text_encoder, ("tokens",)),
    "transformers": SpaceEntry(TransformersConfig, _transformers, ("images", "tokens")),
    "vit": SpaceEntry(VisionTransformerConfig, _vit),
}
"""Name in a config -> entry, for every model space but imported ones."""


def check_model_section(config: SpaceConfig, folder: Path, images: ImageForm = SQUARE) -> None:
    """Find mistakes in the `model` section before the number of classes is known, which may take hours of decoding.

    Args:
        config: The `model` section.
        folder: Folder of the config file, which may hold the module of an imported model space.
        images: The form of the images of the data.

    Raises:
        ConfigError, SpaceError: As for `make_model_space`; the user's own code is imported but not called.
    """
    if isinstance(config, ImportedConfig):
        from supernet.spaces.imported import check_imported_space

        check_imported_space(config, folder)
    else:
        made = make_model_space(config, CHECKED_CLASSES, folder, images)
        if config.inputs == "images":
            check_images(made, images, config.space)


def check_images(model_space: ModelSpace, images: ImageForm, name: str) -> None:
    """Raise `SpaceError`, which starts with `name`, unless the model space takes images of this form."""
    shape = model_space.input_shape(model_space.space.largest)
    if not images.fits(shape):
        raise SpaceError(
            f"{name}: takes inputs of shape {shape}, but the images have the shape {images.shape}: channels and "
            "proportions must be the same"
        )


def make_model_space(
    config: SpaceConfig, classes: int, folder: Path = Path(), images: ImageForm = SQUARE
) -> ModelSpace:
    """The model space that the `model` section of a config describes.

    Args:
        config: The `model` section.
        classes: Number of classes of the data.
        folder: Folder of the config file, which may hold the module of an imported model space.
        images: The form of the images of the data. A model space without `for_images` is for square images in colour,
            or its options say what its inputs are.

    Raises:
        ConfigError: The model space or the package it needs cannot be imported, or an option does not fit.
        SpaceError: The model space fails or breaks the rules of weight sharing.
    """
    if isinstance(config, ImportedConfig):
        from supernet.spaces.imported import load_imported_space

        return load_imported_space(config, classes, folder)
    if isinstance(config, TransformersConfig) and config.from_ is not None:
        from supernet.spaces.hf_folder import with_pretrained_config

        config = with_pretrained_config(config, folder)
    made = MODEL_SPACES[config.space].make(config, classes)
    return made.for_images(images) if isinstance(made, ImageModelSpace) else made
