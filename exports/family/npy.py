"""Arrays of class indices as files."""

from __future__ import annotations

import re
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import ManifestError

MAX_NPY_BYTES = 1 << 28
"""The largest array that is read: 134 million test images."""
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': ?'<u2', ?'fortran_order': ?(?:False|True), ?'shape': ?\(([0-9]{1,10}),\),? *\}"
    rb" *\n",
    re.DOTALL,
)
"""The header of a list of uint16 in NPY format 1.0 (NEP 1), as `npy_bytes` and NumPy write it. NumPy itself evaluates a
header as Python and allocates what it asks for."""


def npy_bytes(classes: NDArray[np.integer]) -> bytes:
    """The NPY file of class indices `(n,)`, as little-endian uint16. Equal indices give equal bytes."""
    buffer = BytesIO()
    np.save(buffer, classes.astype("<u2"), allow_pickle=False)
    return buffer.getvalue()


def read_npy(data: bytes, name: str) -> NDArray[np.uint16]:
    """Class indices `(n,)` as `npy_bytes` writes them.

    Args:
        data: The contents of the file.
        name: Its name in messages.

    Raises:
        ManifestError: It is another kind of array, or shorter or longer than its header states.
    """
    header = _HEADER.match(data)
    if header is None or header.end() != 10 + int.from_bytes(data[8:10], "little"):
        raise ManifestError(f"{name}: is not an NPY file of uint16 with one dimension")
    if len(data) - header.end() != 2 * int(header[1]):
        raise ManifestError(f"{name}: its header states {int(header[1]):,} values, but it has another number")
    return np.frombuffer(data, "<u2", offset=header.end()).astype(np.uint16)
