"""The protocol of a model space: a search space, and how to build an ordinary network for any of its subnets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from supernet.space import SearchSpace, SubnetConfig

if TYPE_CHECKING:
    from torch import nn


class ModelSpace(Protocol):
    """Everything the factory needs to know about an architecture."""

    @property
    def space(self) -> SearchSpace:
        """The named choices."""

    def build(self, subnet: SubnetConfig) -> nn.Module:
        """An ordinary static network with fresh weights, `(batch, *input_shape(subnet)) -> (batch, classes)`.

        Parameter names must be stable: what a name stands for does not change between subnets.
        """

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """The shape of one input, without the batch: `(channels, height, width)` for images."""
