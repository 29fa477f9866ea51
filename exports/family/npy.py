"""Arrays of labels, predictions and confidences as files."""

from __future__ import annotations

import re
from io import BytesIO
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exports.family.task_rules import AnswerKind
from factory_base.errors import ManifestError

MAX_NPY_BYTES = 1 << 28
"""The largest array that is read: 134 million test images."""
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': ?'([<|][uf][124])', ?'fortran_order': ?(False|True), ?"
    rb"'shape': ?\(([0-9]{1,10}),(?: ([0-9]{1,10}))?\),? *\} *\n",
    re.DOTALL,
)
"""The header of a list or table in NPY format 1.0 (NEP 1), as `npy_bytes` and NumPy write it. NumPy itself evaluates a
header as Python and allocates what it asks for."""
_FORMS: Final[dict[AnswerKind, tuple[str, int]]] = {"classes": ("<u2", 1), "labels": ("|u1", 2), "values": ("<f4", 2)}
"""The type and the number of dimensions of labels and predictions."""
_NAMES: Final[dict[str, str]] = {"<u2": "uint16", "|u1": "uint8", "<f4": "float32"}


def npy_bytes(values: NDArray[Any]) -> bytes:
    """The NPY file of an array, little-endian; equal values give equal bytes.

    Args:
        values: Class indices `(n,)`, which become uint16; classes that an example has `(n, classes)`, which become
            uint8; or numbers of either shape, which become float32.
    """
    dtype = "<f4" if values.dtype.kind == "f" else "<u2" if values.ndim == 1 else "|u1"
    buffer = BytesIO()
    np.save(buffer, np.ascontiguousarray(values.astype(dtype)), allow_pickle=False)
    return buffer.getvalue()


def read_answers(data: bytes, name: str, kind: AnswerKind) -> NDArray[Any]:
    """Labels or predictions of a kind as `npy_bytes` writes them. See `judge.Predictions` and `read_array`."""
    return read_array(data, name, *_FORMS[kind])


def read_array(data: bytes, name: str, dtype: str, dimensions: int) -> NDArray[Any]:
    """An array as `npy_bytes` writes it.

    Args:
        data: The contents of the file.
        name: Its name in messages.
        dtype: The type of its values: `<u2`, `|u1` or `<f4`.
        dimensions: The number of its dimensions, 1 or 2.

    Raises:
        ManifestError: It is another kind of array, or shorter or longer than its header states.
    """
    header = _HEADER.match(data)
    shape = [] if header is None else [int(part) for part in header.groups()[2:] if part is not None]
    if (
        header is None
        or header.end() != 10 + int.from_bytes(data[8:10], "little")
        or (header[1].decode(), len(shape)) != (dtype, dimensions)
        or (dimensions > 1 and header[2] == b"True")  # a list has the same order either way
    ):
        words = "one dimension" if dimensions == 1 else f"{dimensions} dimensions in C order"
        raise ManifestError(f"{name}: is not an NPY file of {_NAMES[dtype]} with {words}")
    if len(data) - header.end() != np.dtype(dtype).itemsize * prod(shape):
        raise ManifestError(f"{name}: its header states {prod(shape):,} values, but it has another number")
    values = np.frombuffer(data, dtype, offset=header.end()).reshape(shape)
    return values.astype(values.dtype.newbyteorder("="))
