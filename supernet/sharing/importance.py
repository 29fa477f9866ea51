"""Sorting the largest network by importance, so that smaller subnets start from what matters most.

A subnet has the leading channels, heads and neurons. In a network that was trained alone, which ones lead is arbitrary.
Putting the important ones first does not change what the network computes, but it changes what its subnets compute
(Cai et al., "Once-for-All", 2020; Hou et al., "DynaBERT", 2020).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from factory_base.documents import nearest
from factory_base.errors import SpaceError
from supernet.model_space import ModelSpace
from supernet.sharing.supernet import Supernet

_TOLERANCE = 1e-3
"""Largest change of the outputs, relative to their largest magnitude (or 1 if that is larger), that counts as rounding.
Summing in another order changes float32 outputs by far less, a wrongly declared group by far more."""

LabelledBatch = tuple[Tensor, Tensor]
"""Inputs of the largest network, (b, *shape), and their labels."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""`(outputs (b, outputs), labels)` -> a scalar."""


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, labels)


@dataclass(frozen=True, slots=True)
class UnitAxis:
    """An axis of a parameter of the largest network whose indices belong to units: channels, heads or neurons.

    Attributes:
        name: Name of the parameter.
        axis: The axis, counted from 0.
        block: Number of neighbouring indices that belong to one unit, for example the channels of a head.
        segments: Number of equal segments of the axis, each of which holds a part of every unit, for example 3 for the
            query, key and value of a fused matrix.
    """

    name: str
    axis: int = 0
    block: int = 1
    segments: int = 1

    def count(self, parameters: Mapping[str, Tensor]) -> int:
        """The number of units.

        Raises:
            SpaceError: The parameter or the axis does not exist, or the axis does not divide into units.
        """
        if self.name not in parameters:
            raise SpaceError(
                f"sortable: the largest network has no parameter {self.name!r}; {nearest(self.name, parameters)}"
            )
        shape = tuple(parameters[self.name].shape)
        if not 0 <= self.axis < len(shape):
            raise SpaceError(f"sortable: {self.name!r} of shape {shape} has no axis {self.axis}")
        units, rest = divmod(shape[self.axis], max(1, self.block * self.segments))
        if rest or self.block < 1 or self.segments < 1:
            raise SpaceError(
                f"sortable: {self.name!r} has {shape[self.axis]} indices on axis {self.axis}, which do not divide into "
                f"{self.segments} segments of units of {self.block}"
            )
        return units

    def per_unit(self, values: Tensor) -> Tensor:
        """The sum of `values`, which has the parameter's shape, over the elements of each unit: (units,)."""
        rows = values.movedim(self.axis, 0).reshape(
            self.segments, -1, self.block, values.numel() // values.shape[self.axis]
        )
        return rows.sum((0, 2, 3))

    def reordered(self, values: Tensor, order: Tensor) -> Tensor:
        """`values`, which has the parameter's shape, with its units in `order`: int64 (units,)."""
        index = torch.arange(values.shape[self.axis], device=values.device)
        index = index.reshape(self.segments, -1, self.block)[:, order].flatten()
        return values.index_select(self.axis, index)


