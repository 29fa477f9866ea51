"""Multiply-accumulate operations of a subnet, counted without computing anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from supernet.model_space import ModelSpace, takes_tokens
from supernet.sharing.blueprint import build_unweighted
from supernet.sharing.meta_calls import macs_of, name_of, run_on_meta
from supernet.space import SubnetConfig


def count_macs(model_space: ModelSpace, subnet: SubnetConfig) -> int:
    """Multiply-accumulate operations for one input, half of what `torch.utils.flop_counter` counts.

    Convolutions and matrix products count, including those inside attention: heads * tokens^2 * head_dim for the scores
    and as many for the weighted sum of the values. Element-wise operations, normalisation, softmax and the addition of
    biases do not count.
    """
    shape = model_space.input_shape(subnet)
    dtype = torch.int64 if takes_tokens(model_space) else torch.float32
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
        module = build_unweighted(model_space, subnet).eval()
        counter = _Counter()
        with counter:
            module(torch.zeros(1, *shape, dtype=dtype))
    return counter.macs


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = run_on_meta(func, args, kwargs or {})
        if isinstance(result, Tensor):
            self.macs += macs_of(name_of(func), args, result)
        return result
