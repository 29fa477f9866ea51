"""The union of the weights that several networks take from one supernet, laid out in one file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exports.onnx.parameter_match import ROUNDING, Axes, Floats, Key, Match, Quantised, part_of
from exports.onnx.quantising.weights import LARGEST_WEIGHT, largest_pairs

_ALIGNMENT: Final = 16
"""Tensors begin at multiples of this number of bytes, so that an engine can use a mapped file without copies."""

_LARGEST_PAIR: Final = 128
"""255 * 128 is the largest sum of two products of an activation and a weight that fits into 16 bits."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Shared:
    """The bounding part of a parameter that all networks need, with the factors of the largest network.

    Attributes:
        kept: The indices of the part in the supernet's parameter.
        values: The part in float32, in the layout of the parameter.
        quantised: The part as integers if it is stored so.
        half: Whether it is stored in float16.
        transposed: Whether the file holds it with its two axes exchanged.
    """

    kept: Axes
    values: Floats
    quantised: Quantised | None
    half: bool
    transposed: bool

    def positions(self, axes: Axes) -> Axes:
        """Where indices of the supernet's parameter are in this part."""
        return tuple(np.searchsorted(kept, wanted) for kept, wanted in zip(self.kept, axes, strict=True))

    @property
    def stored(self) -> NDArray[Any]:
        """The part in the layout of the file."""
        values: NDArray[Any] = self.quantised.values if self.quantised else self.values
        values = values.astype(np.float16) if self.half else values
        return values.T if self.transposed else values


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
            groups.setdefault(match.key, []).append(match)
    order = {name: number for number, name in enumerate(full)}
    keys = sorted(groups, key=lambda key: (order[key[0]], key[1:]))
    return {key: _united(full[key[0]], groups[key]) for key in keys}


def without_flips(tiers: Mapping[str, dict[str, Match]]) -> dict[str, dict[str, Match]]:
    """The matches of each network without quantised ones that would need a negative scale.

    That happens if fine-tuning changed the sign of a normalisation's weight. Engines are not required to accept it.

    Args:
        tiers: The matches by the names of their constants, of each network, the largest first.
    """
    signs: dict[Key, dict[int, float]] = {}
    kept: dict[str, dict[str, Match]] = {}
    for name, matches in tiers.items():
        kept[name] = {}
        for constant, match in matches.items():
            found = dict(zip(match.axes[0].tolist(), np.sign(match.factor).tolist(), strict=True))
            known = signs.setdefault(match.key, {})
            if match.quantised is None or all(known.get(channel, sign) == sign for channel, sign in found.items()):
                kept[name][constant] = match
                signs[match.key] = found | known
    return kept


def _united(parameter: Floats, matches: Sequence[Match]) -> Shared:
    first = matches[0]
    kept = tuple(reduce(np.union1d, of_axis) for of_axis in zip(*(match.axes for match in matches), strict=True))
    factor = np.ones(len(kept[0]))
    for match in reversed(matches):  # the first has the last word
        factor[np.searchsorted(kept[0], match.axes[0])] = match.factor
    raw = part_of(parameter, kept).astype(np.float64)
    values = (raw * factor.reshape(-1, *[1] * (raw.ndim - 1))).astype(np.float32)
    shared = Shared(kept=kept, values=values, quantised=None, half=first.half, transposed=first.transposed)
    values[np.ix_(*shared.positions(first.axes))] = first.values
    return replace(shared, quantised=_quantised(shared, matches))


def _quantised(shared: Shared, matches: Sequence[Match]) -> Quantised | None:
    """The shared values as integers; a channel that the first network has completely is taken from its file.

    If the integers of its file are safe on processors that add two products in 16 bits, so are those of all networks:
    a part of a weight can have other neighbours than the whole (`exports.onnx.quantising.weights.safe_scales`).
    """
    first = matches[0]
    if first.quantised is None:
        return None
    largest = np.abs(shared.values).reshape(len(shared.values), -1).max(axis=1, initial=0)
    needed = largest.astype(np.float64) / LARGEST_WEIGHT
    if largest_pairs(first.quantised.values.astype(np.int32), 0).max() <= _LARGEST_PAIR:
        for match in matches:
            places = shared.positions(match.axes)
            pairs = largest_pairs(part_of(shared.values, places), 0) / LARGEST_WEIGHT  # rounding adds up to 1 to a sum
            needed[places[0]] = np.maximum(needed[places[0]], pairs)
    scale = np.where(needed > 0, needed, 1).astype(np.float32)
    values = np.rint(shared.values / scale.reshape(-1, *[1] * (shared.values.ndim - 1))).astype(np.int8)
    if all(len(ours) == len(kept) for ours, kept in zip(first.axes[1:], shared.kept[1:], strict=True)):
        rows = shared.positions(first.axes)[0]
        enough = first.quantised.scale >= needed[rows] * (1 - ROUNDING)
        scale[rows[enough]], values[rows[enough]] = first.quantised.scale[enough], first.quantised.values[enough]
    return Quantised(values=values, scale=scale)


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
