"""How many bytes things take in an ONNX file: exact arithmetic on its encoding. Imports neither torch nor onnx.

Format: Protocol Buffers, encoding of messages (a field is a tag, for most kinds a length, and its content; whole
numbers are varints of seven bits a byte), and `onnx.proto`. The layout is that of `exports.onnx.onnx_file`: all names
of values and constants have `NAME_BYTES` characters, so what a layer takes does not depend on where it stands, and

    file = network_bytes(sum over layers of (node_bytes + tensor_bytes of its constants), input shape, output shape)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

NAME_BYTES = 5
"""Of `w0000`, `v0000` and `image`."""

SMALL_ELEMENTS = 1024
"""Constants up to this size are stored once per use, larger ones once per file."""

_NUMBER_BYTES = 5
"""What a node's name has behind its operator: `_0000`."""

INPUT_NAME: Final = "image"
OUTPUT_NAME: Final = "logits"
"""What every model file calls its input and its first output, whatever its engine."""

_INPUT_NAME, _OUTPUT_NAME, _GRAPH_NAME = len(INPUT_NAME), len(OUTPUT_NAME), len("model")
_PRODUCER_NAME = len("model-factory")
_VARINT_LIMITS = np.array([1 << 7 * count for count in range(1, 9)])
"""From each on, a whole number takes one byte more."""

_SCALAR_FIELD = 2
"""A tag and a number below 128."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """Bytes of all nodes and constants, by precision of the file. Those of a chain of networks are sums over it."""

    fp32: int
    int8: int

    def of(self, precision: Literal["fp32", "int8"]) -> int:
        """Those of one precision."""
        return self.fp32 if precision == "fp32" else self.int8


def network_bytes(
    content: NDArray[np.int64], input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Whole files.

    Args:
        content: the sums over all nodes and constants of each network.
        input_shape: of all networks, without the batch.
        output_shape: of all networks, without the batch.
    """
    longer_name = _OUTPUT_NAME - NAME_BYTES  # the last node writes `logits`
    ends = _value(_INPUT_NAME, input_shape) + _value(_OUTPUT_NAME, output_shape)
    graph = content + (longer_name + ends + framed(_GRAPH_NAME))
    lengths = np.searchsorted(_VARINT_LIMITS, graph, side="right") + 1
    return graph + lengths + (1 + _SCALAR_FIELD + framed(_PRODUCER_NAME) + framed(framed(0) + _SCALAR_FIELD))


@cache
def node_bytes(op_type: str, inputs: int, attributes: int = 0, outputs: int = 1) -> int:
    """A node of that many inputs and outputs, its attributes taking `attributes` bytes, see `attribute_bytes`."""
    names = (inputs + outputs) * framed(NAME_BYTES)
    return framed(names + framed(len(op_type) + _NUMBER_BYTES) + framed(len(op_type)) + attributes)


@lru_cache(maxsize=4096)
def tensor_bytes(shape: tuple[int, ...], element_bytes: int = 4) -> int:
    """A constant with its values."""
    dims = sum(1 + _varint(size) for size in shape)
    return framed(dims + _SCALAR_FIELD + framed(NAME_BYTES) + framed(math.prod(shape) * element_bytes))


@lru_cache(maxsize=4096)
def attribute_bytes(name: str, value: int | float | str | tuple[int, ...]) -> int:
    """An attribute of a node: a whole number, a float32, a text or whole numbers."""
    match value:
        case int():
            content = 1 + _varint(value)
        case float():
            content = 1 + 4
        case str():
            content = framed(len(value))
        case _:
            content = sum(1 + _varint(number) for number in value)
    kind = 2 + 1  # the tag of field 20 takes two bytes
    return framed(framed(len(name)) + content + kind)


def framed(content: int) -> int:
    """A field that holds `content` bytes: its tag, its length, and they."""
    return 1 + _varint(content) + content


def _varint(number: int) -> int:
    """Negative numbers are written as 64 bits."""
    return 10 if number < 0 else max(1, -(-number.bit_length() // 7))


def _value(name: int, shape: tuple[int, ...]) -> int:
    """The description of a network's input or output of batch 1."""
    dims = sum(framed(1 + _varint(size)) for size in (1, *shape))
    return framed(framed(name) + framed(framed(_SCALAR_FIELD + framed(dims))))
