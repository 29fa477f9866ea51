"""The supernet: the parameters of the largest network, and every subnet as slices of them (DESIGN.md section 3)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supernet.model_space import ModelSpace
from supernet.slicing import Plan, plan_module, slicing_rules, take
from supernet.space import SubnetConfig

_CACHED_SKELETONS = 256


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """A subnet's structure without weights, and where its weights lie."""

    module: nn.Module
    plans: dict[str, Plan]


class Supernet(nn.Module):
    """Holds the parameters of `model_space.build(space.largest)`; the subnet is an argument, never a state.

    A forward pass normalises with the statistics of its batch and writes no buffer. Statistics for inference belong to
    a subnet: extract it, then recalibrate it.

    Args:
        model_space: what to share.
        seed: of the initial weights.
    """

    def __init__(self, model_space: ModelSpace, seed: int = 0) -> None:
        super().__init__()
        self.model_space = model_space
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.largest = without_statistics(model_space.build(model_space.space.largest))
        self._skeletons: OrderedDict[SubnetConfig, _Skeleton] = OrderedDict()

    def forward(self, x: Tensor, subnet: SubnetConfig) -> Tensor:
        """The output of `subnet` for a batch `x`, (batch, *input_shape(subnet)); gradients reach the shared weights.

        In training mode dropout and its like are active in the largest network only: smaller ones have no capacity to
        spare (BigNAS, Yu et al., 2020).

        Raises:
            SpaceError: the subnet's network is no part of the largest one.
        """
        if subnet == self.model_space.space.largest:
            return self.largest(x)  # type: ignore[no-any-return]
        skeleton = self._skeleton(subnet)
        return functional_call(skeleton.module, take(dict(self.largest.named_parameters()), skeleton.plans), (x,))  # type: ignore[no-any-return]

    def extract(self, subnet: SubnetConfig) -> nn.Module:
        """A plain module with a copy of the subnet's weights and fresh statistics; it depends on nothing of ours.

        Recalibrate it before use. Raises `SpaceError` as `forward` does.
        """
        module = _build(self.model_space, subnet)
        plans = plan_module(self.largest, module, slicing_rules(self.model_space))
        weights = take(dict(self.largest.named_parameters()), plans)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(weights[name])
        return module

    def _skeleton(self, subnet: SubnetConfig) -> _Skeleton:
        if subnet in self._skeletons:
            self._skeletons.move_to_end(subnet)
            return self._skeletons[subnet]
        module = _on_meta(self.model_space, subnet)
        skeleton = _Skeleton(module, plan_module(self.largest, module, slicing_rules(self.model_space)))
        self._skeletons[subnet] = skeleton
        if len(self._skeletons) > _CACHED_SKELETONS:
            self._skeletons.popitem(last=False)
        return skeleton


def without_statistics(module: nn.Module) -> nn.Module:
    """Make every batch normalisation in `module` use the statistics of its batch, always; returns `module`."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    return module


def _build(model_space: ModelSpace, subnet: SubnetConfig) -> nn.Module:
    """The network of `subnet`; the initial weights nobody uses take nothing from the global random numbers."""
    with torch.random.fork_rng(devices=[]):
        return model_space.build(subnet)


def _on_meta(model_space: ModelSpace, subnet: SubnetConfig) -> nn.Module:
    """The network of `subnet` with parameters on the meta device and its other buffers real."""
    module = without_statistics(_build(model_space, subnet)).eval()
    for layer in module.modules():
        for name, parameter in list(layer._parameters.items()):
            if parameter is not None:
                layer._parameters[name] = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
    return module
