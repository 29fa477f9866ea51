"""The union of the weights that several networks take from one supernet, laid out in one file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exports.onnx.parameter_match import Axes, Floats, Match, part_of

_ALIGNMENT: Final = 16
"""Tensors begin at multiples of this number of bytes, so that an engine can use a mapped file without copies."""

Key = tuple[str, bool]
"""A parameter, and whether the files hold it with its axes exchanged."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Shared:
    """The bounding part of a parameter that all networks need, with the factors of the largest network.

    Attributes:
        kept: The indices of the part in the supernet's parameter.
        values: The part, in the layout of the parameter.
        transposed: Whether the file holds it with its two axes exchanged.
    """

    kept: Axes
    values: NDArray[Any]
    transposed: bool

    def positions(self, axes: Axes) -> Axes:
        """Where indices of the supernet's parameter are in this part."""
        return tuple(np.searchsorted(kept, wanted) for kept, wanted in zip(self.kept, axes, strict=True))

    @property
    def stored(self) -> NDArray[Any]:
        """The part in the layout of the file."""
        return self.values.T if self.transposed else self.values


def unite(full: dict[str, Floats], tiers: Sequence[Iterable[Match]]) -> dict[Key, Shared]:
    """The bounding part of every parameter that a match needs.

    Args:
        full: The supernet's parameters, by name.
        tiers: The matches of each network. The first network that has a parameter finds its values there bit for bit,
            so it needs no factors; it should be the largest.
    """
    groups: dict[Key, list[Match]] = {}
    for matches in tiers:
        for match in matches:
            groups.setdefault((match.parameter, match.transposed), []).append(match)
    order = {name: number for number, name in enumerate(full)}
    keys = sorted(groups, key=lambda key: (order[key[0]], key[1]))
    return {key: _united(full[key[0]], groups[key]) for key in keys}


def _united(parameter: Floats, matches: Sequence[Match]) -> Shared:
    kept = tuple(reduce(np.union1d, of_axis) for of_axis in zip(*(match.axes for match in matches), strict=True))
    factor = np.ones(len(kept[0]))
    for match in reversed(matches):  # the first has the last word
        factor[np.searchsorted(kept[0], match.axes[0])] = match.factor
    raw = part_of(parameter, kept).astype(np.float64)
    values = (raw * factor.reshape(-1, *[1] * (raw.ndim - 1))).astype(np.float32)
    first = Shared(kept=kept, values=values, transposed=matches[0].transposed)
    values[np.ix_(*first.positions(matches[0].axes))] = matches[0].values
    return first


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Layout:
    """The bytes of a shared file, and where each tensor begins."""

    data: bytes
    offsets: dict[Key, int]


def lay_out(shared: dict[Key, Shared]) -> Layout:
    """Put the tensors one after the other."""
    data, offsets = bytearray(), {}
    for key, part in shared.items():
        data += bytes(-len(data) % _ALIGNMENT)
        offsets[key] = len(data)
        data += np.ascontiguousarray(part.stored).tobytes()
    return Layout(data=bytes(data), offsets=offsets)
