"""The model spaces that ship. A config's `model.space` is a key of `MODEL_SPACES`, or an import path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from supernet.spaces.config import SpaceConfig
from supernet.spaces.mobilenet_config import MobileNetConfig

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


MODEL_SPACES: dict[str, SpaceEntry] = {
    "mobilenet": SpaceEntry(MobileNetConfig, _mobilenet),
}
"""Every model space but imported ones, by the name that a config gives."""


def make_model_space(config: SpaceConfig, classes: int) -> ModelSpace:
    """The model space that the `model` section of a config describes, for `classes` classes."""
    return MODEL_SPACES[config.space].make(config, classes)
