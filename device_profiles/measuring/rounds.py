"""The finished rounds of a measurement: how they are kept, and read again after an interruption.

Nothing implausible is kept. Files of earlier versions may hold such values, as NaN from a board was kept once: their
rounds are dropped, with a warning, and measured again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pydantic_core
from pydantic import TypeAdapter, ValidationError

from device_profiles.measuring.reported import Report, Runs, RunUs, fault_of
from factory_base.errors import EngineError
from factory_base.files import write_json
from factory_base.foreign import printable, read_regular

_LARGEST_FILE: Final = 2**27
"""Most bytes of a file of rounds: 40 rounds of 1,000 files have some MiB."""

_LOG: Final = logging.getLogger(__name__)


class Round(Report):
    """One visit to each file.

    Attributes:
        networks: Microseconds of the runs of each network.
        parts: Microseconds of each part, the median of its runs.
        order: All files, the networks before the parts, in the order in which they were visited.
    """

    networks: tuple[Runs, ...]
    parts: tuple[RunUs, ...]
    order: tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class Rounds:
    """Finished rounds, and the visits of one that was interrupted: the microseconds of the runs by file."""

    finished: list[Round] = field(default_factory=list)
    begun: dict[int, tuple[float, ...]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write them to a file. Raises `DiskError`."""
        content: dict[str, Any] = {"rounds": [entry.model_dump() for entry in self.finished]}
        write_json(path, content | ({"unfinished": list(self.begun.items())} if self.begun else {}))


_ROUND: Final = TypeAdapter(Round)
_VISIT: Final = TypeAdapter(tuple[int, Runs])


def read_rounds(path: Path, networks: int, files: int) -> Rounds:
    """The rounds in a file that `Rounds.write` wrote; those that hold what cannot be true are dropped with a warning.

    Args:
        path: The file; if there is none, there are no rounds.
        networks: Number of networks of the measurement.
        files: Number of networks and parts.

    Raises:
        EngineError: The file is not JSON.
        ForeignError: The file cannot be read, or is too large.
    """
    if not path.exists():
        return Rounds()
    try:
        content = pydantic_core.from_json(read_regular(path, _LARGEST_FILE))
    except ValueError as error:
        raise EngineError(f"{path}: is not valid JSON ({error}); remove it to measure from the start") from error
    known = content if isinstance(content, dict) else {}
    found = Rounds()
    faults: list[str] = []
    for entry in _entries(known, "rounds", faults):
        try:
            found.finished.append(_round(entry, networks, files))
        except ValueError as error:
            faults.append(_fault(error))
    for entry in _entries(known, "unfinished", faults):
        try:
            index, times = _VISIT.validate_python(entry)
            if index not in range(files):
                raise ValueError(f"file {index} of {files}")
            found.begun[index] = times
        except ValueError as error:
            faults.append(_fault(error))
    if faults:
        _LOG.warning("%s: holds values that cannot be true (%s); they are measured again", path, "; ".join(faults[:3]))
    return found


def _entries(content: dict[str, Any], key: str, faults: list[str]) -> Sequence[Any]:
    entries = content.get(key, [])
    if isinstance(entries, list):
        return entries
    faults.append(f"{key!r} is not a list")
    return []


def _round(entry: Any, networks: int, files: int) -> Round:
    """Raises `ValueError` if the entry is not a round of such a measurement."""
    found = _ROUND.validate_python(entry)
    if (len(found.networks), len(found.parts)) != (networks, files - networks):
        raise ValueError(f"times of {len(found.networks)} networks and {len(found.parts)} parts")
    if sorted(found.order) != list(range(files)):
        raise ValueError("an order that does not name each file once")
    return found


def _fault(error: ValueError) -> str:
    return fault_of(error) if isinstance(error, ValidationError) else printable(str(error))
