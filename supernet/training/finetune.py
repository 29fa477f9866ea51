"""Fine-tuning: the weights of one subnet of a trained supernet are trained a little further on their own.

After few epochs all subnets are far from converged, and joint training gives each of them fewer steps than separate
training would. A short training run on the labels makes up for that (Cai et al., "Once-for-All", 2020, section 4).
"""

from __future__ import annotations

from typing import Self

import torch
from torch import nn

from supernet.model_space import ModelSpace
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace, SubnetConfig


class OneSubnet:
    """A model space that consists of a single subnet of another one. See `ModelSpace`."""

    def __init__(self, model_space: ModelSpace, subnet: SubnetConfig) -> None:
        self._model_space = model_space
        self.space = SearchSpace(tuple(Choice(name=name, options=(option,)) for name, option in subnet.values))

    def build(self, subnet: SubnetConfig) -> nn.Module:
        """See `ModelSpace`."""
        return self._model_space.build(subnet)

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """See `ModelSpace`."""
        return self._model_space.input_shape(subnet)


class _WithoutDropout(Supernet):
    """Stays in evaluation mode, because dropout and similar layers are for the largest network only."""

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - the signature of all modules
        """See `nn.Module`."""
        return super().train(False)


def separated(supernet: Supernet, subnet: SubnetConfig) -> Supernet:
    """A supernet that consists of `subnet` alone, with a copy of its weights.

    `train` trains it like any other supernet, but without dropout if `subnet` is not the largest.

    Raises:
        SpaceError: A parameter of the subnet is not a slice of the largest network's.
    """
    is_largest = subnet == supernet.model_space.space.largest
    alone = (Supernet if is_largest else _WithoutDropout)(OneSubnet(supernet.model_space, subnet))
    copy_weights(supernet.extract(subnet), alone)
    return alone


@torch.no_grad()
def copy_weights(network: nn.Module, alone: Supernet) -> None:
    """Copy the weights of `network` to `alone`, a supernet of one subnet of the same structure."""
    weights = dict(network.named_parameters())
    for name, parameter in alone.largest.named_parameters():
        parameter.copy_(weights[name])
