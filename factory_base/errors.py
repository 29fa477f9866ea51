"""Every error that a user can cause. The command line prints the message on one line and exits with `exit_code`."""

from __future__ import annotations

from typing import ClassVar


class FactoryError(Exception):
    """Root of all expected errors.

    The message says what is wrong, names the offending value and what is allowed, and says what to do next.
    """

    exit_code: ClassVar[int] = 1


class ConfigError(FactoryError):
    """A file that people write (config, profile) or a command-line value is wrong."""


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