@dataclass(frozen=True, slots=True, kw_only=True)
class SortGroup:
    """Units of the largest network (channels, heads, neurons) that can be permuted without changing what it computes.

    That is so if every parameter that touches the units is named, with the right axis. A unit is as important as the
    weights that read it.

    Attributes:
        ranked_by: The weights that read the units. They decide the order.
        along: The other parameters that touch the units. They are permuted along.
    """

    ranked_by: tuple[UnitAxis, ...]
    along: tuple[UnitAxis, ...]

    @property
    def axes(self) -> tuple[UnitAxis, ...]:
        """All axes that are permuted."""
        return (*self.ranked_by, *self.along)

    def check(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise `SpaceError` unless all axes exist in `parameters` and hold the same number of units."""
        if not self.ranked_by:
            raise SpaceError(
                f"sortable: the group of {[a.name for a in self.along]} has nothing in ranked_by; "
                "name the weights that read its units there"
            )
        counts = {axis: axis.count(parameters) for axis in self.axes}
        first = self.ranked_by[0]
        for axis, count in counts.items():
            if count != counts[first]:
                raise SpaceError(
                    f"sortable: axis {axis.axis} of {axis.name!r} holds {count} units but axis {first.axis} of "
                    f"{first.name!r} in the same group holds {counts[first]}"
                )


class SortableModelSpace(ModelSpace, Protocol):
    """A model space that declares which units of its largest network can be permuted."""

    @property
    def sortable(self) -> tuple[SortGroup, ...]:
        """The groups of units. No axis of a parameter is named twice."""


def sort_groups(model_space: ModelSpace) -> tuple[SortGroup, ...]:
    """The groups that `model_space` declares as sortable; many model spaces declare none."""
    groups: tuple[SortGroup, ...] = getattr(model_space, "sortable", ())
    return groups


def sort_by_importance(
    supernet: Supernet, batches: Sequence[LabelledBatch], *, by_gradient: bool = False, loss: Loss = _cross_entropy
) -> int:
    """Put the most important units of every group first, in place. What the largest network computes stays the same.

    A unit's importance is either the sum of the magnitudes of the weights that read it, or how much the loss would
    change without it, to first order: the magnitude of the sum of gradient times weight, added up over `batches`.

    Args:
        supernet: The supernet, changed in place.
        batches: Batches of training examples, at least one. The first also serves to check that the largest network
            computes the same as before.
        by_gradient: Whether importance is the change of the loss; else it is the magnitude of the weights.
        loss: The loss of outputs and labels.

    Returns:
        The number of groups, at least 1.

    Raises:
        SpaceError: The model space declares no group or a wrong one. The weights are then as before.
    """
    groups = sort_groups(supernet.model_space)
    parameters = dict(supernet.largest.named_parameters())
    check_groups(groups, parameters)
    scores = _gradient_scores(supernet, groups, batches, loss) if by_gradient else _weight_scores(groups, parameters)
    was_training, before = supernet.training, {name: value.detach().clone() for name, value in parameters.items()}
    supernet.eval()  # turns dropout off
    with torch.no_grad():
        expected = supernet.largest(batches[0][0])
        for group, score in zip(groups, scores, strict=True):
            reorder(group, parameters, score.argsort(descending=True, stable=True))
        found = supernet.largest(batches[0][0])
        difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1))
        if not difference <= _TOLERANCE:
            for name, value in parameters.items():
                value.copy_(before[name])
    supernet.train(was_training)
    if not difference <= _TOLERANCE:
        raise SpaceError(
            f"sortable: sorting changes the outputs of the largest network by {difference:.2g}, expected at most "
            f"{_TOLERANCE:g}; a group lacks a parameter that touches its units, or names a wrong axis (the conformance "
            "suite checks this)"
        )
    return len(groups)


def check_groups(groups: Sequence[SortGroup], parameters: Mapping[str, Tensor]) -> None:
    """Raise `SpaceError` if there is no group, if one does not fit `parameters`, or if two permute the same axis."""
    if not groups:
        raise SpaceError(
            "this model space declares nothing that can be sorted; set training.sort_by_importance to false, or give "
            "the model space a property 'sortable'"
        )
    for group in groups:
        group.check(parameters)
    (name, axis), times = Counter((axis.name, axis.axis) for group in groups for axis in group.axes).most_common(1)[0]
    if times > 1:
        raise SpaceError(f"sortable: axis {axis} of {name!r} is named {times} times; name it once, in one group")


def reorder(group: SortGroup, parameters: Mapping[str, Tensor], order: Tensor) -> None:
    """Put the units of `group` into `order`, int64 (units,), in place."""
    with torch.no_grad():
        for axis in group.axes:
            values = parameters[axis.name]
            values.copy_(axis.reordered(values, order))


def _weight_scores(groups: Iterable[SortGroup], parameters: Mapping[str, Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return [_summed(axis.per_unit(parameters[axis.name].abs()) for axis in group.ranked_by) for group in groups]


def _gradient_scores(
    supernet: Supernet, groups: Sequence[SortGroup], batches: Sequence[LabelledBatch], loss: Loss
) -> list[Tensor]:
    """How much the loss would change without each unit, (units,) for every group. `Parameter.grad` is left alone."""
    names, values = zip(*supernet.largest.named_parameters(), strict=True)
    scores: list[Tensor] = []
    for inputs, labels in batches:
        with torch.enable_grad():
            value = loss(supernet.largest(inputs), labels)
        gradients = torch.autograd.grad(value, values, materialize_grads=True)
        effects = {n: (g * v).detach() for n, g, v in zip(names, gradients, values, strict=True)}
        found = [_summed(axis.per_unit(effects[axis.name]) for axis in group.ranked_by).abs() for group in groups]
        scores = [a + b for a, b in zip(scores, found, strict=True)] if scores else found
    return scores


def _summed(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(0)
