"""Model spaces from the user's own code, named by an import path `package.module:callable`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from factory_base.errors import ConfigError, FactoryError, SpaceError
from factory_base.foreign import one_line, printable
from supernet.chain import Link
from supernet.data.callables import import_callable, importable
from supernet.model_space import ModelSpace
from supernet.sharing.importance import SortGroup
from supernet.sharing.slicing import SliceRule, plan_module
from supernet.space import Option, SearchSpace, SubnetConfig
from supernet.spaces.config import ImportedConfig

_ROUNDING = 1e-4
"""Most difference of two ways to compute the same in float32; other kernels add up in another order."""
_BATCH = 2  # the smallest batch that shows whether a network keeps the batch axis
_CHAIN_BATCH = 8  # enough random images for every unit to meet inputs of both signs


def check_imported_space(config: ImportedConfig, folder: Path) -> None:
    """Check that the callable of `config.space` exists and takes the options; it is not called.

    Raises:
        ConfigError: The module or the callable does not exist, or takes other arguments.
    """
    with importable(folder):
        make = import_callable(config.space, folder, "a model space")
        _check_arguments(make, {"classes": 2, **config.options}, config.space)


def load_imported_space(config: ImportedConfig, classes: int, folder: Path) -> ModelSpace:
    """Call `config.space` as `callable(classes=classes, **options)`, and run its smallest and largest network once.

    Args:
        config: The `model` section.
        classes: Number of classes of the data.
        folder: Folder of the config file; modules in it are importable too.

    Raises:
        ConfigError: The module or the callable does not exist, or takes other arguments.
        SpaceError: The callable fails or does not return a model space, or one of its networks fails or breaks the
            rules of weight sharing.
    """
    with importable(folder):
        make = import_callable(config.space, folder, "a model space")
        arguments = {"classes": classes, **config.options}
        _check_arguments(make, arguments, config.space)
        returned = _call(config.space, "it", lambda: make(**arguments))
        made = ImportedSpace(returned, config.space)
        _check_networks(made, classes, config.space)
        if not hasattr(returned, "links") and not hasattr(returned, "parts"):
            return made
        chain = ImportedChain(made, returned)
        chain.check()
    return chain


class ImportedSpace:
    """A user's model space whose failures become one-line errors. See `ModelSpace` and `SlicedModelSpace`.

    Args:
        made: The object that the user's callable returned.
        name: Its import path, for messages.

    Raises:
        SpaceError: `made` lacks `space`, `build` or `input_shape`, or its `slicing` or `sortable` has the wrong type.
    """

    def __init__(self, made: Any, name: str) -> None:
        for member in ("build", "input_shape"):
            if not callable(getattr(made, member, None)):
                raise SpaceError(
                    f"{name}: returned {type(made).__name__}, which has no method {member!r}; a model space has "
                    "space, build(subnet) and input_shape(subnet)"
                )
        space = _call(name, "its space", lambda: getattr(made, "space", None))
        if not isinstance(space, SearchSpace):
            raise SpaceError(
                f"{name}: {type(made).__name__}.space is {type(space).__name__}, expected a supernet.SearchSpace"
            )
        slicing = _call(name, "its slicing", lambda: getattr(made, "slicing", {}))
        if not isinstance(slicing, Mapping) or not all(callable(getattr(r, "plan", None)) for r in slicing.values()):
            raise SpaceError(
                f"{name}: slicing is {_shown(slicing)}, expected patterns of names -> rules such as supernet.Segments"
            )
        sortable: tuple[Any, ...] = _call(name, "its sortable", lambda: tuple(getattr(made, "sortable", ())))
        if not all(isinstance(group, SortGroup) for group in sortable):
            raise SpaceError(f"{name}: sortable is {_shown(sortable)}, expected objects of class supernet.SortGroup")
        self._made, self._name = made, name
        self._space, self._slicing, self._sortable = space, slicing, sortable

    @property
    def import_path(self) -> str:
        """What the config names, for messages."""
        return self._name

    @property
    def space(self) -> SearchSpace:
        """The named choices."""
        return self._space

    @property
    def slicing(self) -> Mapping[str, SliceRule]:
        """The exceptions to the default plan, if any. See `SlicedModelSpace`."""
        return self._slicing

    @property
    def sortable(self) -> tuple[SortGroup, ...]:
        """The units of the largest network that can change places, if any. See `SortableModelSpace`."""
        return self._sortable

    def build(self, subnet: SubnetConfig) -> nn.Module:
        """The network of `subnet`. Raises `SpaceError` if the user's code fails or does not return an `nn.Module`."""
        module = _call(self._name, f"build of {subnet.to_dict()}", lambda: self._made.build(subnet))
        if not isinstance(module, nn.Module):
            raise SpaceError(f"{self._name}: build returned {type(module).__name__}, expected a torch.nn.Module")
        return module

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """The shape of one input. Raises `SpaceError` if the user's code fails or does not return a shape."""
        shape = _call(self._name, f"input_shape of {subnet.to_dict()}", lambda: self._made.input_shape(subnet))
        is_shape = isinstance(shape, tuple | list) and all(type(size) is int and size > 0 for size in shape)
        if not is_shape or not shape:
            raise SpaceError(f"{self._name}: input_shape returned {_shown(shape)}, expected sizes such as (3, 32, 32)")
        return tuple(shape)


