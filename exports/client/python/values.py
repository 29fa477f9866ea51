"""How values of a foreign JSON are judged, which all clients do alike: numbers, versions, names, case."""

from __future__ import annotations

from typing import Any, Final, TypeGuard

MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that JSON readers with doubles represent exactly."""
_MAX_VERSION: Final = 32
"""The most characters of a version in a manifest."""
_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def integer(value: Any, least: int = 0) -> int | None:
    """The integer in `least` to 2^53-1 that `value` is, 4096.0 included; None if it is none. True is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and least <= value <= MAX_INTEGER else None


def text(value: Any) -> str | None:
    """A string with at least one character; None for anything else."""
    return value if isinstance(value, str) and value else None


def texts(value: Any) -> tuple[str, ...] | None:
    """The strings of a list; None if it is no list, or one of its items is no string or empty."""
    if not is_list(value) or any(text(item) is None for item in value):
        return None
    return tuple(value)


def is_list(value: Any) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether `value` is a JSON list."""
    return isinstance(value, list | tuple)


def is_version(value: Any) -> TypeGuard[str]:
    """Whether `value` is a version in a manifest, dotted numbers: `14`, `1.17.0`."""
    return (
        isinstance(value, str)
        and len(value) <= _MAX_VERSION
        and all(part.isascii() and part.isdecimal() for part in value.split("."))
    )


def lower(value: str) -> str:
    """`value` with A to Z in lower case. Other letters stay: languages disagree on what becomes of them."""
    return value.translate(_LOWER)


def version_key(version: str) -> tuple[tuple[int, str], ...]:
    """`1.20.0+cpu` -> the leading numbers 1 and 20, without trailing zeros, so that 14 equals 14.0.

    A number is its count of digits and its digits, without leading zeros. They compare like the number itself, and
    need no conversion, which Python refuses for thousands of digits.
    """
    numbers: list[str] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(digits.lstrip("0"))
        if digits != part:
            break
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple((len(number), number) for number in numbers)
