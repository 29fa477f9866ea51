"""The weights of a pretrained model of the package `transformers`, by the names of our network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from supernet.training.tensor_file import read_tensors

_WRAPPER: Final = "model."
"""Where a network of `supernet.spaces.hf` holds the model."""
_OLD_NAMES: Final = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""Endings of names in files from the first years of BERT, and their names today."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedWeights:
    """What a file holds for a network.

    Attributes:
        tensors: Its tensors by the names of the network's parameters, without the heads of other tasks.
        fresh_head: The parameters of the network's head if the file has no head of the same shape; else empty.
        unused: Names of the tensors of heads for other tasks in the file.
    """

    tensors: dict[str, Tensor]
    fresh_head: tuple[str, ...]
    unused: tuple[str, ...]


def read_pretrained(path: Path, network: nn.Module) -> PretrainedWeights:
    """Read the file of a pretrained model, with its head or without one.

    A model consists of a base and a head. The package names the base; whatever a file holds beyond it is a head.

    Args:
        path: The file `model.safetensors`.
        network: The largest network of the model space `transformers`.

    Raises:
        CheckpointError: The file is missing, unreadable or not in the safetensors format.
    """
    tensors, _ = read_tensors(path, "write the model with save_pretrained, which makes model.safetensors")
    base = f"{network.get_submodule('model').base_model_prefix}."
    named = _named(tensors, base)
    parameters = dict(network.named_parameters())
    head = {name: p for name, p in parameters.items() if not name.startswith(_WRAPPER + base)}
    body = {name: value for name, value in named.items() if name.startswith(_WRAPPER + base)}
    fits = all(name in named and named[name].shape == parameter.shape for name, parameter in head.items())
    kept = {name: named[name] for name in head} if fits else {}
    unused = tuple(name.removeprefix(_WRAPPER) for name in named if name not in body and name not in kept)
    return PretrainedWeights(tensors=body | kept, fresh_head=() if fits else tuple(head), unused=unused)


def _named(tensors: Mapping[str, Tensor], base: str) -> dict[str, Tensor]:
    """Tensors by the names that they have in a model with a head."""
    prefix = "" if any(name.startswith(base) for name in tensors) else base
    return {_WRAPPER + prefix + _today(name): value for name, value in tensors.items()}


def _today(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
