"""The model spaces that ship. A config's `model.space` is a key of `MODEL_SPACES`, or an import path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.spaces.config import ImportedConfig, SpaceConfig
from supernet.spaces.hf_config import TransformersConfig
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.spaces.ofa_config import OfaConfig, OfaMbv3Config, OfaProxylessConfig
from supernet.spaces.transformer_config import TextEncoderConfig, VisionTransformerConfig

if TYPE_CHECKING:
    from supernet.model_space import ModelSpace


@dataclass(frozen=True, slots=True)
class SpaceEntry:
    """One model space: the class of its `model` section, and how to make it for a number of classes."""

    config: type[SpaceConfig]
    make: Callable[[Any, int], ModelSpace]


def _mobilenet(config: MobileNetConfig, classes: int) -> ModelSpace:
    from supernet.spaces.mobilenet import MobileNetSpace

    return MobileNetSpace(config, classes)


def _ofa(config: OfaConfig, classes: int) -> ModelSpace:
    from supernet.spaces.ofa import OfaSpace

    return OfaSpace(config, classes)


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
    "mobilenet": SpaceEntry(MobileNetConfig, _mobilenet),
    "ofa_mbv3": SpaceEntry(OfaMbv3Config, _ofa),
    "ofa_proxyless": SpaceEntry(OfaProxylessConfig, _ofa),
    "text_encoder": SpaceEntry(TextEncoderConfig, _text_encoder),
    "transformers": SpaceEntry(TransformersConfig, _transformers),
    "vit": SpaceEntry(VisionTransformerConfig, _vit),
}
"""Every model space but imported ones, by the name that a config gives."""


def make_model_space(config: SpaceConfig, classes: int, folder: Path = Path()) -> ModelSpace:
    """The model space that the `model` section of a config describes.

    Args:
        config: the section.
        classes: of the data.
        folder: of the config file; an imported model space may lie beside it.

    Raises:
        ConfigError, SpaceError: a model space from outside cannot be imported, or does not keep the rules.
    """
    if isinstance(config, ImportedConfig):
        from supernet.spaces.imported import load_imported_space

        return load_imported_space(config, classes, folder)
    return MODEL_SPACES[config.space].make(config, classes)
