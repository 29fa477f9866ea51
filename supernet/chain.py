"""Model spaces whose networks are chains of parts, each deciding its costs by a few choices. Imports no torch.

Costs of such a space are tables: a part costs the same in every subnet that makes the same few choices around it. That
is what fast cost models, tables of measured latencies and exact solvers need.
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
    """One place in the chain.

    Attributes:
        name: of the place, for example `stages.0.1`.
        choices: names of the choices that decide the part here, its input and its output; nothing else may matter.
        depth_choice: the choice that decides whether there is a part here; "" means always.
        exists_from: the smallest value of `depth_choice` at which there is one.
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
        """The parts of a network that `build` made, by the name of their link, in order.

        They hold the network's own parameters, each once; applied one after the other they compute what it computes.
        """
