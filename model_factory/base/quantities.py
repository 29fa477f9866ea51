"""Quantities as people write them: `8 ms`, `64 MiB`. A bare number has no unit and is refused."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer, SerializationInfo

WITH_UNITS: Final = "with units"
"""Context of `model_dump` that writes quantities as people do, so that they can be read again."""

_NUMBER = re.compile(r"^\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]+)\s*$")
_LARGEST = 2.0**63
_US_PER_UNIT = {"us": 1.0, "ms": 1e3, "s": 1e6}
_BYTES_PER_UNIT = {
    "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
}  # fmt: skip


def parse_duration_us(text: object) -> int:
    """`"8 ms"` -> 8000 microseconds.

    Raises:
        ValueError: no unit, an unknown unit, or not above zero.
    """
    return _parse(text, _US_PER_UNIT, "a duration such as '8 ms'")


def parse_bytes(text: object) -> int:
    """`"64 MiB"` -> 67108864 bytes.

    Raises:
        ValueError: no unit, an unknown unit, or not above zero.
    """
    return _parse(text, _BYTES_PER_UNIT, "a size such as '64 MiB'")


def format_duration(us: float) -> str:
    """Microseconds for people: `8.2 ms`."""
    if us < 1e3:
        return f"{us:.0f} us"
    return f"{_short(us / 1e3)} ms" if us < 1e6 else f"{_short(us / 1e6)} s"


def format_bytes(size: float) -> str:
    """Bytes for people: `1.4 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{_short(size)} {unit}"
        size /= 1024
    return f"{_short(size)} GiB"


def _short(value: float) -> str:
    """Three digits, and never an exponent for large values."""
    return f"{value:.3g}" if value < 999 else f"{value:.0f}"


def _parse(text: object, units: dict[str, float], example: str) -> int:
    match = _NUMBER.match(text) if isinstance(text, str) else None
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r} is not {example}; units: {', '.join(units)}")
    value = float(match[1]) * units[match[2]]
    if not 0.5 < value < _LARGEST:
        raise ValueError(f"{text!r} is {'too large' if value > 1 else 'not above zero'}; write {example}")
    return round(value)


def _in_unit(unit: str) -> PlainSerializer:
    def write(value: int, info: SerializationInfo) -> int | str:
        return f"{value} {unit}" if info.context == WITH_UNITS else value

    return PlainSerializer(write)


def _keep_int(parse: object) -> BeforeValidator:
    return BeforeValidator(parse)  # type: ignore[arg-type]


DurationUs = Annotated[int, _keep_int(parse_duration_us), _in_unit("us")]
"""Field type: written `8 ms`, held in microseconds."""

SizeBytes = Annotated[int, _keep_int(parse_bytes), _in_unit("B")]
"""Field type: written `64 MiB`, held in bytes."""
