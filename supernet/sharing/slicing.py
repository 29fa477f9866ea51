"""How a subnet's parameter comes out of the supernet's: runs of indices on each axis, or a rule of the model space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor, nn

from factory_base.errors import SpaceError
from supernet.model_space import ModelSpace
from supernet.sharing.places import places_of

Runs = tuple[slice, ...]
"""The runs of indices taken on one axis, in order; nearly always a single run."""


class Plan(Protocol):
    """How one parameter of a subnet comes out of the supernet's parameters."""

    def take(self, parameters: Mapping[str, Tensor], name: str) -> Tensor:
        """The subnet's parameter `name`. Gradients flow back into `parameters`, those of the supernet."""


class SliceRule(Protocol):
    """An exception to the default plan, which a model space declares for the parameters that match a pattern."""

    def plan(self, full: tuple[int, ...], part: tuple[int, ...], name: str) -> Plan:
        """The plan of parameter `name`.

        Args:
            full: Shape of the parameter in the largest network.
            part: Shape of the parameter in the subnet.
            name: Name of the parameter.

        Raises:
            SpaceError: This rule gives no part of shape `part` from a parameter of shape `full`.
        """


class SlicedModelSpace(ModelSpace, Protocol):
    """A model space with exceptions to the default plan."""

    @property
    def slicing(self) -> Mapping[str, SliceRule]:
        """Pattern of parameter names -> rule. The first match wins.

        Patterns are those of `fnmatch`, for example `*.attention.qkv.weight`.
        """


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """Runs of indices on each axis of the supernet's parameter of the same name."""

    axes: tuple[Runs, ...]

    def take(self, parameters: Mapping[str, Tensor], name: str) -> Tensor:
        """See `Plan`. The result is a view if every axis has one run, else a copy."""
        return self.of(parameters[name])

    def of(self, tensor: Tensor) -> Tensor:
        """The subnet's part of `tensor`, which has the shape of the supernet's parameter."""
        if all(len(runs) == 1 for runs in self.axes):
            return tensor[tuple(runs[0] for runs in self.axes)]
        for axis, runs in enumerate(self.axes):
            parts = [tensor.narrow(axis, run.start, run.stop - run.start) for run in runs]
            tensor = parts[0] if len(parts) == 1 else torch.cat(parts, axis)
        return tensor


@dataclass(frozen=True, slots=True)
class Segments:
    """A rule for an axis that consists of equal segments: a subnet has the leading part of each segment.

    Examples are a fused query-key-value matrix (3 segments), a SwiGLU matrix (2), and query heads in groups that share
    a key (one segment per group). The other axes follow the default plan.

    Attributes:
        axis: The segmented axis, counted from 0.
        count: Number of segments.
    """

    axis: int
    count: int

    def plan(self, full: tuple[int, ...], part: tuple[int, ...], name: str) -> SlicePlan:
        """See `SliceRule`."""
        axes = list(plan_slices(full, part, name).axes)
        if full[self.axis] % self.count or part[self.axis] % self.count:
            raise SpaceError(
                f"parameter {name!r}: {part[self.axis]} of {full[self.axis]} indices on axis {self.axis} do not divide "
                f"into {self.count} equal segments"
            )
        stride, length = full[self.axis] // self.count, part[self.axis] // self.count
        axes[self.axis] = tuple(slice(i * stride, i * stride + length) for i in range(self.count))
        return SlicePlan(tuple(axes))


@dataclass(frozen=True, slots=True)
class Leading:
    """A rule for parameters without a kernel: a subnet has the leading part of every axis.

    An example are position embeddings, whose last axes hold positions and channels.
    """

    def plan(self, full: tuple[int, ...], part: tuple[int, ...], name: str) -> SlicePlan:
        """See `SliceRule`."""
        _check_part(full, part, name)
        return SlicePlan(tuple((slice(0, size),) for size in part))


