"""The model spaces that ship. A config's `model.space` is a key of `MODEL_SPACES`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from supernet.spaces.mobilenet_config import MobileNetConfig

if TYPE_CHECKING:
    from supernet.model_space import ModelSpace


def _mobilenet(config: MobileNetConfig, classes: int) -> ModelSpace:
    from supernet.spaces.mobilenet import MobileNetSpace

    return MobileNetSpace(config, classes)


MODEL_SPACES: dict[str, Callable[[MobileNetConfig, int], ModelSpace]] = {"mobilenet": _mobilenet}
"""Name -> how to make it from the `model` section of a config and the number of classes."""


def make_model_space(config: MobileNetConfig, classes: int) -> ModelSpace:
    """The model space that the `model` section of a config describes, for `classes` classes."""
    return MODEL_SPACES[config.space](config, classes)
