"""Names as plots show them. Imports nothing."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # characters that XML does not allow


def clean(text: str, limit: int = 36) -> str:
    """`text` without control characters, cut to what fits above a small plot."""
    plain = _CONTROL.sub(" ", text)
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"
