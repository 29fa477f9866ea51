"""Arrays of class indices as files."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray


def npy_bytes(classes: NDArray[np.integer]) -> bytes:
    """The NPY file of class indices `(n,)`, as little-endian uint16. Equal indices give equal bytes."""
    buffer = BytesIO()
    np.save(buffer, classes.astype("<u2"), allow_pickle=False)
    return buffer.getvalue()
