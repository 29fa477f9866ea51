"""What the `model` sections of all model spaces have in common, and that of imported ones. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from factory_base.documents import Document

InputKind = Literal["images", "tokens"]
"""What a model space takes: float images `(batch, 3, height, width)`, or int64 tokens `(batch, length)`."""


class SpaceConfig(Document):
    """The `model` section of a config; each model space has a subclass with its own options."""

    space: str
    """A key of `supernet.spaces.MODEL_SPACES`, or `package.module:callable`."""

    @property
    def largest_resolution(self) -> int | None:
        """Side of the largest square image that a subnet takes, in pixels; None where that is unknown or no image."""
        return None

    @property
    def inputs(self) -> InputKind:
        """What the networks take; of an imported model space, what it has to take in a build."""
        return "images"


class ImportedConfig(SpaceConfig):
    """A model space from the user's own code."""

    space: str
    """Import path `package.module:callable`, called as `callable(classes=..., **options)`; it returns a model space. A
    module beside the config is found too."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the callable."""

    @field_validator("space")
    @classmethod
    def _is_import_path(cls, space: str) -> str:
        module, _, attribute = space.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), attribute)):
            raise ValueError(f"{space!r} is not an import path; write 'package.module:callable'")
        return space
