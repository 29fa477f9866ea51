"""Batch normalisation folded into the convolution before it, for inference."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils.hooks import RemovableHandle

_TOLERANCE = 1e-3
"""Largest difference, relative to the largest output, that counts as float32 rounding; a wrong fold differs by more."""
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def folded(module: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """A faster network that computes the same as `module`, and the output of `module` for `x`.

    The network is a copy of `module` whose batch normalisations are folded into the convolutions before them. The pairs
    are found while `x` passes. The network is `module` itself if there is no pair, if it cannot be copied, or if the
    copy's output for `x` differs by more than rounding, for example because a convolution's output is also used
    elsewhere.

    Args:
        module: A module in evaluation mode that returns one tensor. It is not changed.
        x: A batch of inputs, (batch, *shape).
    """
    return folded_pairs(module, x)[:2]


def folded_pairs(module: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor, dict[str, str]]:
    """As `folded`, and the name of each normalisation that was folded -> the name of its convolution."""
    with _Watch(module) as watch:
        output: Tensor = module(x)
    if not watch.pairs:
        return module, output, {}
    try:
        network = copy.deepcopy(module)
    except (RuntimeError, TypeError, AttributeError):
        return module, output, {}
    for norm, conv in watch.pairs.items():
        _fold(network, norm, conv)
    error = (network(x) - output).abs().max()
    fits = error <= _TOLERANCE * output.abs().max()
    return (network, output, watch.pairs) if fits else (module, output, {})


class _Watch:
    """While it is entered, records which normalisations directly follow a convolution.

    Attributes:
        pairs: Name of the normalisation -> name of the convolution. Both run only once.
    """

    def __init__(self, module: nn.Module) -> None:
        self.pairs: dict[str, str] = {}
        self._module = module
        self._handles: list[RemovableHandle] = []
        self._used: set[str] = set()
        self._last: tuple[Any, str] = (None, "")

    def __enter__(self) -> _Watch:
        for name, layer in self._module.named_modules():
            if type(layer) in _CONVOLUTIONS:
                self._handles.append(layer.register_forward_hook(partial(self._convolved, name)))
            elif type(layer) in _NORMS and layer.running_mean is not None:
                self._handles.append(layer.register_forward_pre_hook(partial(self._normalises, name)))
        return self

    def __exit__(self, *_: object) -> None:
        self._last = (None, "")
        for handle in self._handles:
            handle.remove()

    def _convolved(self, name: str, _: nn.Module, __: Any, output: Tensor) -> None:
        self._last = output, name

    def _normalises(self, name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        output, conv = self._last
        again = bool(self._used & {name, conv})
        self._used |= {name, conv}
        if inputs[0] is output and not again:
            self.pairs[name] = conv
        elif again:
            self.pairs = {n: c for n, c in self.pairs.items() if n != name and c != conv}


def _fold(network: nn.Module, norm_name: str, conv_name: str) -> None:
    conv: Any = network.get_submodule(conv_name)
    norm: Any = network.get_submodule(norm_name)
    statistics = norm.running_mean, norm.running_var, norm.eps
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics, norm.weight, norm.bias)
    parent, _, key = norm_name.rpartition(".")
    setattr(network.get_submodule(parent), key, nn.Identity().eval())
