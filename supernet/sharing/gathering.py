"""Gathers a subnet's parameters from the supernet's in a single node of the autograd graph, for training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from supernet.sharing.slicing import Plan, SlicePlan

_Index = tuple[slice, ...]
_Run = tuple[int, int, int]  # axis, start, length


class Gatherer:
    """The plans of one subnet, grouped by the fastest way to carry them out.

    A parameter as large as the supernet's is that parameter itself. Slices with one run per axis are copied together:
    every convolution would copy a view anyway, forward and backward, and each axis of a view would cost a node of the
    graph and a gradient of full size. Any other plan makes its tensor itself.

    Args:
        full: Parameters of the largest network, by name.
        plans: Plan of each parameter of the subnet, by name.
    """

    def __init__(self, full: Mapping[str, Tensor], plans: Mapping[str, Plan]) -> None:
        self._plans = plans
        indices = {name: _index(plan, full[name]) for name, plan in plans.items()}
        self._whole = [name for name, index in indices.items() if index == ()]
        self._slices = {name: index for name, index in indices.items() if index}
        self._runs = {name: run for name, index in self._slices.items() if (run := _only_run(index, full[name]))}
        self._others = [name for name, index in indices.items() if index is None]

    def take(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same as `slicing.take`, except that a slice has memory of its own."""
        found = {name: parameters[name] for name in self._whole}
        if self._slices:
            slices = _Slices.apply(  # type: ignore[no-untyped-call]
                tuple(self._slices.values()), *(parameters[name] for name in self._slices)
            )
            found |= zip(self._slices, slices, strict=True)
        return found | {name: self._plans[name].take(parameters, name) for name in self._others}

    def copies(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Contiguous copies of the subnet's parameters, outside the autograd graph."""
        with torch.no_grad():
            found = {name: parameters[name].narrow_copy(*run) for name, run in self._runs.items()}
            shared = {name: parameters[name] for name in self._whole}
            shared |= {name: parameters[name][self._slices[name]] for name in self._slices.keys() - self._runs.keys()}
            shared |= {name: self._plans[name].take(parameters, name) for name in self._others}
            found |= {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in shared.items()}
            return found


def _index(plan: Plan, tensor: Tensor) -> _Index | None:
    """The index of a slice with one run per axis, without whole axes at the end; None for any other plan."""
    if not isinstance(plan, SlicePlan) or any(len(runs) != 1 for runs in plan.axes):
        return None
    index = tuple(runs[0] for runs in plan.axes)
    whole = [run.stop - run.start == size for run, size in zip(index, tensor.shape, strict=True)]
    while whole and whole[-1]:
        whole.pop()
    return index[: len(whole)]


def _only_run(index: _Index, tensor: Tensor) -> _Run | None:
    """The run of the only axis that is not whole; None if several are not."""
    cut = [axis for axis, run in enumerate(index) if run.stop - run.start < tensor.shape[axis]]
    return (cut[0], index[cut[0]].start, index[cut[0]].stop - index[cut[0]].start) if len(cut) == 1 else None


class _Slices(torch.autograd.Function):
    """Copies slices of tensors, in the memory format of the whole tensor. The gradient is zero outside the slice."""

    @staticmethod
    def forward(ctx: Any, indices: tuple[_Index, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.indices, ctx.tensors = indices, tensors
        ctx.set_materialize_grads(False)
        return tuple(
            tensor[index].clone(memory_format=_format(tensor)) for index, tensor in zip(indices, tensors, strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        wholes = (_scattered(*pair) for pair in zip(ctx.indices, ctx.tensors, gradients, strict=True))
        return (None, *wholes)


def _scattered(index: _Index, tensor: Tensor, gradient: Tensor | None) -> Tensor | None:
    if gradient is None:
        return None
    whole = torch.zeros_like(tensor)
    whole[index] = gradient
    return whole


def _format(tensor: Tensor) -> torch.memory_format:
    """The memory format of a weight. A weight with four axes that fits several formats counts as channels last."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
