"""Types of fields that several documents share. Limits on numbers catch slips before anything computes with them."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

LARGEST_EXACT: Final = 2**53 - 1
"""Integers up to this one are exact in every reader, also in JavaScript and Excel, which know only doubles."""
MAX_THREADS: Final = 1024
"""More threads than machines for which models are trained or run have."""
MAX_FIGURE: Final = 1e12
"""No figure of a device is larger in the units of profiles; products of a few such numbers stay finite."""
MIN_FIGURE: Final = 1e-12
"""No figure that must be above zero is smaller; quotients of such numbers stay finite."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def is_name(text: str) -> bool:
    """Whether `text` is a valid `Name`."""
    return _NAME.fullmatch(text) is not None


def _checked_name(text: str) -> str:
    if not is_name(text):
        raise ValueError(
            f"{text!r:.80} is not a name; use up to 64 characters of a-z, 0-9, dot, dash and underscore, the first of "
            "them a letter or digit"
        )
    return text


Name = Annotated[str, AfterValidator(_checked_name)]
"""A name that is also part of file names."""

Threads = Annotated[int, Field(ge=1, le=MAX_THREADS)]
"""A number of threads."""

Positive = Annotated[float, Field(ge=MIN_FIGURE, le=MAX_FIGURE)]
"""A figure of a device that is above zero."""

NotNegative = Annotated[float, Field(ge=0, le=MAX_FIGURE)]
"""A figure of a device that may be zero."""
