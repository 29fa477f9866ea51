"""Names in model files: what an operator is, its number, and for a value or constant the operator it belongs to."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

from device_profiles.workload.file_size import NAME_BYTES, OUTPUT_NAME
from exports.onnx.graphs import all_graphs

_DIGITS: Final = NAME_BYTES - 1
_VALUE: Final = "v"
_ROLES: Final[dict[str, str]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "LayerNormalization"), "xwb"),
    "MatMul": "ww",
    **dict.fromkeys(("Mul", "Div"), "ss"),
    **dict.fromkeys(("Add", "Sub"), "bb"),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), "qsz"),
}
"""The letters of an operator's constants by input: weight, bias, scale, quantised values, zero point."""


def rename(graph: Any) -> None:
    """Give all nodes, values and constants names that depend on the graph alone.

    A node is named after its operator and a number, `Conv_0003`. Its first output is the value `v0003`; its constants
    are `w0003` (weight), `b0003` (bias), `s0003` (scale), `q0003` (quantised values), `z0003` (zero point), and a
    letter by position in other operators. A node that has such a name keeps it, so a layer has one name in the files of
    all precisions; further nodes are numbered from the highest number on.

    The exporter's own names count objects of the process, so they may differ from run to run. Names of values and
    constants have one length, which makes the size of a layer independent of its position;
    `device_profiles.workload.file_size` relies on this.
    """
    nodes = [node for part in all_graphs(graph) for node in part.node]
    numbers = _numbers(nodes)
    names = {graph.output[0].name: OUTPUT_NAME, "": ""} | {value.name: value.name for value in graph.input}
    constants = dict.fromkeys(tensor.name for part in all_graphs(graph) for tensor in part.initializer)
    highest = max(numbers, default=-1) + 1
    fresh = _Names(set(names.values()), highest)
    for node, number in zip(nodes, numbers, strict=True):
        node.name = f"{node.op_type}_{number:04d}"
        for position, name in enumerate(node.input):
            if name in constants and name not in names:
                names[name] = fresh.name(_role(node.op_type, position), number)
        for name in node.output:
            if name not in names:
                names[name] = fresh.name(_VALUE, number)
    for name in (*constants, *(value.name for part in all_graphs(graph) for value in part.output)):
        if name not in names:  # an output that no operator of the graph computes
            names[name] = fresh.name(_VALUE, highest)
    for part in all_graphs(graph):
        _apply(part, names)
    graph.name = "model"


class _Names:
    """Names of `NAME_BYTES` characters that were not used before."""

    def __init__(self, taken: set[str], highest: int) -> None:
        self._taken = taken
        self._highest = highest

    def name(self, letter: str, number: int) -> str:
        """A letter and a number: these, if they are free, else another letter, else a higher number."""
        found = next(name for name in self._candidates(letter, number) if name not in self._taken)
        self._taken.add(found)
        return found

    def _candidates(self, letter: str, number: int) -> Iterator[str]:
        yield from (f"{other}{number:0{_DIGITS}d}" for other in (letter, *string.ascii_letters))
        yield from (f"{letter}{higher:0{_DIGITS}d}" for higher in count(self._highest))


def _role(op_type: str, position: int) -> str:
    letters = _ROLES.get(op_type, string.ascii_lowercase)
    return letters[min(position, len(letters) - 1)]


def _numbers(nodes: list[Any]) -> list[int]:
    """The number of each node: that in its name if it has one of its own, else the next one."""
    kept: dict[int, int] = {}
    for index, node in enumerate(nodes):
        found = re.fullmatch(rf"{re.escape(node.op_type)}_(\d{{4}})", node.name)
        if found is not None:
            kept.setdefault(int(found[1]), index)
    own = {index: number for number, index in kept.items()}
    following = count(max(kept, default=-1) + 1)
    return [own[index] if index in own else next(following) for index in range(len(nodes))]


def _apply(graph: Any, names: dict[str, str]) -> None:
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    for value in graph.output:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
