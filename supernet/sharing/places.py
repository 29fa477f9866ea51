"""The places where a network holds its layers and parameters.

They are found faster than by `named_modules` and `named_parameters`.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class Place(NamedTuple):
    """Where a network holds a parameter.

    Attributes:
        name: Name of the parameter, for example `head.conv.weight`.
        first: Name of the parameter in `named_parameters()`, which differs from `name` if a tied parameter has several.
        layer: The layer that holds the parameter.
        key: Name of the parameter in its layer.
    """

    name: str
    first: str
    layer: nn.Module
    key: str

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that is in this place now."""
        return self.layer._parameters[self.key]  # type: ignore[return-value]


def layers_of(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every layer under each of its names, `module` itself first, in the order of `named_modules()`."""
    found: list[tuple[str, nn.Module]] = []
    _collect(module, "", found)
    return found


def places_of(module: nn.Module) -> list[Place]:
    """Every parameter under each of its names, in the order of `named_parameters()`."""
    first: dict[int, str] = {}
    places = []
    for prefix, layer in layers_of(module):
        for key, parameter in layer._parameters.items():
            if parameter is not None:
                name = f"{prefix}.{key}" if prefix else key
                places.append(Place(name, first.setdefault(id(parameter), name), layer, key))
    return places


def _collect(module: nn.Module, name: str, found: list[tuple[str, nn.Module]]) -> None:
    found.append((name, module))
    for key, child in module._modules.items():
        if child is not None:
            _collect(child, f"{name}.{key}" if name else key, found)
