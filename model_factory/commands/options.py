"""Options that several commands share. This module imports nothing heavy, because every command line loads it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from model_factory.run import Run
    from model_factory.stages.train import OnMismatch
    from supernet.planning.plan import TrainingLimits

# Closed choices. They repeat the types and tables that they name, which are slow to import; a test compares the two.


class EngineName(StrEnum):
    """The keys of `exports.engines.ENGINES`."""

    onnxruntime = "onnxruntime"
    mnn = "mnn"


class PrecisionName(StrEnum):
    """The values of `device_profiles.engine.ComputePrecision`."""

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
    """The names of the shipped configs."""

    cifar10 = "cifar10"
    cifar10_gpu = "cifar10_gpu"
    cifar10_small = "cifar10_small"
    digits = "digits"
    imagenet = "imagenet"
    images = "images"
    mobile_int8 = "mobile_int8"
    sst2 = "sst2"


RunOption = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="A run folder, runs/<name>.", show_default=False)
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A config; by default the nearest factory.yaml in this folder or above, else the embedded digits.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace a profile that was measured, written by hand or edited.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
MaxHoursOption = Annotated[
    float | None,
    typer.Option(
        metavar="HOURS",
        help="Train for at most this many hours, with fewer epochs if need be; later commands keep to it.",
        show_default=False,
    ),
]
MaxMemoryOption = Annotated[
    float | None,
    typer.Option(
        metavar="GIB",
        help="Train in at most this much memory (of the GPU, if one trains), with smaller micro-batches if need be; "
        "later commands keep to it.",
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
FamilyArgument = Annotated[Path, typer.Argument(metavar="FAMILY", help="A family's folder or its manifest.")]


def chosen_run(run: Path | None, config: Path | None) -> Run:
    """The run of a command with these options; see `find_run`. Raises as that does."""
    from model_factory.run import find_run

    return find_run(run, config)


def limits(max_hours: float | None, max_memory_gib: float | None) -> TrainingLimits:
    """The limits on a training run. Raises `ConfigError` if one is not above zero."""
    from supernet.planning.plan import TrainingLimits

    return TrainingLimits(max_hours=max_hours, max_memory_gib=max_memory_gib)


def on_mismatch(retrain: bool, adopt: bool = False) -> OnMismatch:
    """What to do if the finished supernet is of another config. Raises `ConfigError` if both options are given."""
    from factory_base.errors import ConfigError

    if retrain and adopt:
        raise ConfigError("--retrain and --adopt exclude each other; give one of them")
    return "retrain" if retrain else "adopt" if adopt else "refuse"