def plan_slices(full: tuple[int, ...], part: tuple[int, ...], name: str) -> SlicePlan:
    """The default plan: the leading part of a channel axis, the centre of a convolution kernel.

    Axes 0 and 1 hold channels; further axes, if any, hold the kernel.

    Args:
        full: Shape of the supernet's parameter.
        part: Shape of the subnet's parameter, of the same rank and not larger on any axis.
        name: Name of the parameter, for messages.

    Raises:
        SpaceError: `part` does not fit into `full`, or the kernels have no common centre because one size is even and
            the other odd.
    """
    _check_part(full, part, name)
    return SlicePlan(tuple((_run(axis, f, p, name),) for axis, (f, p) in enumerate(zip(full, part, strict=True))))


def _check_part(full: tuple[int, ...], part: tuple[int, ...], name: str) -> None:
    if len(full) != len(part) or any(p > f for f, p in zip(full, part, strict=True)):
        raise SpaceError(f"parameter {name!r}: shape {part} does not fit into the largest network's {full}")


def _run(axis: int, full: int, part: int, name: str) -> slice:
    if axis < 2:
        return slice(0, part)
    if (full - part) % 2:
        raise SpaceError(f"parameter {name!r}: a kernel of {part} has no common centre with one of {full}")
    return slice((full - part) // 2, (full + part) // 2)


def slicing_rules(model_space: ModelSpace) -> Mapping[str, SliceRule]:
    """The rules that `model_space` declares; most model spaces declare none."""
    rules: Mapping[str, SliceRule] = getattr(model_space, "slicing", {})
    return rules


def plan_module(
    largest: nn.Module, subnet: nn.Module, rules: Mapping[str, SliceRule] = MappingProxyType({})
) -> dict[str, Plan]:
    """How every parameter of `subnet` comes out of the parameters of `largest`. Only shapes are read.

    Args:
        largest: The largest network.
        subnet: The network of a subnet.
        rules: Rules of the model space, see `slicing_rules`.

    Returns:
        Name of a parameter of `subnet` -> its plan.

    Raises:
        SpaceError: `largest` does not have a parameter, a parameter has no valid plan, or it belongs to a layer of
            another kind in `largest`. The last happens if a layer inside an `nn.Sequential` is optional, so that the
            names of later layers shift.
    """
    full = {place.first: place for place in places_of(largest)}
    plans: dict[str, Plan] = {}
    checked: nn.Module | None = None
    for place in places_of(subnet):
        name = place.first
        if name in plans:
            continue
        if name not in full:
            raise SpaceError(f"parameter {name!r} of a subnet does not exist in the largest network")
        whole = full[name]
        if place.layer is not checked:
            _check_role(name, whole.layer, place.layer)
            checked = place.layer
        make = next((rule.plan for pattern, rule in rules.items() if fnmatchcase(name, pattern)), plan_slices)
        plans[name] = make(tuple(whole.parameter.shape), tuple(place.parameter.shape), name)
    return plans


def take(parameters: Mapping[str, Tensor], plans: Mapping[str, Plan]) -> dict[str, Tensor]:
    """The subnet's parameters, taken from the supernet's. Gradients flow back into `parameters`."""
    return {name: plan.take(parameters, name) for name, plan in plans.items()}


def _check_role(name: str, largest: nn.Module, subnet: nn.Module) -> None:
    """Raise `SpaceError` unless `name` belongs to layers of the same kind in both networks."""
    ours, theirs = _role(largest), _role(subnet)
    if ours != theirs:
        raise SpaceError(
            f"parameter {name!r} belongs to {theirs} in a subnet but to {ours} in the largest network; "
            "give optional layers names of their own"
        )


def _role(module: nn.Module) -> str:
    kind = type(module).__name__
    if isinstance(module, nn.Conv2d):
        return f"{kind}(stride={module.stride}, {_grouping(module)})"
    return kind


def _grouping(conv: nn.Conv2d) -> str:
    """A subnet may have fewer groups, but not narrower ones: its leading channels would fall into other groups."""
    if conv.groups == 1:
        return "dense"
    return f"groups of {conv.in_channels // conv.groups} to {conv.out_channels // conv.groups} channels"
