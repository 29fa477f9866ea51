"""The head of a network: the linear layer whose output is the output of the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from supernet.sharing.supernet import Supernet


def head_name(supernet: Supernet) -> str | None:
    """The name of the head in the largest network, for example `classifier`; None if there is no such linear layer.

    It is found by running the largest network on an input of zeros, so that it may have any name.
    """
    outputs: dict[int, str] = {}

    def note(name: str) -> Any:
        return lambda _layer, _inputs, output: outputs.__setitem__(id(output), name)

    layers = [(name, layer) for name, layer in supernet.largest.named_modules() if isinstance(layer, nn.Linear)]
    handles = [layer.register_forward_hook(note(name)) for name, layer in layers]
    was_training = supernet.training
    try:
        with torch.no_grad():
            output = supernet.eval().largest(_zeros(supernet))
    finally:
        supernet.train(was_training)
        for handle in handles:
            handle.remove()
    return outputs.get(id(output))


@contextmanager
def head_inputs(head: nn.Module) -> Iterator[list[Tensor]]:
    """Within the context, what the layer `head` receives is appended to the list: (batch, features) per call."""
    found: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _layer, inputs: found.append(inputs[0].detach()))
    try:
        yield found
    finally:
        handle.remove()


def _zeros(supernet: Supernet) -> Tensor:
    """Two inputs of the largest network, since batch normalisation needs more than one."""
    space = supernet.model_space
    shape = space.input_shape(space.space.largest)
    dtype = torch.float32 if len(shape) > 1 else torch.int64  # an input with one axis holds tokens
    device = next(supernet.parameters()).device
    return torch.zeros(2, *shape, dtype=dtype, device=device)
