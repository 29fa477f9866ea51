"""What the `model` sections of all model spaces have in common. Imports no torch."""

from __future__ import annotations

from model_factory.base.documents import Document


class SpaceConfig(Document):
    """The `model` section of a config; each model space has a subclass with its own options."""

    space: str
    """A key of `supernet.spaces.MODEL_SPACES`, or `package.module:callable`."""

    @property
    def largest_resolution(self) -> int | None:
        """Side of the largest square image that a subnet takes, in pixels; None where inputs are no images."""
        return None
