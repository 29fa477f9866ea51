"""What is wrong with one value of a document, in words for whoever wrote the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from factory_base.foreign import printable
from factory_base.wording import counted

_WHOLE: Final = "must be a whole number"
_NUMBER: Final = "must be a number"
_LIST: Final = "must be a list such as [1, 2]"
_TEXT: Final = "must be text; write it in quotes"
_YES_NO: Final = "must be true or false"
_DATE: Final = "must be a date such as 2026-01-31"

_PHRASES: Final[Mapping[str, str]] = {
    "int_type": _WHOLE, "int_parsing": _WHOLE, "int_from_float": _WHOLE, "int_parsing_size": _WHOLE,
    "float_type": _NUMBER, "float_parsing": _NUMBER, "finite_number": "must be a finite number",
    "tuple_type": _LIST, "list_type": _LIST, "string_type": _TEXT, "bool_type": _YES_NO, "bool_parsing": _YES_NO,
    "date_type": _DATE, "date_parsing": _DATE, "date_from_datetime_parsing": _DATE, "date_from_datetime_inexact": _DATE,
    "string_too_short": "must not be empty", "invalid_key": "is a key that is not text; write it in quotes",
}  # fmt: skip
"""Pydantic's type of an error -> the phrase that follows the place of the value."""

_SECTIONS: Final = ("model_type", "model_attributes_type", "dict_type", "mapping_type")
_SHOWN_VALUE, _SHOWN_MESSAGE = 80, 400
"""The most characters of a value and of a message that are shown."""


def value_fault(fault: Mapping[str, Any], keys: Iterable[str], limits: Iterable[Any]) -> str:
    """What is wrong with a value, what is allowed, and the value.

    Args:
        fault: One error, as `ValidationError.errors` lists it.
        keys: The keys that are known at its place, if it should be a section.
        limits: The limits on the number at its place, see `limits_at`.
    """
    kind, context, given = fault["type"], fault.get("ctx", {}), f", got {shown(fault['input'])}"
    if kind == "value_error":
        return printable(str(context.get("error", fault["msg"])), _SHOWN_MESSAGE)
    if kind in _SECTIONS:
        known = ", ".join(keys) if kind.startswith("model") else ""  # a dict has no keys that are known
        return f"must be a section{f' with keys of {known}' if known else ' with keys and values'}{given}"
    if kind in _COUNTS:
        return _COUNTS[kind](context)
    if kind in _BOUNDS:
        return f"{_range([*limits] or [_BOUNDS[kind](context)])}{given}"
    if kind == "literal_error":
        return f"must be {context['expected']}{given}"
    if kind == "string_pattern_mismatch":
        return f"must match the pattern {context['pattern']}{given}"
    message = _PHRASES.get(kind) or re.sub(r"^Input should be", "must be", str(fault["msg"]))
    return f"{message}{given}"


def shown(value: object) -> str:
    """A value of a document in a message; what holds other values is only named."""
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list"
    return "nothing" if value is None else printable(repr(value), _SHOWN_VALUE)


def limits_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[Any]:
    """The limits (`Ge`, `Lt`, ...) on the number at `location` in a document of class `model`; empty if unknown."""
    found: list[Any] = [model]
    for part in location:
        found = [inner for outer in found for inner in _inside(outer, part)]
    return [limit for annotation in found for limit in _limits(annotation)]


def _inside(outer: Any, part: int | str) -> Iterator[Any]:
    """The annotations of what stands at `part` in a value of type `outer`."""
    if isinstance(outer, FieldInfo):
        yield from _inside(outer.annotation, part)
    elif isinstance(outer, type) and issubclass(outer, BaseModel):
        yield from (field for name, field in outer.model_fields.items() if part in (name, field.alias))
    elif isinstance(part, int) and Ellipsis in get_args(outer):
        yield get_args(outer)[0]
    elif get_origin(outer) is dict:
        yield get_args(outer)[1]
    else:
        yield from (found for argument in get_args(outer) for found in _inside(argument, part))


def _limits(annotation: Any) -> list[Any]:
    """The limits of an annotation itself and of the members of a union; not those of what a list holds."""
    if isinstance(annotation, FieldInfo):
        own = [limit for limit in annotation.metadata if isinstance(limit, Ge | Gt | Le | Lt)]
        return own or _limits(annotation.annotation)
    if isinstance(annotation, Ge | Gt | Le | Lt):
        return [annotation]
    if Ellipsis in get_args(annotation):
        return []
    inner = (*get_args(annotation), *getattr(annotation, "__metadata__", ()))
    return [limit for part in inner for limit in _limits(part)]


def _range(limits: Iterable[Any]) -> str:
    """Limits in words: `must be from 1 to 1024`, `must be above 0 and at most 1`, `must be at least 4`."""
    words: dict[str, str] = {}
    for limit in limits:
        side, word, value = _side(limit)
        words.setdefault(side, f"{word} {value:.15g}" if isinstance(value, float) else f"{word} {value}")
    low, high = words.get("low", ""), words.get("high", "")
    if low.startswith("at least ") and high.startswith("at most "):
        return f"must be from {low.removeprefix('at least ')} to {high.removeprefix('at most ')}"
    return f"must be {' and '.join(filter(None, (low, high)))}"


def _side(limit: Any) -> tuple[str, str, Any]:
    match limit:
        case Ge(ge=value):
            return "low", "at least", value
        case Gt(gt=value):
            return "low", "above", value
        case Le(le=value):
            return "high", "at most", value
        case _:
            return "high", "below", limit.lt


_BOUNDS: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    "greater_than_equal": lambda context: Ge(context["ge"]),
    "greater_than": lambda context: Gt(context["gt"]),
    "less_than_equal": lambda context: Le(context["le"]),
    "less_than": lambda context: Lt(context["lt"]),
}
_COUNTS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "too_short": lambda context: f"must have at least {counted(context['min_length'], 'entry', 'entries')}",
    "too_long": lambda context: f"must have at most {counted(context['max_length'], 'entry', 'entries')}",
}
