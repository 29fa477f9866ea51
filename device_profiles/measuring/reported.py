"""What machines report about themselves and their runs: the types of these values, and the one reader of messages.

A board, a phone or a page may be broken or mean harm. Whatever it sends is parsed within limits and validated here
before anything is computed from it or stored; anything else is an `EngineError` of one line that names the machine.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from factory_base.errors import EngineError, ForeignError
from factory_base.foreign import parse_json, printable

SHORTEST_US: Final = 1e-3
"""Shortest plausible time of a run or a load: the step of the finest timers, and less than a function call takes."""

LONGEST_US: Final = 3.6e9
"""Longest plausible time, an hour: machines that do not answer for some minutes count as gone."""

LARGEST_BYTES: Final = 2**50
"""Largest plausible amount of memory: a pebibyte, a thousand times that of the largest machines."""

_TEXT_CHARACTERS: Final = 200
"""Most characters of a name: processors, boards and phones have far fewer."""

MOST_VALUES: Final = 2**22
"""Most values of a message: a run of 10 s with 2.4 us a run, a third of what calling an engine from Python takes."""

REMEDY: Final = "check that machine, then run the same command again to resume"
"""What to do about a machine that reports nonsense."""

Line = Annotated[str, AfterValidator(lambda text: printable(text.strip(), _TEXT_CHARACTERS))]
"""A text of one line, without control characters."""

Cores = Annotated[int, Field(strict=True, ge=1, le=4096)]
RamBytes = Annotated[int, Field(strict=True, ge=2**20, le=LARGEST_BYTES)]

RunUs = Annotated[float, Field(strict=True, ge=SHORTEST_US, le=LONGEST_US, allow_inf_nan=False)]
"""Microseconds of a run or a load."""

Runs = Annotated[tuple[RunUs, ...], Field(min_length=1), FailFast()]
"""Microseconds of one run or more. Reading stops at the first fault: a million of them would take gigabytes."""

RUNS: Final = TypeAdapter(Runs)

_T = TypeVar("_T")


class Report(BaseModel):
    """Base class of the messages of machines. It refuses unknown keys and numbers that are not finite; it is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def parse_object(data: bytes, source: str, *, max_bytes: int) -> dict[str, Any]:
    """The JSON object in `data`.

    Args:
        data: A whole message.
        source: The machine and the message in words: `ssh:board: its answer to 'load'`.
        max_bytes: The largest accepted size.

    Raises:
        EngineError: `data` is not strict JSON within the limits, see `parse_json`, or no object.
    """
    try:
        value = parse_json(data, source, max_bytes=max_bytes, max_values=MOST_VALUES)
    except ForeignError as error:
        raise EngineError(f"{error}; {REMEDY}") from error
    if not isinstance(value, dict):
        raise EngineError(f"{printable(source)}: is {_shown(value)}, not an object; {REMEDY}")
    return value


def checked(value: Any, form: TypeAdapter[_T], source: str) -> _T:
    """`value` as a value of the type of `form`, whose annotations state what is allowed.

    Args:
        value: What a machine reported.
        form: The adapter of that type.
        source: As for `parse_object`.

    Raises:
        EngineError: `value` does not fit. The message names the first fault, its place and its value.
    """
    try:
        return form.validate_python(value)
    except ValidationError as error:
        raise EngineError(f"{printable(source)}: {fault_of(error)}; {REMEDY}") from error


def fault_of(error: ValidationError) -> str:
    """The first fault of a message in words, on one line."""
    fault = error.errors(include_url=False, include_context=False)[0]
    parts = (str(part) for part in fault["loc"] if not str(part).startswith("<"))  # `<name>`: a member of a union
    place = printable(".".join(parts), 80)
    if fault["type"] == "extra_forbidden":
        return f"unknown key {place!r}"
    if fault["type"] == "missing":
        return f"key {place!r} is missing"
    message = "input should be an object" if fault["type"] == "model_type" else printable(fault["msg"])
    return f"{f'{place!r}: ' if place else ''}{message[0].lower()}{message[1:]}, got {_shown(fault['input'])}"


def _shown(value: Any) -> str:
    """A value in messages. Lists and objects may be long, so they are not shown."""
    if isinstance(value, dict | list | tuple):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"  # Python refuses to write those of 4,300 digits
    return printable(repr(value), 60)
