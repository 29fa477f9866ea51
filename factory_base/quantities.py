"""Quantities as people write them: `8 ms`, `64 MiB`, `30 fps`, `10 %`. A bare number has no unit and is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, PlainSerializer, SerializationInfo, WithJsonSchema

WITH_UNITS: Final = "with units"
"""Context of `model_dump` that writes quantities with their units, so that they can be read again."""

_NUMBER = re.compile(r"^\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]+|%)\s*$")
_MOST_CHARACTERS = 64
"""No quantity that a person writes is longer. Matching a longer text could take time in the square of its length."""
_ROUNDS_TO_ZERO = 0.5
"""Durations, sizes, numbers of MACs and energies are whole microseconds, bytes, MACs and microjoules, so anything up to
this would become 0."""
_SLOWEST_FPS, _FASTEST_FPS = 1e-6, 1e6
"""A frame lasts at least 1 us, the unit of latencies, and at most 10^12 us (12 days); all else is a slip."""
_LONGEST_US, _MOST_BYTES = 1e12, 2.0**50
"""The duration of a frame at the slowest rate, and 1 PiB; all above is a slip."""
_MOST_MACS, _MOST_UJ = 1e18, 1e12
"""A million times the MACs of large models, and 1 MJ, a fifth of the energy in a car's starter battery; all above is a
slip."""
_SMALLEST_PERCENT = 5e-5
"""Shares are rounded to a millionth, so anything up to half of one would become 0."""
_US_PER_UNIT = {"us": 1.0, "ms": 1e3, "s": 1e6}
US_PER_LATENCY_COLUMN = {f"latency_{unit}": us for unit, us in _US_PER_UNIT.items()}
"""Name of a latency column in users' tables -> microseconds in one of its unit, for example `latency_ms` -> 1000."""

_BYTES_PER_UNIT = {
    "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
}  # fmt: skip

_MACS_PER_UNIT = {
    **{"k": 1e3, "M": 1e6, "G": 1e9},
    **{f"{prefix}{word}": factor
       for word in ("MACs", "MAC") for prefix, factor in (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9))},
}  # fmt: skip
_UJ_PER_UNIT = {"uJ": 1.0, "mJ": 1e3, "J": 1e6}

Kind = Literal["duration", "size", "frame rate", "share", "number of MACs", "quantity of energy"]

EXAMPLES: dict[Kind, str] = {
    "duration": "a duration such as '8 ms'",
    "size": "a size such as '64 MiB'",
    "frame rate": "a frame rate such as '30 fps'",
    "share": "a share such as '10 %' or 0.1",
    "number of MACs": "a number of MACs such as '60 M'",
    "quantity of energy": "an energy such as '3 mJ'",
}
_MOST: dict[Kind, str] = {
    "duration": "1000000 s",
    "size": "1048576 GiB",
    "frame rate": "1000000 fps",
    "share": "100 %",
    "number of MACs": "1000000000 G",
    "quantity of energy": "1000000 J",
}
"""The largest quantity of each kind in words."""
_UNITS: dict[Kind, dict[str, float]] = {
    "duration": _US_PER_UNIT,
    "size": _BYTES_PER_UNIT,
    "frame rate": {"fps": 1.0},
    "share": {"%": 1.0},
    "number of MACs": _MACS_PER_UNIT,
    "quantity of energy": _UJ_PER_UNIT,
}


def parse_duration_us(text: object) -> int:
    """`"8 ms"` -> 8000 microseconds.

    Raises:
        ValueError: The unit is missing or unknown, or the duration is not above zero or too large.
    """
    return round(_parse(text, "duration", _ROUNDS_TO_ZERO, _LONGEST_US))


def parse_bytes(text: object) -> int:
    """`"64 MiB"` -> 67108864 bytes.

    Raises:
        ValueError: The unit is missing or unknown, or the size is not above zero or too large.
    """
    return round(_parse(text, "size", _ROUNDS_TO_ZERO, _MOST_BYTES))


def parse_macs(text: object) -> int:
    """`"60 M"` or `"60 MMACs"` -> 60000000 multiply-accumulate operations.

    Raises:
        ValueError: The unit is missing or unknown, or the number is not above zero or too large.
    """
    return round(_parse(text, "number of MACs", _ROUNDS_TO_ZERO, _MOST_MACS))


def parse_energy_uj(text: object) -> int:
    """`"3 mJ"` -> 3000 microjoules.

    Raises:
        ValueError: The unit is missing or unknown, or the energy is not above zero or too large.
    """
    return round(_parse(text, "quantity of energy", _ROUNDS_TO_ZERO, _MOST_UJ))


def parse_frame_rate(text: object) -> float:
    """`"30 fps"` -> 30.0 frames per second.

    Raises:
        ValueError: The unit is missing or unknown, or the rate is not above zero or too large.
    """
    return _parse(text, "frame rate", _SLOWEST_FPS, _FASTEST_FPS)


def parse_share(value: object) -> float:
    """`"10 %"` or `0.1` -> 0.1, rounded to a millionth.

    A plain number of 1 or more is refused, because it may be meant as a percentage.

    Raises:
        ValueError: `value` is not a share above 0 % and of at most 100 %.
    """
    text = value
    if isinstance(value, float | int) and not isinstance(value, bool):
        if not 0 < value < 1:
            hint = f"; did you mean '{value:g} %'?" if 1 <= value <= 100 else ""
            raise ValueError(f"{value!r} is not {EXAMPLES['share']}{hint}")
        text = f"{100 * value!r} %"
    return round(_parse(text, "share", _SMALLEST_PERCENT, 100) / 100, 6)