class ImportedChain:
    """A user's model space whose networks are chains of parts. See `ChainModelSpace`; failures as in `ImportedSpace`.

    Args:
        model_space: The same object as a model space.
        made: The object that the user's callable returned.

    Raises:
        SpaceError: `made` lacks `links` or `parts`, or its `links` have the wrong type.
    """

    def __init__(self, model_space: ImportedSpace, made: Any) -> None:
        self._model_space, self._made, self._name = model_space, made, model_space.import_path
        links: tuple[Any, ...] = _call(self._name, "its links", lambda: tuple(getattr(made, "links", ())))
        if not links or not all(isinstance(link, Link) for link in links) or not callable(getattr(made, "parts", None)):
            raise SpaceError(
                f"{self._name}: a chain of parts has both links, objects of class supernet.Link, and parts(network); "
                f"found links {_shown(links)} and parts {_shown(getattr(made, 'parts', None))}; remove both if the "
                "network is not a chain"
            )
        self._links = links

    @property
    def import_path(self) -> str:
        """See `ImportedSpace`."""
        return self._name

    @property
    def space(self) -> SearchSpace:
        """See `ImportedSpace`."""
        return self._model_space.space

    @property
    def slicing(self) -> Mapping[str, SliceRule]:
        """See `ImportedSpace`."""
        return self._model_space.slicing

    @property
    def sortable(self) -> tuple[SortGroup, ...]:
        """See `ImportedSpace`."""
        return self._model_space.sortable

    @property
    def links(self) -> tuple[Link, ...]:
        """All places of the largest network."""
        return self._links

    def build(self, subnet: SubnetConfig) -> nn.Module:
        """See `ImportedSpace`."""
        return self._model_space.build(subnet)

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """See `ImportedSpace`."""
        return self._model_space.input_shape(subnet)

    def parts(self, network: nn.Module) -> Mapping[str, nn.Module]:
        """The parts of a network by link. Raises `SpaceError` if the user's code fails or returns something else."""
        parts: dict[str, Any] = _call(self._name, "its parts", lambda: dict(self._made.parts(network)))
        names = [link.name for link in self._links]
        order = [names.index(name) for name in parts if name in names]
        if (
            len(order) < len(parts)
            or order != sorted(order)
            or not all(isinstance(p, nn.Module) for p in parts.values())
        ):
            raise SpaceError(
                f"{self._name}: parts returned {_shown(parts)}, expected a torch.nn.Module for each link, in the "
                f"order of links: {', '.join(names)[:200]}"
            )
        return parts

    def check(self) -> None:
        """Compare the parts of the smallest and the largest network, one after the other, with the whole network.

        Raises:
            SpaceError: They are not those that the links state, or do not compute the same.
        """
        for subnet in (self.space.smallest, self.space.largest):
            values, shape = subnet.to_dict(), self.input_shape(subnet)
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                # A fixed seed: whether a mistake is found must not depend on what was drawn before.
                torch.manual_seed(0)
                network = self.build(subnet).eval()
                parts = self.parts(network)
                # Numbers of both signs, so that a missing activation function shows.
                inputs = (
                    torch.zeros(_BATCH, *shape, dtype=torch.int64)
                    if len(shape) == 1
                    else torch.randn(_CHAIN_BATCH, *shape)
                )
                chain = nn.Sequential(*(part.eval() for part in parts.values()))
                found = _call(self._name, f"the chain of parts of {values}", partial(chain, inputs))
                expected = network(inputs)
            places = [li.name for li in self._links if _exists(li, values)]
            if list(parts) != places:
                fault = f"are {', '.join(parts)}, but its links state {', '.join(places)}"
            elif not isinstance(found, torch.Tensor) or not _equal(found, expected):
                fault = "applied one after the other, do not compute what the network computes"
            else:
                continue
            raise SpaceError(f"{self._name}: the parts of {values} {fault}; correct links and parts, or remove both")


def _exists(link: Link, values: Mapping[str, Option]) -> bool:
    return not link.depth_choice or values.get(link.depth_choice, 0) >= link.exists_from


def _equal(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=_ROUNDING, atol=_ROUNDING)


def _check_arguments(make: Callable[..., Any], arguments: dict[str, Any], name: str) -> None:
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):
        return  # the callable does not reveal its arguments
    try:
        signature.bind(**arguments)
    except TypeError as error:
        given = ", ".join(arguments)
        raise ConfigError(f"{name}: {error}; it takes {signature} and gets {given}; change model.options") from error


def _shown(value: object) -> str:
    return printable(repr(value), 80)


def _call(name: str, what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except FactoryError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code may fail in any way
        reason = one_line(error) or "no message"
        raise SpaceError(f"{name}: {what} failed with {type(error).__name__}: {reason}") from error


def _check_networks(made: ImportedSpace, classes: int, name: str) -> None:
    """Run the smallest and the largest network on zeros, and plan the slices of the smallest."""
    modules = []
    for subnet in (made.space.smallest, made.space.largest):
        shape = made.input_shape(subnet)
        inputs = torch.zeros(_BATCH, *shape, dtype=torch.int64 if len(shape) == 1 else torch.float32)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            module = made.build(subnet).eval()
            logits = _call(name, f"the network of {subnet.to_dict()}", partial(module, inputs))
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if found != (_BATCH, classes):
            raise SpaceError(
                f"{name}: the network of {subnet.to_dict()} returns {found} for inputs {tuple(inputs.shape)}, expected "
                f"logits {(_BATCH, classes)}, one per class"
            )
        modules.append(module)
    _call(name, "its slicing", lambda: plan_module(modules[1], modules[0], made.slicing))
