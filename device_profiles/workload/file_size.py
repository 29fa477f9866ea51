"""Sizes in an ONNX file: exact arithmetic on its encoding. Imports neither torch nor onnx.

Format: the Protocol Buffers encoding of messages (a field is a tag, for most kinds a length, and its content; integers
are varints of seven bits a byte), and `onnx.proto`. The layout is that of `exports.onnx.onnx_file`: the names of all
values and constants have `NAME_BYTES` characters, so the size of a layer does not depend on its position, and

    file = network_bytes(sum over layers of (node_bytes + tensor_bytes of its constants), input shape, output shape)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

NAME_BYTES = 5
"""Length of the names `w0000`, `v0000` and `image`."""

SMALL_ELEMENTS = 1024
"""Constants with up to this many elements are stored once per use, larger ones once per file. It is the limit up to
which the exporter of PyTorch merges equal constants (`DeduplicateInitializersPass` of onnx_ir), which `exports`
undoes."""

NARROWED_ELEMENTS: Final = 256
"""A weight with fewer elements stays float32 in files with narrow weights: the nodes that decode one take up to 150
bytes, and its scales 4 bytes per channel, so little or nothing would be saved."""

_NUMBER_BYTES = 5
"""Length of the suffix of a node's name after its operator: `_0000`."""

INPUT_NAME: Final = "image"
OUTPUT_NAME: Final = "logits"
"""Names of the input and the first output in every model file, whatever its engine."""

_INPUT_NAME, _OUTPUT_NAME, _GRAPH_NAME = len(INPUT_NAME), len(OUTPUT_NAME), len("model")
_PRODUCER_NAME = len("model-factory")
_VARINT_LIMITS = np.array([1 << 7 * count for count in range(1, 9)])
"""At each of these values an integer takes one more byte as a varint."""

_SCALAR_FIELD = 2
"""Bytes of a tag and a number below 128."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """Bytes of all nodes and constants, by precision of the file. For a chain of parts they add up."""

    fp32: int
    fp16: int
    int8: int
    int8_weights: int

    def of(self, precision: Literal["fp32", "fp16", "int8", "int8_weights"]) -> int:
        """Return the bytes at one precision."""
        return {"fp32": self.fp32, "fp16": self.fp16, "int8": self.int8, "int8_weights": self.int8_weights}[precision]

    @classmethod
    def total(cls, parts: Iterable[FileContent]) -> FileContent:
        """Return the sums over the parts of a network."""
        rows = [(part.fp32, part.fp16, part.int8, part.int8_weights) for part in parts]
        fp32, fp16, int8, int8_weights = (sum(column) for column in zip(*rows, strict=True))
        return cls(fp32=fp32, fp16=fp16, int8=int8, int8_weights=int8_weights)


def network_bytes(
    content: NDArray[np.int64], input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return the sizes of whole files, (networks,) bytes.

    Args:
        content: Bytes of all nodes and constants of each network, (networks,).
        input_shape: Input shape of all networks, without the batch.
        output_shape: Output shape of all networks, without the batch.
    """
    ends = _value(_INPUT_NAME, input_shape) - _value(_INPUT_NAME, output_shape)
    return file_of(content + (ends + empty_graph_bytes(output_shape)))


def part_bytes(content: int, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
    """Return what one part of a chain adds to the graph.

    The parts of a network and `empty_graph_bytes` sum to the network's graph, whose file is `file_of`: the descriptions
    of the shapes between the parts cancel, so that only that of the network's input remains.

    Args:
        content: Bytes of the nodes and constants of the part.
        input_shape: Shape of the part's input, without the batch.
        output_shape: Shape of the part's output, without the batch.
    """
    return content + _value(_INPUT_NAME, input_shape) - _value(_INPUT_NAME, output_shape)


def empty_graph_bytes(output_shape: tuple[int, ...]) -> int:
    """Return the size of the graph of a network without parts, whose input, of this shape, is its output."""
    longer_name = _OUTPUT_NAME - NAME_BYTES  # the last node writes `logits`
    ends = _value(_INPUT_NAME, output_shape) + _value(_OUTPUT_NAME, output_shape)
    return longer_name + ends + framed(_GRAPH_NAME)


def file_of(graph: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sizes of files with graphs of these sizes. A larger graph always has a larger file."""
    lengths = np.searchsorted(_VARINT_LIMITS, graph, side="right") + 1
    return graph + lengths + (1 + _SCALAR_FIELD + framed(_PRODUCER_NAME) + framed(framed(0) + _SCALAR_FIELD))


def largest_graph(file_bytes: int) -> int:
    """Return the size of the largest graph whose file has at most `file_bytes`; negative if there is none."""
    graph = file_bytes - int(file_of(np.array(0)))
    while graph >= 0 and file_of(np.array(graph)) > file_bytes:  # at most 8 times: a length takes up to 9 bytes
        graph -= 1
    return graph


@cache
def node_bytes(op_type: str, inputs: int, attributes: int = 0, outputs: int = 1) -> int:
    """Return the size of a node with so many inputs and outputs, and attributes of `attributes` bytes in total."""
    names = (inputs + outputs) * framed(NAME_BYTES)
    return framed(names + framed(len(op_type) + _NUMBER_BYTES) + framed(len(op_type)) + attributes)


@lru_cache(maxsize=4096)
def tensor_bytes(shape: tuple[int, ...], element_bytes: int = 4) -> int:
    """Return the size of a constant, values included."""
    dims = sum(1 + _varint(size) for size in shape)
    return framed(dims + _SCALAR_FIELD + framed(NAME_BYTES) + framed(math.prod(shape) * element_bytes))


@lru_cache(maxsize=4096)
def attribute_bytes(name: str, value: int | float | str | tuple[int, ...]) -> int:
    """Return the size of a node's attribute: an integer, a float32, a string or several integers."""
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
    """Return the size of a field that holds `content` bytes: the tag, the length and the content."""
    return 1 + _varint(content) + content


def _varint(number: int) -> int:
    """Bytes of a varint. A negative number is written as 64 bits, which takes ten bytes."""
    return 10 if number < 0 else max(1, -(-number.bit_length() // 7))


def _value(name: int, shape: tuple[int, ...]) -> int:
    """The size of the description of a network's input or output at batch 1."""
    dims = sum(framed(1 + _varint(size)) for size in (1, *shape))
    return framed(framed(name) + framed(framed(_SCALAR_FIELD + framed(dims))))
