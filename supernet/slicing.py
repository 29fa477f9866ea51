"""Which part of the supernet's parameter a subnet's parameter is: one slice per axis."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from model_factory.base.errors import SpaceError

SlicePlan = tuple[slice, ...]
"""One slice per axis of the supernet's parameter."""


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
    if len(full) != len(part) or any(p > f for f, p in zip(full, part, strict=True)):
        raise SpaceError(f"parameter {name!r}: shape {part} is no part of the largest network's {full}")
    return tuple(_axis_slice(axis, f, p, name) for axis, (f, p) in enumerate(zip(full, part, strict=True)))


def _axis_slice(axis: int, full: int, part: int, name: str) -> slice:
    if axis < 2:
        return slice(0, part)
    if (full - part) % 2:
        raise SpaceError(f"parameter {name!r}: a kernel of {part} has no common centre with one of {full}")
    return slice((full - part) // 2, (full + part) // 2)


def plan_module(largest: nn.Module, subnet: nn.Module) -> dict[str, SlicePlan]:
    """The plan of every parameter of `subnet` in the parameters of `largest`; only shapes are read.

    Raises:
        SpaceError: a parameter is unknown to `largest`, has no valid plan, or belongs to a layer of another kind there
            (its name changed its role, as happens with an optional layer inside an `nn.Sequential`).
    """
    full = dict(largest.named_parameters())
    plans: dict[str, SlicePlan] = {}
    for name, parameter in subnet.named_parameters():
        if name not in full:
            raise SpaceError(f"parameter {name!r} of a subnet does not exist in the largest network")
        _check_role(name, largest, subnet)
        plans[name] = plan_slices(tuple(full[name].shape), tuple(parameter.shape), name)
    return plans


def take(parameters: Mapping[str, Tensor], plans: Mapping[str, SlicePlan]) -> dict[str, Tensor]:
    """The subnet's parameters as views of the supernet's; autograd flows through them."""
    return {name: parameters[name][plan] for name, plan in plans.items()}


def _check_role(name: str, largest: nn.Module, subnet: nn.Module) -> None:
    owner = name.rpartition(".")[0]
    ours, theirs = _role(largest.get_submodule(owner)), _role(subnet.get_submodule(owner))
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
