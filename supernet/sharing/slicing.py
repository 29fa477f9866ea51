"""Which part of the supernet's parameters a subnet's parameter is: runs of indices per axis, or a declared rule."""

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
"""The parts of one axis, in order; nearly always a single one."""


class Plan(Protocol):
    """How one parameter of a subnet comes out of the supernet's parameters."""

    def take(self, parameters: Mapping[str, Tensor], name: str) -> Tensor:
        """The subnet's parameter `name`; autograd flows through it."""


class SliceRule(Protocol):
    """An exception to the default plan, declared by a model space for the parameters that a pattern names."""

    def plan(self, full: tuple[int, ...], part: tuple[int, ...], name: str) -> Plan:
        """The plan of parameter `name`, given its shapes in the largest network and in the subnet.

        Raises:
            SpaceError: `part` is no such part of `full`.
        """


class SlicedModelSpace(ModelSpace, Protocol):
    """A model space with exceptions to the default plan."""

    @property
    def slicing(self) -> Mapping[str, SliceRule]:
        """Pattern of parameter names (as `fnmatch`, for example `*.attention.qkv.weight`) -> rule. First match wins."""


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """Runs of indices per axis of the supernet's parameter of the same name."""

    axes: tuple[Runs, ...]

    def take(self, parameters: Mapping[str, Tensor], name: str) -> Tensor:
        """A view where every axis has one run, else a copy."""
        return self.of(parameters[name])

    def of(self, tensor: Tensor) -> Tensor:
        """The part of `tensor`, which has the shape of the supernet's parameter."""
        if all(len(runs) == 1 for runs in self.axes):
            return tensor[tuple(runs[0] for runs in self.axes)]
        for axis, runs in enumerate(self.axes):
            parts = [tensor.narrow(axis, run.start, run.stop - run.start) for run in runs]
            tensor = parts[0] if len(parts) == 1 else torch.cat(parts, axis)
        return tensor


@dataclass(frozen=True, slots=True)
class Segments:
    """Axis `axis` is a row of `count` equal segments, and a subnet has the leading part of each.

    For example a fused query-key-value matrix (3 segments), a SwiGLU matrix (2), or query heads in groups that share a
    key (one segment per group). The other axes follow the default plan.
    """

    axis: int
    count: int

    def plan(self, full: tuple[int, ...], part: tuple[int, ...], name: str) -> SlicePlan:
        """See `SliceRule`."""
        axes = list(plan_slices(full, part, name).axes)
        if full[self.axis] % self.count or part[self.axis] % self.count:
            raise SpaceError(
                f"parameter {name!r}: axis {self.axis} of {part[self.axis]} out of {full[self.axis]} "
                f"does not divide into {self.count} equal segments"
            )
        stride, length = full[self.axis] // self.count, part[self.axis] // self.count
        axes[self.axis] = tuple(slice(i * stride, i * stride + length) for i in range(self.count))
        return SlicePlan(tuple(axes))


@dataclass(frozen=True, slots=True)
class Leading:
    """All axes hold channels, positions or the like: the leading part of each (for example position embeddings)."""

    def plan(self, full: tuple[int, ...], part: tuple[int, ...], name: str) -> SlicePlan:
        """See `SliceRule`."""
        _check_part(full, part, name)
        return SlicePlan(tuple((slice(0, size),) for size in part))


def plan_slices(full: tuple[int, ...], part: tuple[int, ...], name: str) -> SlicePlan:
    """The default plan: the leading part of a channel axis, the centre of a convolution kernel.

    Axes 0 and 1 hold channels; further axes, if any, hold the kernel.

    Args:
        full: shape of the supernet's parameter.
        part: shape of the subnet's parameter, of equal rank and nowhere larger.
        name: of the parameter, for messages.

    Raises:
        SpaceError: `part` is no part of `full`, or an odd remainder leaves a kernel without a common centre.
    """
    _check_part(full, part, name)
    return SlicePlan(tuple((_run(axis, f, p, name),) for axis, (f, p) in enumerate(zip(full, part, strict=True))))


def _check_part(full: tuple[int, ...], part: tuple[int, ...], name: str) -> None:
    if len(full) != len(part) or any(p > f for f, p in zip(full, part, strict=True)):
        raise SpaceError(f"parameter {name!r}: shape {part} is no part of the largest network's {full}")


def _run(axis: int, full: int, part: int, name: str) -> slice:
    if axis < 2:
        return slice(0, part)
    if (full - part) % 2:
        raise SpaceError(f"parameter {name!r}: a kernel of {part} has no common centre with one of {full}")
    return slice((full - part) // 2, (full + part) // 2)


def slicing_rules(model_space: ModelSpace) -> Mapping[str, SliceRule]:
    """The exceptions that `model_space` declares; most declare none."""
    rules: Mapping[str, SliceRule] = getattr(model_space, "slicing", {})
    return rules


def plan_module(
    largest: nn.Module, subnet: nn.Module, rules: Mapping[str, SliceRule] = MappingProxyType({})
) -> dict[str, Plan]:
    """The plan of every parameter of `subnet` in the parameters of `largest`; only shapes are read.

    Args:
        largest: the largest network.
        subnet: the network of a subnet.
        rules: of the model space, see `slicing_rules`.

    Raises:
        SpaceError: a parameter is unknown to `largest`, has no valid plan, or belongs to a layer of another kind there
            (its name changed its role, as happens with an optional layer inside an `nn.Sequential`).
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
    """The subnet's parameters out of the supernet's; autograd flows through them."""
    return {name: plan.take(parameters, name) for name, plan in plans.items()}


def _check_role(name: str, largest: nn.Module, subnet: nn.Module) -> None:
    """That `name` belongs to layers of one kind. Raises `SpaceError`."""
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
    """Groups may become fewer, never narrower: leading channels would then fall into other groups."""
    if conv.groups == 1:
        return "dense"
    return f"groups of {conv.in_channels // conv.groups} to {conv.out_channels // conv.groups} channels"