def kind_of(value: object) -> Kind | None:
    """The kind of quantity that the unit in `value` measures, or None if there is no known unit."""
    match = _matched(value)
    return next((kind for kind, units in _UNITS.items() if match and match[2] in units), None)


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


def format_energy(uj: float) -> str:
    """Microjoules for people: `1.4 mJ`."""
    if uj < 1e3:
        return f"{_short(uj)} uJ"
    return f"{_short(uj / 1e3)} mJ" if uj < 1e6 else f"{_short(uj / 1e6)} J"


def format_macs(macs: float) -> str:
    """A number of MACs for people: `12.3 M`."""
    for unit in ("", " k", " M"):
        if macs < 999.5:
            return f"{macs:.3g}{unit}"
        macs /= 1000
    return f"{macs:.3g} G"


def exact_duration(us: int) -> str:
    """`us` in the largest unit in which `parse_duration_us` reads exactly `us` again."""
    return _exact(us, "duration", parse_duration_us)


def exact_bytes(size: int) -> str:
    """`size` in the largest unit in which `parse_bytes` reads exactly `size` again."""
    return _exact(size, "size", parse_bytes)


def exact_macs(macs: int) -> str:
    """`macs` in the largest unit in which `parse_macs` reads exactly `macs` again."""
    return _exact(macs, "number of MACs", parse_macs)


def exact_energy(uj: int) -> str:
    """`uj` in the largest unit in which `parse_energy_uj` reads exactly `uj` again."""
    return _exact(uj, "quantity of energy", parse_energy_uj)


def exact_frame_rate(fps: float) -> str:
    """A text that `parse_frame_rate` reads as exactly `fps`."""
    return _exact(fps, "frame rate", parse_frame_rate)


def exact_share(share: float) -> str:
    """The percentage that `parse_share` reads as `share`, which has at most six decimals."""
    return f"{100 * share:.6g} %"


def _short(value: float) -> str:
    """Three digits, without an exponent for large values."""
    return f"{value:.3g}" if value < 999 else f"{value:.0f}"  # from 999.5 on, `.3g` would write 1e+03


def _parse(text: object, kind: Kind, above: float, most: float) -> float:
    units = _UNITS[kind]
    match = _matched(text)
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r:.{_MOST_CHARACTERS}} is not {EXAMPLES[kind]}; units: {', '.join(units)}")
    value = float(match[1]) * units[match[2]]
    if not above < value <= most:
        fault = f"too large, the most is {_MOST[kind]}" if value > most else "not above zero"
        raise ValueError(f"{text!r} is {fault}; write {EXAMPLES[kind]}")
    return value


def _matched(text: object) -> re.Match[str] | None:
    return _NUMBER.match(text) if isinstance(text, str) and len(text) <= _MOST_CHARACTERS else None


def _exact(value: float, kind: Kind, parse: Callable[[object], float]) -> str:
    units = sorted(_UNITS[kind].items(), key=lambda unit: -unit[1])
    for unit, factor in units:
        number = value / factor
        text = f"{number:.0f} {unit}" if number == int(number) else f"{number:.4g} {unit}"
        if value >= factor and parse(text) == value:
            return text
    return f"{value} {units[-1][0]}"


def _written(write: Callable[[Any], str]) -> PlainSerializer:
    def serialise(value: float, info: SerializationInfo) -> Any:
        return write(value) if info.context == WITH_UNITS else value

    return PlainSerializer(serialise)


def _schema(kind: Kind) -> WithJsonSchema:
    """The JSON Schema of a quantity as files hold it: text with a number and a unit, and for shares also a number."""
    units = "|".join(map(re.escape, _UNITS[kind]))
    text = {"type": "string", "title": kind, "pattern": rf"^\s*[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?\s*({units})\s*$"}
    number = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
    return WithJsonSchema({"anyOf": [text, number]} if kind == "share" else text, mode="validation")


DurationUs = Annotated[int, BeforeValidator(parse_duration_us), _written(exact_duration), _schema("duration")]
"""Field type for durations: written `8 ms`, held in microseconds."""

SizeBytes = Annotated[int, BeforeValidator(parse_bytes), _written(exact_bytes), _schema("size")]
"""Field type for sizes: written `64 MiB`, held in bytes."""

FrameRate = Annotated[float, BeforeValidator(parse_frame_rate), _written(exact_frame_rate), _schema("frame rate")]
"""Field type for frame rates: written `30 fps`, held in frames per second."""

Share = Annotated[float, BeforeValidator(parse_share), _written(exact_share), _schema("share")]
"""Field type for shares: written `10 %` or `0.1`, held as a number in (0, 1]."""

MacsCount = Annotated[int, BeforeValidator(parse_macs), _written(exact_macs), _schema("number of MACs")]
"""Field type for numbers of MACs: written `60 M`, held as an integer."""

EnergyUj = Annotated[int, BeforeValidator(parse_energy_uj), _written(exact_energy), _schema("quantity of energy")]
"""Field type for energies: written `3 mJ`, held in microjoules."""
