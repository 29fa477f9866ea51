"""The supernet: the parameters of the largest network, and every subnet as slices of them."""

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
"""Subnets whose skeletons are kept. It bounds the memory of long runs, which draw thousands of subnets; building one
again takes about 10 ms (MobileNet)."""


class _Skeleton:
    """A subnet's structure without weights, and how its weights come out of the supernet's."""

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
        """The network to call with weights. It normalises with the statistics of its batch and applies no dropout."""
        built = self._take_built()
        module = build_unweighted(self._model_space, self._subnet) if built is None else built
        nothing = torch.empty(0, device="meta")
        empty = {name: nn.Parameter(nothing, trained) for name, trained in self._trained.items()}
        return without_statistics(with_parameters(module, empty, self._device)).eval()

    def weighted(self, full: dict[str, nn.Parameter]) -> nn.Module:
        """A network with copies of the subnet's slices of `full`."""
        copies = self.gatherer.copies(full)
        weights = {name: _as_parameter(copies[name], trained) for name, trained in self._trained.items()}
        built = self._take_built()
        return with_parameters(built, weights, self._device) if built else self._blueprint.network(weights)

    @cached_property
    def _blueprint(self) -> Blueprint:
        return Blueprint(self._model_space, self._subnet, self._device)

    def _take_built(self) -> nn.Module | None:
        """The network that was built for planning, or None if it was taken before."""
        built, self._built = self._built, None
        return built


class Supernet(nn.Module):
    """Holds the parameters of the largest network and runs any subnet on slices of them.

    The subnet is an argument of the forward pass, never a state. A forward pass normalises with the statistics of its
    batch and writes no buffer. Statistics for inference belong to one subnet: extract it, then recalibrate it.

    >>> import torch
    >>> from supernet import MobileNetConfig, StageConfig, Supernet, count_macs, make_model_space
    >>> stage = StageConfig(widths=(8, 16), depths=(1, 2), kernels=(3, 5), stride=2)
    >>> config = MobileNetConfig(resolutions=(16, 24), stem_width=8, stages=(stage,), head_width=32)
    >>> supernet = Supernet(make_model_space(config, classes=10))
    >>> space = supernet.model_space.space
    >>> [count_macs(supernet.model_space, subnet) for subnet in (space.smallest, space.largest)]
    [172352, 1060160]
    >>> images = torch.zeros(4, *supernet.model_space.input_shape(space.smallest))
    >>> supernet(images, space.smallest).shape
    torch.Size([4, 10])
    >>> network = supernet.extract(space.smallest)  # a plain module with a copy of the weights
    >>> sum(parameter.numel() for parameter in network.parameters())
    1826

    Args:
        model_space: The model space whose subnets share weights.
        seed: Seed of the initial weights.
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
        """The output of `subnet` for a batch `x`, (batch, *input_shape(subnet)). Gradients reach the shared weights.

        In training mode, dropout and similar layers are active in the largest network only, because smaller ones have
        no capacity to spare (BigNAS, Yu et al., 2020).

        Raises:
            SpaceError: A parameter of the subnet is not a slice of the largest network's.
        """
        if subnet == self.model_space.space.largest:
            return self.largest(x)  # type: ignore[no-any-return]
        skeleton, full = self._skeleton(subnet), self._full()
        parts = take(full, skeleton.plans) if torch.compiler.is_compiling() else skeleton.gatherer.take(full)
        return functional_call(skeleton.module, parts, (x,), tie_weights=skeleton.has_ties)  # type: ignore[no-any-return]

    def extract(self, subnet: SubnetConfig) -> nn.Module:
        """A plain module with a copy of the subnet's weights and fresh statistics, independent of the supernet.

        It is on the device of the supernet. Recalibrate it before use. Raises `SpaceError` as `forward` does.
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
    """`module`, in which every batch normalisation now always uses the statistics of its batch."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    return module


def _as_parameter(tensor: Tensor, trained: bool) -> nn.Parameter:
    """`tensor` itself with the class of a parameter, as PyTorch's lazy layers do. A new object takes twice as long."""
    tensor.__class__ = nn.Parameter
    return tensor.requires_grad_(trained)  # type: ignore[return-value]


def _places(module: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """Name, layer, and name in the layer of every parameter. Looking them up is much faster than `named_parameters`."""
    names = [name for name, _ in module.named_parameters()]
    return [(name, module.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]
