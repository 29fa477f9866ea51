"""The base class of all `model` sections, and the section of imported model spaces. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from factory_base.documents import Document
from supernet.data.normalising import ChannelStatistics

InputKind = Literal["images", "tokens"]
"""Inputs of a model space: float images `(batch, 3, height, width)`, or int64 tokens `(batch, length)`."""


class SpaceConfig(Document):
    """The `model` section of a config. Each model space has a subclass with its own options."""

    space: str
    """A key of `supernet.spaces.MODEL_SPACES`, or an import path `package.module:callable`."""

    @property
    def largest_resolution(self) -> int | None:
        """Side in pixels of the largest square image that a subnet takes; None if unknown, or if inputs are tokens."""
        return None

    @property
    def inputs(self) -> InputKind:
        """Inputs of the networks; a build requires images of imported model spaces."""
        return "images"

    @property
    def names_weights(self) -> bool:
        """Whether the section itself names weights to start from; see `supernet.weights.pretrained.start_from`."""
        return False

    @property
    def tokenizer(self) -> str | None:
        """The tokenizer of these weights, relative to the config's folder; None if there is none."""
        return None

    @property
    def statistics(self) -> ChannelStatistics | None:
        """The statistics with which these weights were trained; None if the section names none, or they are unknown."""
        return None


class ImportedConfig(SpaceConfig):
    """A model space from the user's own code."""

    space: str = Field(json_schema_extra={"pattern": ":"})
    """Import path `package.module:callable` of a callable that returns a model space; it is called as
    `callable(classes=..., **options)`. Modules beside the config are importable too."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for the callable."""

    @field_validator("space")
    @classmethod
    def _is_import_path(cls, space: str) -> str:
        module, _, attribute = space.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), attribute)):
            raise ValueError(f"{space!r} is not an import path; write 'package.module:callable'")
        return space
