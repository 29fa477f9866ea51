"""Every error that a user can cause. The command line prints its lines, usually one, and exits with `exit_code`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

_MOST_FAULTS = 20
"""Faults of one file that are stated: about as many as a terminal shows."""


class FactoryError(Exception):
    """Root of all expected errors.

    The message says what is wrong, names the offending value and what is allowed, and says what to do next.
    """

    exit_code: ClassVar[int] = 1

    def lines(self) -> tuple[str, ...]:
        """The message as it is printed, without line breaks in a line."""
        return (" ".join(str(self).split()),)


class ConfigError(FactoryError):
    """A file that people write (config, profile) or a command-line value is wrong.

    Args:
        message: The message, in one line.
        faults: The faults that the message lists, if there are several, which are then printed in a line each.
        heading: The line above them.
    """

    def __init__(self, message: str, faults: Sequence[str] = (), heading: str = "") -> None:
        super().__init__(message)
        self._printed = (heading, *faults) if faults else ()

    @classmethod
    def of_faults(cls, source: str, faults: Sequence[str]) -> Self:
        """The error for a file with at least one fault, of which the first 20 are stated."""
        if len(faults) == 1:
            return cls(f"{source}: {faults[0]}")
        stated = [" ".join(fault.split()) for fault in faults[:_MOST_FAULTS]]
        if len(faults) > _MOST_FAULTS:
            stated.append(f"and {len(faults) - _MOST_FAULTS} more")
        heading = f"{source}: {len(faults)} mistakes"
        return cls(f"{heading}: {'; '.join(stated)}", stated, heading)

    def lines(self) -> tuple[str, ...]:
        """See `FactoryError`; several faults in a file have a line each, below a heading."""
        return self._printed or super().lines()


class UnknownNameError(ConfigError):
    """A name is not known. The message does not say where it was written."""


class ForeignError(FactoryError):
    """A file or message from outside cannot be read safely: not a regular file, too large, or not what it should be."""


class DataError(FactoryError):
    """A data set is missing, damaged or unsuitable for training."""


class CheckpointError(FactoryError):
    """A checkpoint is missing, damaged or belongs to another model space."""


class SpaceError(FactoryError):
    """A subnet lies outside its search space, or a model space breaks the rules of weight sharing."""


class TrainingError(FactoryError):
    """Training cannot continue, for example because the loss is no longer finite."""


class PlanError(FactoryError):
    """No training schedule fits the limits on time and memory."""


class BudgetError(FactoryError):
    """No subnet meets a target's budgets."""


class EngineError(FactoryError):
    """An inference engine is missing, or refuses a model."""


class ParityError(FactoryError):
    """An exported file does not compute what the PyTorch module computes."""


class ManifestError(FactoryError):
    """A manifest is damaged, from another major version, or contradicts its files."""


class MissingRunError(FactoryError):
    """A command needs the output of an earlier command, which has not run."""


class BusyError(FactoryError):
    """Another process is working in the same folder."""


class DiskError(FactoryError):
    """A file could not be written: no space left, no permission."""


class IncomparableError(FactoryError):
    """Two families cannot be compared."""

    exit_code = 2


class TelemetryError(FactoryError):
    """Telemetry rows cannot be read, or allow no conclusion."""

    exit_code = 2
