"""Fake quantisation: a network computed in float32 with the roundings of its int8 file.

The file is the one that `exports` writes: see `calls` for where it rounds and `arithmetic` for how. What remains of a
difference: the file rounds biases to 32-bit integers, and its kernels sum in another order, which moves a value that
lies between two integers to the other one. It comes as close only with the ranges of the file, from the same inputs
(benchmarks/README.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from factory_base.errors import DataError, SpaceError
from supernet.data.examples import Inputs
from supernet.evaluation.evaluation import parts
from supernet.evaluation.folding import folded
from supernet.quantisation.arithmetic import Range, range_of, rounded_activation, rounded_weight
from supernet.quantisation.calls import INPUT, Calls, Place, Places, computed, find_places, named_outputs
from supernet.quantisation.storage import round_table_to_int8

_PROBES = 2
"""Inputs with which the calls of a network are followed: few, but more than one, as a batch always is."""

Act = Callable[[Place, Tensor], Tensor]
"""Called with each activation that an int8 file rounds; returns what the network computes with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Where the int8 file of a network rounds, and the range of each activation.

    Attributes:
        places: Where it rounds.
        limits: The range of each of `places.values`.
    """

    places: Places
    limits: Mapping[Place, Range]


def calibrate_ranges(module: nn.Module, inputs: Inputs) -> Ranges:
    """The range of each activation of `module` that its int8 file rounds.

    Args:
        module: A network in evaluation mode, with batch normalisation folded (see `folded`).
        inputs: Inputs (n, *shape) made of training examples without augmentation, n >= 1.

    Raises:
        SpaceError: The network cannot be followed (see `find_places`), or its calls depend on its inputs.
        DataError: There are no inputs, or an activation is not finite for one of them.
    """
    if not len(inputs):
        raise DataError("calibration needs at least one training example, got none")
    places = find_places(module, _first(module, inputs))
    limits: dict[Place, Range] = {}

    def observe(place: Place, x: Tensor) -> Tensor:
        limits[place] = range_of(x, limits.get(place))
        return x

    with torch.no_grad():
        for part in parts(module, inputs):
            run(module, part, _Acting(places, observe, rounds_weights=False))
    for (number, _), found in limits.items():
        if not math.isfinite(found.high - found.low):
            name = places.calls[number] if number >= 0 else "the input"
            raise DataError(f"calibration: call {number} ({name}) is NaN or infinite for one of the inputs")
    return Ranges(places=places, limits=limits)


class FakeQuantised(nn.Module):
    """A network that computes, in float32, what the int8 file of `network` computes.

    >>> import torch
    >>> from torch import nn
    >>> from supernet import calibrate_ranges, FakeQuantised
    >>> images = torch.linspace(-1, 1, 8 * 3 * 4 * 4).reshape(8, 3, 4, 4)
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> quantised = FakeQuantised(network, calibrate_ranges(network, images))
    >>> quantised(images).shape
    torch.Size([8, 2])

    Gradients pass through the roundings (see `rounded_activation`), so that a network can be trained for them.

    Attributes:
        network: A network in evaluation mode.
        ranges: Its ranges, from `calibrate_ranges`.
    """

    def __init__(self, network: nn.Module, ranges: Ranges) -> None:
        super().__init__()
        self.network, self.ranges = network, ranges
        self.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        """The output of the network for a batch. Raises `SpaceError` if its calls are not those of the calibration."""
        limits, own = self.ranges.limits, self.ranges.places.own

        def act(place: Place, x: Tensor) -> Tensor:
            return rounded_activation(x, limits[place], in_place=place in own)

        return run(self.network, x, _Acting(self.ranges.places, act, rounds_weights=True))


def fake_quantised(module: nn.Module, inputs: Inputs, ranges: Ranges | None = None) -> FakeQuantised:
    """A copy of `module`, with batch normalisation folded, that computes what its int8 file computes.

    Args:
        module: A recalibrated network in evaluation mode.
        inputs: Training examples as for `calibrate_ranges`; with `ranges`, only the first ones are used.
        ranges: The `ranges` of an earlier result for the same network.

    Raises:
        SpaceError, DataError: As `calibrate_ranges` raises them.
    """
    network = round_table_to_int8(with_folded_norms(module, inputs))
    return FakeQuantised(network, ranges or calibrate_ranges(network, inputs))


@torch.no_grad()
def with_folded_norms(module: nn.Module, inputs: Inputs) -> nn.Module:
    """A copy of `module` with batch normalisation folded (see `folded`), checked on the first of `inputs`."""
    return folded(module, _first(module, inputs))[0]


def _first(module: nn.Module, inputs: Inputs) -> Tensor:
    """The first of `inputs`, on the device of `module`."""
    return next(parts(module, inputs[0:_PROBES]))


def run(module: nn.Module, x: Tensor, acting: _Acting) -> Tensor:
    """The output of `module` for `x`, with `acting` on its calls."""
    x = acting.value(INPUT, x)
    with acting:
        output: Tensor = module(x)
    acting.check_end()
    return output


class _Acting(Calls):
    """Acts on the activations at known places, and rounds weights. Implements `Operands`."""

    def __init__(self, places: Places, act: Act, *, rounds_weights: bool) -> None:
        super().__init__()
        self._places, self._act, self._rounds_weights = places, act, rounds_weights

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Compute a call and act on what it returns."""
        calls = self._places.calls
        if self.number >= len(calls) or calls[self.number] != function.__name__:
            raise self._unlike(function.__name__)
        result = computed(self, function, args, named)
        if isinstance(result, Tensor):
            return self.value((self.number, "output"), result)
        acted = {name: self.value((self.number, name), part) for name, part in named_outputs(result)}
        if not any((self.number, name) in self._places.values for name in acted):
            return result
        return type(result)(acted.get(f"output {index}", part) for index, part in enumerate(result))

    def check_end(self) -> None:
        """Raise `SpaceError` if the network made fewer calls than before."""
        if self.number + 1 != len(self._places.calls):
            raise self._unlike("the end")

    def value(self, place: Place, x: Tensor) -> Tensor:
        """Act on a value if its file rounds it."""
        return self._act(place, x) if place in self._places.values else x

    def read(self, x: Tensor) -> Tensor:
        """See `Operands`; an activation was rounded when it was computed."""
        return x

    def weight(self, name: str, x: Tensor, axis: int) -> Tensor:
        """See `Operands`."""
        is_constant = (self.number, name) in self._places.weights
        return rounded_weight(x, axis) if is_constant and self._rounds_weights else x

    def within(self, name: str, x: Tensor) -> Tensor:
        """See `Operands`."""
        return self.value((self.number, name), x)

    def _unlike(self, name: str) -> SpaceError:
        calls = self._places.calls
        expected = calls[self.number] if 0 <= self.number < len(calls) else "the end"
        return SpaceError(
            f"call {self.number} of the network is {name}, but was {expected} when its calls were followed; "
            "a network whose calls depend on its inputs cannot be quantised"
        )
