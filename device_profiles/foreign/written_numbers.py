"""Numbers as people and programs write them: with a decimal point or a decimal comma, with digits in groups or not.

`1,234` alone may be 1.234 or 1234. Which of them it is follows from the other numbers of a table or from nothing; it is
never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import ForeignError
from factory_base.foreign import printable

_EXPONENT = r"([eE][+-]?\d+)?"
_PLAIN = rf"^[+-]?(\d+\.?\d*|\.\d+){_EXPONENT}$"
_INFINITE = r"^(?i)[+-]?inf(inity)?$"
_GROUPED = r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$"
_NOT_PLAIN = r"[,.]"
_ONE_GROUP = r"^[+-]?[1-9]\d{0,2},\d{3}$"
_COMMA = rf"^[+-]?(\d*|[1-9]\d{{0,2}}(\.\d{{3}})+),\d+{_EXPONENT}$"
_GROUPED_BY_POINTS = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?$"
_TWO_GROUPS_BY_POINTS = r"^[+-]?[1-9]\d{0,2}(\.\d{3}){2,}(,\d*)?$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notation:
    """How the numbers of a table are written.

    Attributes:
        has_comma: Whether the decimal sign is a comma, and a point separates groups; otherwise it is the other way
            round.
        example: A number that shows it; "" if all numbers are plain.
    """

    has_comma: bool = False
    example: str = ""

    def describe(self) -> str:
        """A sentence for people; "" if there is nothing to say."""
        if not self.example:
            return ""
        (value,) = self.numbers(_texts([self.example]))
        return f"numbers are read with a decimal {'comma' if self.has_comma else 'point'}: {self.example} is {value:g}"

    def numbers(self, texts: Any) -> NDArray[np.float64]:
        """The numbers in an Arrow array of texts, (rows,); NaN for whatever is not a number. `1e999` is infinite."""
        from pyarrow import compute, float64, scalar, string

        texts = compute.utf8_trim_whitespace(texts)
        grouped = _GROUPED_BY_POINTS if self.has_comma else _GROUPED
        bare = compute.replace_substring(texts, "." if self.has_comma else ",", "")
        texts = compute.if_else(compute.match_substring_regex(texts, grouped), bare, texts)
        if self.has_comma:
            is_plain = compute.match_substring_regex(texts, r"\.")
            texts = compute.if_else(is_plain, "", compute.replace_substring(texts, ",", "."))
        readable = compute.or_(
            compute.match_substring_regex(texts, _PLAIN), compute.match_substring_regex(texts, _INFINITE)
        )
        readable = compute.fill_null(readable, False)
        numbers = compute.cast(compute.if_else(readable, texts, scalar(None, string())), float64())
        return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def find_notation(texts: Any, source: str) -> Notation:
    """Find how the numbers among `texts`, an Arrow array, are written. Texts that are not numbers do not count.

    Raises:
        ForeignError: The numbers are written in two ways, or all that have a comma may be read in either way.
    """
    from pyarrow import compute

    texts = compute.utf8_trim_whitespace(texts)
    texts = texts.filter(compute.match_substring_regex(texts, _NOT_PLAIN))
    if not len(texts):
        return Notation()
    one_group = _first(texts, _ONE_GROUP)
    by_commas = _first(texts, _GROUPED, but=_ONE_GROUP)
    comma = _first(texts, _COMMA, but=_GROUPED) or _first(texts, _TWO_GROUPS_BY_POINTS)
    if comma and by_commas:
        raise ForeignError(f"{source}: numbers are written in two ways, such as {comma} and {by_commas}; choose one")
    if one_group and not (comma or by_commas):
        raise ForeignError(
            f"{source}: {one_group} may be {one_group.replace(',', '.')} or {one_group.replace(',', '')}; write "
            "numbers with a decimal point and without separators of thousands"
        )
    if comma and (point := _first(texts, _PLAIN, but=_GROUPED_BY_POINTS, having=r"\.")):
        raise ForeignError(f"{source}: numbers are written in two ways, such as {comma} and {point}; choose one")
    return Notation(has_comma=bool(comma), example=comma or by_commas)


def numbers_of(array: Any, notation: Notation) -> NDArray[np.float64]:
    """The numbers in a flat Arrow array of texts or numbers, (rows,); NaN for whatever is not a number.

    Raises:
        ForeignError: The array holds truth values or dates.
    """
    from pyarrow import compute, float64, types

    kind = array.type
    if is_text(array):
        return notation.numbers(array)
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind)):
        raise ForeignError(f"holds {printable(str(kind), 60)} where numbers are expected")
    numbers = compute.cast(array, float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def is_text(array: Any) -> bool:
    """Whether a flat Arrow array holds texts."""
    from pyarrow import types

    return bool(types.is_string(array.type) or types.is_large_string(array.type))


def _texts(values: list[str]) -> Any:
    from pyarrow import array, string

    return array(values, type=string())


def _first(texts: Any, pattern: str, *, but: str = "", having: str = "") -> str:
    """The first text that matches `pattern` and `having`, but not `but`; "" if there is none."""
    from pyarrow import compute

    found = texts.filter(compute.match_substring_regex(texts, pattern))
    if but:
        found = found.filter(compute.invert(compute.match_substring_regex(found, but)))
    if having:
        found = found.filter(compute.match_substring_regex(found, having))
    return printable(found[0].as_py(), 40) if len(found) else ""
