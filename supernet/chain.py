"""Model spaces whose networks are chains of parts, each of which depends on a few choices. Imports no torch.

The costs of such a space are tables, because a part costs the same in every subnet that makes the same few choices
around it. Fast cost models, latency tables and exact solvers need that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from supernet.model_space import ModelSpace
from supernet.space import Option

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One place in the chain, which holds a part or is empty.

    Attributes:
        name: Name of the place, for example `stages.0.1`.
        choices: Names of the choices that decide the part, its input and its output. Nothing else may affect them.
        depth_choice: Name of the choice that decides whether the place holds a part; "" if it always does.
        exists_from: The smallest value of `depth_choice` at which the place holds a part.
    """

    name: str
    choices: tuple[str, ...]
    depth_choice: str = ""
    exists_from: Option = 0


@runtime_checkable
class ChainModelSpace(ModelSpace, Protocol):
    """A model space whose networks pass one tensor from part to part."""

    @property
    def links(self) -> tuple[Link, ...]:
        """All places of the largest network, from the input to the output."""

    def parts(self, network: nn.Module) -> Mapping[str, nn.Module]:
        """The parts of a network that `build` returned, in order, by the name of their link.

        They hold the network's own parameters, each once. Applied one after the other, they compute what the network
        computes.
        """
