"""Hard sigmoids and hard swishes that a network writes out, which a file has as one operator. Imports no torch.

The patterns are those of `exports.onnx.cleaning.activations`: `clip(x * s + t, 0, u) * v` with `u * v = 1` is a hard
sigmoid, and `x` times one with slope 1/6 and offset 1/2 is a hard swish, the division before or after the product.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from device_profiles.workload.file_size import attribute_bytes

_ALPHA, _BETA = 1 / 6, 0.5
"""The hard sigmoid in a hard swish, by the ONNX specification."""
_CLOSE: Final = 1e-6
"""Relative difference of two numbers that count as equal, as in the clean-up of files."""
_STARTS: Final = frozenset({"Clip", "Mul", "Div"})
"""Operators with which a pattern can end."""


class ScalarNode(Protocol):
    """A node of a file: what a pattern consists of."""

    op_type: str
    reads: tuple[int, ...]
    writes: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """A written-out activation.

    Attributes:
        last: The node that the single operator replaces.
        inner: The values between its input and its output, whose nodes are gone.
        op_type: The operator.
        source: The value that it reads.
        attributes: Bytes of its attributes.
    """

    last: ScalarNode
    inner: frozenset[int]
    op_type: str
    source: int
    attributes: int


def find_activations(nodes: Sequence[ScalarNode], uses: Mapping[int, int]) -> list[Fused]:
    """Return the written-out activations.

    Args:
        nodes: The nodes in order. `values` holds the numbers that a node reads besides its values: the factor of Mul,
            the divisor of Div, the summand of Add, the limits of Clip.
        uses: How often each value is read.
    """
    graph = _Graph({node.writes: node for node in nodes}, uses)
    found: list[Fused] = []
    for node in nodes:
        if node.op_type in _STARTS:
            fused = graph.product(node) or graph.divided_product(node) or graph.sigmoid(node)
            if fused is not None:
                found.append(fused)
    gone = {value for fused in found for value in fused.inner}
    return [fused for fused in found if fused.last.writes not in gone]


@dataclass(frozen=True, slots=True)
class _Clipped:
    """`clip(source * scale + shift, 0, highest)`, and the values that lead to it."""

    source: int
    scale: float
    shift: float
    highest: float
    inner: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Graph:
    producers: Mapping[int, ScalarNode]
    uses: Mapping[int, int]

    def sigmoid(self, node: ScalarNode) -> Fused | None:
        """The hard sigmoid that `node` ends."""
        if node.op_type == "Clip":
            clipped, scale = self._clip(node), 1.0
        else:
            factor = _factor(node)
            inner = self._inner(node.reads[0], "Clip") if factor is not None else None
            clipped, scale = (self._clip(inner) if inner is not None else None), factor or 0.0
        if clipped is None or not _close(clipped.highest * scale, 1):
            return None
        alpha, beta = clipped.scale * scale, clipped.shift * scale
        size = attribute_bytes("alpha", alpha) + attribute_bytes("beta", beta)
        return Fused(
            last=node, inner=clipped.inner - {node.writes}, op_type="HardSigmoid", source=clipped.source,
            attributes=size,
        )  # fmt: skip

    def product(self, node: ScalarNode) -> Fused | None:
        """The hard swish that `node` ends, if it is `x` times a hard sigmoid of `x`."""
        if node.op_type != "Mul" or len(node.reads) != 2:
            return None
        for source, gate in (node.reads, node.reads[::-1]):
            inner = self._inner(gate, "Clip", "Mul", "Div", "HardSigmoid")
            if inner is None:
                continue
            if inner.op_type == "HardSigmoid" and inner.reads[0] == source:
                return _swish(node, source, frozenset({gate}))
            found = self.sigmoid(inner)
            if found is not None and found.source == source and self._is_standard(inner):
                return _swish(node, source, found.inner | {gate})
        return None

    def divided_product(self, node: ScalarNode) -> Fused | None:
        """The hard swish that `node` ends, if the product is formed before the last division."""
        factor = _factor(node)
        product = self._inner(node.reads[0], "Mul") if factor is not None else None
        if product is None or factor is None or len(product.reads) != 2:
            return None
        for source, gate in (product.reads, product.reads[::-1]):
            inner = self._inner(gate, "Clip")
            clipped = self._clip(inner) if inner is not None else None
            if clipped is not None and clipped.source == source and _is_swish(clipped, factor):
                return _swish(node, source, clipped.inner | {product.writes})
        return None

    def _is_standard(self, node: ScalarNode) -> bool:
        scale = 1.0 if node.op_type == "Clip" else _factor(node) or 0.0
        clipped = self._clip(node if node.op_type == "Clip" else self.producers[node.reads[0]])
        return clipped is not None and _is_swish(clipped, scale)

    def _clip(self, node: ScalarNode) -> _Clipped | None:
        if len(node.values) != 2 or node.values[0] != 0 or node.values[1] <= 0:
            return None
        total = self._inner(node.reads[0], "Add")
        if total is None or len(total.values) != 1:
            return None
        inner, source, scale = {node.writes, total.writes}, total.reads[0], 1.0
        product = self._inner(source, "Mul", "Div")
        factor = _factor(product) if product is not None else None
        if product is not None and factor is not None:
            inner.add(product.writes)
            source, scale = product.reads[0], factor
        return _Clipped(source, scale, total.values[0], node.values[1], frozenset(inner))

    def _inner(self, value: int, *kinds: str) -> ScalarNode | None:
        node = self.producers.get(value)
        return node if node is not None and node.op_type in kinds and self.uses[value] == 1 else None


def _factor(node: ScalarNode) -> float | None:
    """The number that a Mul or Div node multiplies its only value by."""
    if len(node.reads) != 1 or len(node.values) != 1 or not node.values[0]:
        return None
    return {"Mul": node.values[0], "Div": 1 / node.values[0]}.get(node.op_type)


def _is_swish(clipped: _Clipped, scale: float) -> bool:
    return (
        _close(clipped.highest * scale, 1)
        and _close(clipped.scale * scale, _ALPHA)
        and _close(clipped.shift * scale, _BETA)
    )


def _swish(node: ScalarNode, source: int, inner: frozenset[int]) -> Fused:
    return Fused(last=node, inner=inner, op_type="HardSwish", source=source, attributes=0)


def _close(value: float, wanted: float) -> bool:
    return math.isclose(value, wanted, rel_tol=_CLOSE)
