"""The supernet: the parameters of the largest network, and every subnet as slices of them (DESIGN.md section 3)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supernet.model_space import ModelSpace
from supernet.sharing.blueprint import Blueprint, build_unweighted, with_parameters
from supernet.sharing.gathering import Gatherer
from supernet.sharing.places import places_of
from supernet.sharing.slicing import plan_module, slicing_rules, take
from supernet.space import SubnetConfig

_CACHED_SKELETONS = 256


class _Skeleton:
    """A subnet's structure without weights, and where its weights lie."""

    def __init__(
        self, model_space: ModelSpace, largest: nn.Module, full: dict[str, nn.Parameter], subnet: SubnetConfig
    ) -> None:
        self._model_space, self._subnet = model_space, subnet
        self._device = next((p.device for p in full.values()), torch.device("cpu"))
        self._built: nn.Module | None = build_unweighted(model_space, subnet)
        places = places_of(self._built)
        self._trained = {place.first: place.parameter.requires_grad for place in places}
        self.has_ties = len(places) > len(self._trained)
        self.plans = plan_module(largest, self._built, slicing_rules(model_space))
        self.gatherer = Gatherer(full, self.plans)

    @cached_property
    def module(self) -> nn.Module:
        """Takes weights and computes: normalises with the statistics of its batch, without dropout."""
        built = self._take_built()
        module = build_unweighted(self._model_space, self._subnet) if built is None else built
        nothing = torch.empty(0, device="meta")
        empty = {name: nn.Parameter(nothing, trained) for name, trained in self._trained.items()}
        return without_statistics(with_parameters(module, empty, self._device)).eval()

    def weighted(self, full: dict[str, nn.Parameter]) -> nn.Module:
        """A network with copies of its parts of `full`."""
        copies = self.gatherer.copies(full)
        weights = {name: _as_parameter(copies[name], trained) for name, trained in self._trained.items()}
        built = self._take_built()
        return with_parameters(built, weights, self._device) if built else self._blueprint.network(weights)

    @cached_property
    def _blueprint(self) -> Blueprint:
        return Blueprint(self._model_space, self._subnet, self._device)

    def _take_built(self) -> nn.Module | None:
        """The network that was built to plan, for its first user."""
        built, self._built = self._built, None
        return built


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
        self._places = _places(self.largest)
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
        skeleton, full = self._skeleton(subnet), self._full()
        parts = take(full, skeleton.plans) if torch.compiler.is_compiling() else skeleton.gatherer.take(full)
        return functional_call(skeleton.module, parts, (x,), tie_weights=skeleton.has_ties)  # type: ignore[no-any-return]

    def extract(self, subnet: SubnetConfig) -> nn.Module:
        """A plain module with a copy of the subnet's weights and fresh statistics; it depends on nothing of ours.

        It lies where the supernet's weights lie. Recalibrate it before use. Raises `SpaceError` as `forward` does.
        """
        return self._skeleton(subnet).weighted(self._full())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Supernet:
        self._skeletons.clear()  # their buffers would stay where they are
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def _full(self) -> dict[str, nn.Parameter]:
        """The parameters of the largest network, by name."""
        return {name: layer._parameters[key] for name, layer, key in self._places}  # type: ignore[misc]

    def _skeleton(self, subnet: SubnetConfig) -> _Skeleton:
        if subnet in self._skeletons:
            self._skeletons.move_to_end(subnet)
            return self._skeletons[subnet]
        skeleton = _Skeleton(self.model_space, self.largest, self._full(), subnet)
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


def _as_parameter(tensor: Tensor, trained: bool) -> nn.Parameter:
    """`tensor` itself, as lazy layers of PyTorch become ordinary ones: a new object for each takes twice the time."""
    tensor.__class__ = nn.Parameter
    return tensor.requires_grad_(trained)  # type: ignore[return-value]


def _places(module: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """Name, layer, and name in the layer of every parameter; looking them up is much faster than `named_parameters`."""
    names = [name for name, _ in module.named_parameters()]
    return [(name, module.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]
