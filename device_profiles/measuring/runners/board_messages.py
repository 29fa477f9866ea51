"""The answers of the program on a board (see `board`), a type for each request."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Discriminator, FailFast, Field, StrictBool, Tag, TypeAdapter

from device_profiles.measuring.reported import LARGEST_BYTES, LONGEST_US, Cores, Line, RamBytes, Report, Runs
from device_profiles.measuring.timing import REPEATS

_Index = Annotated[int, Field(strict=True, ge=0, lt=10**6)]
_Seconds = Annotated[float, Field(strict=True, ge=1e-6, le=1e4)]
"""Seconds of a matrix product or a copy at most 10^5 times faster, and slower, than a processor of 2026 takes."""


class Nothing(Report):
    """The answer without content."""


class Facts(Report):
    """Facts about the board, see `Machine`."""

    processor: Line
    cores: Cores
    ram_bytes: RamBytes
    engine_version: Annotated[Line, Field(min_length=1, max_length=40)]


class Lacks(Report):
    """The packages that its Python lacks, the path of that Python, and whether it is a virtual environment."""

    lacks: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$")], ...], Field(min_length=1)]
    python: Line
    venv: StrictBool


class Missing(Report):
    """The digests of the files that have to be copied."""

    missing: Annotated[tuple[str, ...], FailFast()]


class Loaded(Report):
    """Microseconds of the loads of each timed file."""

    load_us: Annotated[tuple[Runs, ...], FailFast()]


class Visited(Report):
    """Microseconds of the runs of one file."""

    file: _Index
    us: Annotated[Runs, Field(max_length=REPEATS[1])]


class Ran(Report):
    """Microseconds of the runs of one file without a pause."""

    us: Runs


class PeakMemory(Report):
    """Peak memory of a file; None if the engine does not report it."""

    bytes: Annotated[int, Field(strict=True, gt=0, le=LARGEST_BYTES)] | None


class KernelProfile(Report):
    """Microseconds of a run, the durations of each node in all runs, and the optimised graph in Base64."""

    run_us: Annotated[float, Field(strict=True, gt=0, le=LONGEST_US)]
    durations: dict[str, Annotated[tuple[Annotated[float, Field(strict=True, ge=0, le=LONGEST_US)], ...], FailFast()]]
    graph: str


class Profiled(Report):
    """The profile of a file; None if the engine does not report it."""

    profile: KernelProfile | None


class Peak(Report):
    """Seconds of the fastest product and of the fastest copy, and the bytes that were copied."""

    multiply_s: Annotated[_Seconds, Field(alias="multiply")]
    copy_s: Annotated[_Seconds, Field(alias="copy")]  # models have a method `copy`
    copied: Annotated[int, Field(strict=True, gt=0, le=LARGEST_BYTES)]


class NoPeak(Report):
    """Why the peak could not be measured."""

    reason: Line


def _key(*keys: str) -> Discriminator:
    """Tells two types apart by the first of the two `keys`, which only the first type has."""

    def choose(value: Any) -> str:
        return f"<{keys[0] if isinstance(value, dict) and keys[0] in value else keys[1]}>"

    return Discriminator(choose)


NOTHING: Final = TypeAdapter(Nothing)
HELLO: Final[TypeAdapter[Facts | Lacks]] = TypeAdapter(
    Annotated[Annotated[Lacks, Tag("<lacks>")] | Annotated[Facts, Tag("<processor>")], _key("lacks", "processor")]
)
MISSING: Final = TypeAdapter(Missing)
LOADED: Final = TypeAdapter(Loaded)
VISITED: Final = TypeAdapter(Visited)
RAN: Final = TypeAdapter(Ran)
PEAK_MEMORY: Final = TypeAdapter(PeakMemory)
PROFILED: Final = TypeAdapter(Profiled)
PEAK: Final[TypeAdapter[Peak | NoPeak]] = TypeAdapter(
    Annotated[Annotated[NoPeak, Tag("<reason>")] | Annotated[Peak, Tag("<multiply>")], _key("reason", "multiply")]
)
