"""A subnet's network without weights, from which networks with weights are made many times faster than `build` can."""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from supernet.model_space import ModelSpace
from supernet.sharing.places import layers_of, places_of
from supernet.space import SubnetConfig

_CONSTANTS = frozenset(
    [int, float, complex, bool, str, bytes, type, type(None), torch.dtype, torch.device, torch.memory_format]
)
_REGISTERS = frozenset(["_parameters", "_buffers", "_modules"])
_CONTAINERS = frozenset([dict, OrderedDict, list, set])
_INITIALISERS = frozenset(value for key, value in vars(nn.init).items() if key.endswith("_") and callable(value))
_FILL_NAMES = ("uniform_", "normal_", "random_", "bernoulli_", "exponential_", "cauchy_", "log_normal_", "geometric_")
_FILLS = frozenset(getattr(Tensor, name) for name in _FILL_NAMES)
_DRAW_NAMES = ("rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli")
_DRAWS = frozenset([getattr(torch, name) for name in (*_DRAW_NAMES, "multinomial", "poisson")] + [Tensor.bernoulli])
_RANDOM = _INITIALISERS | _FILLS | _DRAWS


def build_unweighted(model_space: ModelSpace, subnet: SubnetConfig) -> nn.Module:
    """The network of `subnet`, whose parameters may be uninitialised. Its buffers have their values.

    Initial weights would not be used, so their initialisation is skipped if nothing else in the network is random. The
    global random generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]), _Uninitialised() as mode:
        module = model_space.build(subnet)
    if not mode.others_drawn:
        return module
    with torch.random.fork_rng(devices=[]):  # something else is random, and may depend on all draws before it
        return model_space.build(subnet)


class _Uninitialised(TorchFunctionMode):
    """Skips functions that fill parameters, and records whether anything else is drawn at random."""

    def __init__(self) -> None:
        super().__init__()
        self.others_drawn = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _RANDOM:
            target = args[0] if args else (kwargs or {}).get("tensor")
            if func not in _DRAWS and isinstance(target, nn.Parameter):
                return target
            self.others_drawn = True
        return func(*args, **kwargs) if kwargs else func(*args)


@dataclass(frozen=True, slots=True)
class _Template:
    """One module of a network: what its copies share, and what each copy has of its own."""

    kind: type[nn.Module]
    shared: dict[str, Any]
    empty: tuple[tuple[str, type], ...]
    filled: tuple[tuple[str, Any], ...]
    parameters: dict[str, str | None]
    buffers: dict[str, Tensor | None]
    children: dict[str, int | None]


class Blueprint:
    """The network of one subnet: its layers, the values of its buffers on `device`, and no weights."""

    def __init__(self, model_space: ModelSpace, subnet: SubnetConfig, device: torch.device) -> None:
        self._model_space, self._subnet, self._device = model_space, subnet, device
        self._templates = _templates(build_unweighted(model_space, subnet), device)

    def network(self, parameters: Mapping[str, nn.Parameter]) -> nn.Module:
        """A new network, which shares only immutable values with other networks.

        A network that holds more than layers, tensors and plain values is built from scratch.

        Args:
            parameters: One parameter for every name in the network's `named_parameters()`. They become its own.
        """
        if self._templates is not None:
            return _assembled(self._templates, parameters)
        return with_parameters(build_unweighted(self._model_space, self._subnet), parameters, self._device)


def with_parameters(module: nn.Module, parameters: Mapping[str, nn.Parameter], device: torch.device) -> nn.Module:
    """`module` with `parameters`, by name, instead of its own, and its buffers on `device`. Ties are kept."""
    for place in places_of(module):
        place.layer._parameters[place.key] = parameters[place.first]
    for _, layer in layers_of(module):
        for name, buffer in layer._buffers.items():
            if buffer is not None and buffer.device != device:
                layer._buffers[name] = buffer.to(device)
    return module


def _templates(module: nn.Module, device: torch.device) -> list[_Template] | None:
    """The modules of `module`, itself first; None if one holds a value that cannot be copied safely."""
    modules = list({id(layer): layer for _, layer in layers_of(module)}.values())
    places = {id(m): i for i, m in enumerate(modules)}
    names = {id(place.parameter): place.first for place in places_of(module)}
    templates = [_template(m, places, names, device) for m in modules]
    found = [template for template in templates if template is not None]
    return found if len(found) == len(templates) else None


def _template(
    module: nn.Module, places: Mapping[int, int], names: Mapping[int, str], device: torch.device
) -> _Template | None:
    shared: dict[str, Any] = {}
    empty: list[tuple[str, type]] = []
    filled: list[tuple[str, Any]] = []
    for key, value in vars(module).items():
        kind = type(value)
        shared[key] = None
        if kind in _CONTAINERS and not value:
            empty.append((key, kind))
        elif key in _REGISTERS:
            continue
        elif kind in _CONTAINERS and all(_is_constant(v) for v in _contents(value)):
            filled.append((key, value))
        elif kind in _CONSTANTS or _is_constant(value):
            shared[key] = value
        else:
            return None
    if not _is_ordinary(type(module)):
        return None
    return _Template(
        kind=type(module),
        shared=shared,
        empty=tuple(empty),
        filled=tuple(filled),
        parameters={name: None if p is None else names[id(p)] for name, p in module._parameters.items()},
        buffers={name: b if b is None else b.to(device) for name, b in module._buffers.items()},
        children={name: None if m is None else places[id(m)] for name, m in module._modules.items()},
    )


def _is_ordinary(kind: type[nn.Module]) -> bool:
    """Whether the attributes of an instance are its whole state."""
    return (
        kind.__getstate__ is nn.Module.__getstate__
        and kind.__reduce_ex__ is object.__reduce_ex__
        and not hasattr(kind, "__deepcopy__")
        and not any(vars(base).get("__slots__") for base in kind.__mro__)
    )


def _contents(container: Any) -> list[Any]:
    return [*container.keys(), *container.values()] if isinstance(container, dict) else list(container)


def _is_constant(value: Any) -> bool:
    if isinstance(value, types.FunctionType):
        return value.__closure__ is None
    if isinstance(value, types.BuiltinFunctionType):
        return value.__self__ is None or isinstance(value.__self__, types.ModuleType)
    if type(value) in (tuple, frozenset, torch.Size):
        return all(_is_constant(v) for v in value)
    return type(value) in _CONSTANTS


def _assembled(templates: list[_Template], parameters: Mapping[str, nn.Parameter]) -> nn.Module:
    modules = [object.__new__(template.kind) for template in templates]
    for module, template in zip(modules, templates, strict=True):
        state = template.shared.copy()
        for key, kind in template.empty:
            state[key] = kind()
        for key, value in template.filled:
            state[key] = value.copy()
        if template.parameters:
            state["_parameters"] = {name: key and parameters[key] for name, key in template.parameters.items()}
        if template.buffers:
            state["_buffers"] = {name: b if b is None else b.clone() for name, b in template.buffers.items()}
        if template.children:
            state["_modules"] = {name: i if i is None else modules[i] for name, i in template.children.items()}
        object.__setattr__(module, "__dict__", state)  # `nn.Module.__setattr__` is slow
    return modules[0]
