"""Hard sigmoids and hard swishes that a network writes out as sums, clips and products."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

_ALPHA, _BETA = 1 / 6, 0.5
"""The hard sigmoid in a hard swish, by the ONNX specification."""
_CLOSE: Final = 1e-6
"""Relative difference of two constants that count as equal: some roundings of float32."""


def fuse_activations(graph: Any) -> bool:
    """Replace written-out activations by single operators. Returns whether there was one.

    `HardSigmoid` replaces `clip(x * s + t, 0, u) * v` with `u * v = 1`, where `* s` and `* v` may be divisions or
    absent, for example `relu6(x + 3) / 6`. `HardSwish` replaces `x` times the hard sigmoid with slope 1/6 and offset
    1/2, the division before or after the product, for example `x * relu6(x + 3) / 6`. Values that something else reads
    are left as they are.
    """
    changed, values = False, _Values.of(graph)
    for rewrite in (_hard_sigmoid, _divided_hard_swish, _hard_swish):
        for node in graph.node:
            found = rewrite(values, node) if node.op_type in ("Clip", "Mul", "Div") else None
            if found is not None:
                node.CopyFrom(found)
                changed, values = True, _Values.of(graph)
    return changed


@dataclass(frozen=True, slots=True)
class _Values:
    """Which node computes each value, how often each is read, and the constants that are single numbers."""

    producers: dict[str, Any]
    reads: Counter[str]
    numbers: dict[str, float]

    @classmethod
    def of(cls, graph: Any) -> _Values:
        import onnx

        return cls(
            producers={name: node for node in graph.node for name in node.output},
            reads=Counter([*(v.name for v in graph.output), *(n for node in graph.node for n in node.input)]),
            numbers={
                tensor.name: float(onnx.numpy_helper.to_array(tensor).item())
                for tensor in graph.initializer
                if math.prod(tensor.dims) == 1
            },
        )

    def inner(self, name: str, *kinds: str) -> Any | None:
        """The node of one of these kinds that computes `name`, if nothing but one node reads it."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type in kinds and self.reads[name] == 1 else None

    def scaled(self, node: Any) -> tuple[str, float] | None:
        """`(x, s)` if a Mul or Div node computes `x * s`."""
        if node.op_type == "Div":
            divisor = self.numbers.get(node.input[1])
            return (node.input[0], 1 / divisor) if divisor else None
        return self.with_number(node) if node.op_type == "Mul" else None

    def with_number(self, node: Any) -> tuple[str, float] | None:
        """`(x, c)` if a node with two inputs joins a value and a number, in either order."""
        for value, number in (node.input, node.input[::-1]):
            if number in self.numbers:
                return value, self.numbers[number]
        return None

    def clipped(self, name: str) -> tuple[str, float, float, float] | None:
        """`(x, s, t, u)` if the value is `clip(x * s + t, 0, u)`, computed for one reader."""
        clip = self.inner(name, "Clip")
        if clip is None or len(clip.input) < 3 or self.numbers.get(clip.input[1]) != 0:
            return None
        total, highest = self.inner(clip.input[0], "Add"), self.numbers.get(clip.input[2])
        shifted = self.with_number(total) if total is not None else None
        if shifted is None or not highest:
            return None
        product = self.inner(shifted[0], "Mul", "Div")
        scaled = self.scaled(product) if product is not None else None
        source, scale = scaled or (shifted[0], 1.0)
        return source, scale, shifted[1], highest


def _hard_sigmoid(values: _Values, node: Any) -> Any | None:
    outer = (node.output[0], 1.0) if node.op_type == "Clip" else values.scaled(node)
    if outer is None:
        return None
    found = values.clipped(outer[0])
    if found is None:
        return None
    source, scale, shift, highest = found
    if not math.isclose(highest * outer[1], 1, rel_tol=_CLOSE):
        return None
    return _operator("HardSigmoid", source, node, alpha=scale * outer[1], beta=shift * outer[1])


def _hard_swish(values: _Values, node: Any) -> Any | None:
    if node.op_type != "Mul":
        return None
    for source, gate in (node.input, node.input[::-1]):
        sigmoid = values.inner(gate, "HardSigmoid")
        if sigmoid is not None and sigmoid.input[0] == source and _is_standard(sigmoid):
            return _operator("HardSwish", source, node)
    return None


def _divided_hard_swish(values: _Values, node: Any) -> Any | None:
    """`x * clip(x * s + t, 0, u) * v`: the product is formed before the last division."""
    outer = values.scaled(node)
    product = values.inner(outer[0], "Mul") if outer is not None else None
    if outer is None or product is None:
        return None
    for source, gate in (product.input, product.input[::-1]):
        found = values.clipped(gate)
        if found is not None and found[0] == source and _close(found[3] * outer[1], 1):
            slope, offset = found[1] * outer[1], found[2] * outer[1]
            return _operator("HardSwish", source, node) if _close(slope, _ALPHA) and _close(offset, _BETA) else None
    return None


def _is_standard(sigmoid: Any) -> bool:
    given = {attribute.name: attribute.f for attribute in sigmoid.attribute}
    return _close(given.get("alpha", 0.2), _ALPHA) and _close(given.get("beta", 0.5), _BETA)  # ONNX's defaults


def _close(value: float, wanted: float) -> bool:
    return math.isclose(value, wanted, rel_tol=_CLOSE)


def _operator(kind: str, source: str, node: Any, **attributes: float) -> Any:
    import onnx

    made = onnx.helper.make_node(kind, [source], list(node.output))
    made.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items())
    return made
