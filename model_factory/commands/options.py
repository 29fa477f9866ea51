"""Options that several commands share. Imports nothing heavy: every command line starts here."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from model_factory.run import Run
    from model_factory.stages.train import OtherTraining
    from supernet.planning.plan import TrainingLimits

# Closed choices. Tests compare them with the types and tables that they name, which would be slow to import here.


class EngineName(StrEnum):
    """The keys of `exports.engines.ENGINES`."""

    onnxruntime = "onnxruntime"
    mnn = "mnn"


class PrecisionName(StrEnum):
    """The values of `device_profiles.engine.Precision`."""

    fp32 = "fp32"
    int8 = "int8"


class PlatformName(StrEnum):
    """The values of `device_profiles.profile.Platform`."""

    android = "android"
    ios = "ios"
    web = "web"
    linux_iot = "linux_iot"
    linux = "linux"


class RoundingName(StrEnum):
    """The values of `device_profiles.telemetry.fit.Rounding`."""

    nearest = "nearest"
    down = "down"


class TemplateName(StrEnum):
    """The configs that ship."""

    cifar10 = "cifar10"
    cifar10_gpu = "cifar10_gpu"
    digits = "digits"
    imagenet = "imagenet"
    mobile_int8 = "mobile_int8"


RunOption = Annotated[Path | None, typer.Option("--run", help="A run folder (runs/<name>).", show_default=False)]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="A config; default is the nearest factory.yaml upward.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
MaxHoursOption = Annotated[
    float | None,
    typer.Option(help="Train for at most this long, with fewer epochs; kept for later commands.", show_default=False),
]
MaxMemoryOption = Annotated[
    float | None,
    typer.Option(
        help="Train in at most this much memory (the GPU's if it trains), with smaller micro-batches.",
        show_default=False,
    ),
]
RetrainOption = Annotated[
    bool, typer.Option("--retrain", help="Replace a finished supernet that was trained with another config.")
]
AdoptOption = Annotated[
    bool,
    typer.Option("--adopt", help="Keep a finished supernet that was trained with another config, and train nothing."),
]
FamilyArgument = Annotated[Path, typer.Argument(help="A family's folder or its manifest.")]


def chosen_run(run: Path | None, config: Path | None) -> Run:
    """The run that `--run` or `--config` names; see `find_run`."""
    from model_factory.run import find_run

    return find_run(run, config)


def limits(max_hours: float | None, max_memory_gib: float | None) -> TrainingLimits:
    """The limits on a training run. Raises `ConfigError` if one is not above zero."""
    from supernet.planning.plan import TrainingLimits

    return TrainingLimits(max_hours=max_hours, max_memory_gib=max_memory_gib)


def other_training(retrain: bool, adopt: bool = False) -> OtherTraining:
    """What to do about a finished supernet of another config. Raises `ConfigError` if both flags are given."""
    from factory_base.errors import ConfigError

    if retrain and adopt:
        raise ConfigError("--retrain and --adopt exclude each other; give one of them")
    return "retrain" if retrain else "adopt" if adopt else "refuse"
