"""Reads JSON that others wrote, by the rules that hold for every file of a family and of the store."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 16
MAX_VALUES = 200_000
MAX_INTEGER = 2**53 - 1
"""Limits on nesting, on the number of values, and the largest integer that every reader of JSON represents exactly."""


def parse_json(data: bytes, name: str, *, values: int = MAX_VALUES, depth: int = MAX_DEPTH) -> Any:
    """The value of strict JSON: no repeated keys, limited nesting, values and integers, finite numbers, Unicode.

    Args:
        data: The contents of the file; the caller limits its size.
        name: Its name in messages.
        values: The most values that it may have.
        depth: The deepest nesting that it may have.

    Raises:
        ValueError: A rule is broken.
    """
    try:
        _check_structure(data, values, depth)
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_int=_bounded_integer,
            parse_float=_finite_number,
            parse_constant=_finite_number,
        )
        json.dumps(value, ensure_ascii=False).encode()  # refuses half of a surrogate pair, which is not Unicode
        return value
    except ValueError as error:
        raise ValueError(f"{name} is not usable JSON ({error})") from error


def take(value: Any, kind: type, *path: str | int) -> Any:
    """The value at `path` in the manifest, which must be of type `kind`. Raises `ValueError` if it is not there."""
    for key in path:
        inside = isinstance(value, dict) if isinstance(key, str) else isinstance(value, list) and key < len(value)
        value = value[key] if inside and (isinstance(key, int) or key in value) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"the manifest has no usable {'.'.join(map(str, path))}; download the family again")
    return value


def _check_structure(data: bytes, values: int, most: int) -> None:
    """Raise `ValueError` if JSON has too many values, or is nested too deep, before it is parsed."""
    if data.count(b'"') > 4 * values:
        raise ValueError(f"more than {values} values")
    outside_strings = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    if outside_strings.count(b",") >= values:
        raise ValueError(f"more than {values} values")
    depth = 0
    for bracket in re.findall(rb"[\[\]{}]", outside_strings):
        depth += 1 if bracket in b"[{" else -1
        if depth > most:
            raise ValueError(f"nested deeper than {most} levels")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises `ValueError` if a key is repeated, because parsers disagree on which value counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is repeated")
    return found


def _bounded_integer(text: str) -> int:
    """A JSON integer. Raises `ValueError` beyond +-(2^53-1), which not every parser represents exactly."""
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise ValueError("an integer is too large")
    return int(text)


def _finite_number(text: str) -> float:
    """A JSON number. Raises `ValueError` for 1e999, NaN and Infinity."""
    value = float(text) if len(text) <= 400 else math.inf
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value
