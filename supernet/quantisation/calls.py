"""The calls of PyTorch functions that a network makes, and the places among them where its int8 file rounds.

A network is any module that PyTorch builds: a `TorchFunctionMode` sees its calls, functional ones as well as those of
layers. They are numbered. `find_places` follows one run, and later runs act on the places that it found.

Where a file rounds: the inputs and outputs of convolutions and matrix products are 8-bit integers. If a ReLU or a clip
is all that reads an output, it is part of the product, and its own output is rounded instead. All other operators, such
as sums, hard-swish and the gates of squeeze-and-excitation, compute in float32, but what they read is rounded if a
product reads or writes it. If the network ends with a matrix product, its output is not rounded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from factory_base.errors import SpaceError
from supernet.quantisation.products import ACTIVATIONS, HIDING, PRODUCTS, UNBIASED

Place = tuple[int, str]
"""A value: the number of the call, -1 for the network's input, and a name within the call."""

INPUT: Final[Place] = (-1, "output")
"""The network's input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where an int8 file of a network rounds.

    Attributes:
        calls: The names of the functions that the network calls, in order.
        values: The activations that are rounded.
        weights: The constant operands of products; each is rounded with a scale per output channel.
        own: Those of `values` that share no memory with an argument of their call, so that they can be overwritten.
    """

    calls: tuple[str, ...]
    values: frozenset[Place]
    weights: frozenset[Place]
    own: frozenset[Place]


class Calls(TorchFunctionMode, ABC):
    """While it is entered, PyTorch functions are numbered from 0 and computed by `call`."""

    def __init__(self) -> None:
        super().__init__()
        self.number = -1

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See `torch.overrides`. Functions that are called within this method are not numbered."""
        self.number += 1
        return self.call(function, args, kwargs or {})

    @abstractmethod
    def call(self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """The result of `function` for its arguments."""


def find_places(module: nn.Module, x: Tensor) -> Places:
    """Where the int8 file of `module` rounds.

    Args:
        module: A network in evaluation mode, (batch, *shape) -> (batch, classes). Batch normalisations that are not
            folded compute in float32.
        x: A few inputs, (batch, *shape).

    Raises:
        SpaceError: The module is in training mode, it contains `nn.MultiheadAttention`, whose products cannot be seen,
            or its output does not follow from its input by PyTorch functions, as in a TorchScript module.
    """
    if any(part.training for part in module.modules()):
        raise SpaceError("a module in training mode cannot be quantised; call .eval() after BN recalibration")
    with torch.inference_mode(False), torch.no_grad():
        finder = _Finder(x := x.clone())
        with finder:
            output = module(x)
    return finder.places(output)


class _Finder(Calls):
    """Follows the values that depend on the network's input, and implements `Operands`."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self._names: list[str] = []
        self._kept: list[Tensor] = []  # every value, so that no two have the same id
        self._known: dict[int, Place] = {}
        self._readers: dict[Place, set[int]] = {}
        self._values: set[Place] = set()
        self._weights: set[Place] = set()
        self._own: set[Place] = set()
        self._products: dict[Place, bool] = {}  # and whether it stays float32 as the last
        self._activations: dict[int, Place] = {}  # what each reads
        self._note(x, INPUT)

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Compute a call and note what it reads and returns."""
        if function in HIDING:
            raise SpaceError(
                f"{function.__name__} (nn.MultiheadAttention) hides its matrix products, so it cannot be quantised; "
                "write it with linear layers and scaled_dot_product_attention"
            )
        self._names.append(function.__name__)
        tensors = list(_tensors((args, tuple(named.values()))))
        versions = {id(tensor): tensor._version for tensor in tensors}
        result = computed(self, function, args, named)
        outputs = [
            (name, tensor)
            for name, tensor in named_outputs(result)
            if versions.get(id(tensor)) != tensor._version  # returned as it was, for example by `contiguous`
        ]
        sources = [self._known[id(tensor)] for tensor in tensors if id(tensor) in self._known]
        if sources and outputs:
            self._follow(function, tensors, sources, outputs)
        return result

    def _follow(
        self,
        function: Callable[..., Any],
        tensors: list[Tensor],
        sources: list[Place],
        outputs: list[tuple[str, Tensor]],
    ) -> None:
        for source in sources:
            self._readers.setdefault(source, set()).add(self.number)
        memory = {_memory(tensor) for tensor in tensors}
        for name, tensor in outputs:
            if _memory(tensor) not in memory:
                self._own.add((self.number, name))
            self._note(tensor, (self.number, name))
        if function in ACTIVATIONS:
            self._activations[self.number] = sources[0]
        if function in PRODUCTS and (self.number, UNBIASED) not in self._values:
            self._products[self.number, "output"] = PRODUCTS[function].ends_in_float

    def _note(self, tensor: Tensor, place: Place) -> None:
        self._kept.append(tensor)
        self._known[id(tensor)] = place

    def read(self, x: Tensor) -> Tensor:
        """See `Operands`."""
        if id(x) in self._known:
            self._values.add(self._known[id(x)])
        return x

    def weight(self, name: str, x: Tensor, axis: int) -> Tensor:  # noqa: ARG002 - the signature of `Operands`
        """See `Operands`."""
        if id(x) not in self._known:
            self._weights.add((self.number, name))
        return x

    def within(self, name: str, x: Tensor) -> Tensor:
        """See `Operands`."""
        self._values.add((self.number, name))
        return x

    def places(self, output: Any) -> Places:
        """What was found in a run that returned `output`. Raises `SpaceError`."""
        last = self._known.get(id(output))
        if last is None:
            raise SpaceError(
                "the network cannot be quantised: its output does not follow from its input by PyTorch functions that "
                "can be seen; NumPy and TorchScript hide them"
            )
        values = set(self._values)
        for product, ends_in_float in self._products.items():
            rounded = self._after_activations(product, last)
            if rounded != last or not ends_in_float:
                values.add(rounded)
        for number, source in self._activations.items():  # an activation that others cannot see past reads integers
            if source in values:
                values.add((number, "output"))
        own = frozenset(self._own & values)
        return Places(calls=tuple(self._names), values=frozenset(values), weights=frozenset(self._weights), own=own)

    def _after_activations(self, place: Place, last: Place) -> Place:
        """The output of the activations that alone read `place`, one after the other; else `place`."""
        while place != last and len(readers := self._readers.get(place, set())) == 1:
            (reader,) = readers
            if reader not in self._activations:
                break
            place = reader, "output"
        return place


def computed(calls: Any, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """The result of a function; if it is a product, `calls` (see `Operands`) is asked for its operands."""
    product = PRODUCTS.get(function)
    return product.compute(calls, function, *args, **named) if product else function(*args, **named)


def named_outputs(result: Any) -> list[tuple[str, Tensor]]:
    """The tensors that a function returned, with their names within the call."""
    if isinstance(result, Tensor):
        return [("output", result)]
    parts = result if isinstance(result, tuple | list) else ()
    return [(f"output {index}", part) for index, part in enumerate(parts) if isinstance(part, Tensor)]


def _tensors(arguments: Any) -> Iterator[Tensor]:
    if isinstance(arguments, Tensor):
        yield arguments
    elif isinstance(arguments, tuple | list):
        for argument in arguments:
            yield from _tensors(argument)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
