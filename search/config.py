"""The `search` section of a config. Imports neither torch nor optuna."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from factory_base.documents import HANDLING, Document

SamplerName = Literal["exact", "tpe", "nsga2", "gp", "random", "exhaustive"]


class SearchConfig(Document):
    """How subnets are scored and chosen. Limits on numbers only catch typing errors."""

    sampler: SamplerName = "exact"
    """What proposes subnets. `exact` maximises a predictor of the accuracy inside each target's budgets with an integer
    program; `tpe`, `nsga2` and `gp` are Optuna's samplers, `random` draws, and `exhaustive` scores the whole space."""
    shared_subnets: int = Field(default=40, ge=4, le=100_000)
    """Subnets scored first, whatever the targets are: the smallest, the largest, and random ones spread evenly over the
    logarithm of their MACs."""
    trials_per_target: int = Field(default=4, ge=0, le=100_000)
    """The most subnets scored afterwards, for each target; `exhaustive` ignores it. All targets choose among all scored
    subnets."""
    rounds: int = Field(default=4, ge=1, le=10_000)
    """The rounds in which these are proposed: each learns from the scores of the ones before."""
    score_images: int = Field(default=1000, ge=2, le=100_000_000)
    """The most held-out images on which a subnet is scored first."""
    final_images: int | None = Field(default=None, ge=0, le=100_000_000)
    """Held-out images kept back to tell the finalists of each target apart; by default half of the held-out images."""
    finalists: int = Field(default=8, ge=1, le=1000)
    """The most promising subnets of each target, which are scored on more images. Each time that the number of images
    doubles, the better half stays, and at least the best two are scored on all."""
    calibration_images: int = Field(default=4000, ge=2, le=100_000_000)
    """The most training images used for the recalibration of batch normalisation. The number that is needed is found
    once per trained supernet, for all subnets: the first of 500, 1000, 2000, ... that changes almost nothing compared
    with the one before."""
    calibration_tolerance: float = Field(default=0.01, ge=0, le=1)
    """What counts as almost nothing: the mean change (total variation) of the class probabilities of the subnet that
    changes most, which bounds the change to expect of an accuracy. 0 uses `calibration_images` without trying fewer."""
    feasible_per_target: Annotated[int | None, HANDLING] = Field(default=None, ge=1, le=100_000)
    """Has no effect any more. Configs of earlier versions have it, and a line says that it can be removed."""
    pool: Annotated[int | None, HANDLING] = Field(default=None, ge=20, le=1_000_000)
    """As `feasible_per_target`."""
    storage: Annotated[str | None, HANDLING] = None
    """Where scores are kept: the URL of a database such as `postgresql+pg8000://USER:PASSWORD@HOST/NAME` (extra
    `[postgresql]`), `grpc://HOST:PORT` for a proxy of Optuna (extra `[grpc]`), `journal:///PATH` or `sqlite:///PATH`
    for a file; the default is SQLite in the run folder. Workers on several machines share it."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """Keys of earlier versions that are given and have no effect."""
        return tuple(key for key in ("feasible_per_target", "pool") if getattr(self, key) is not None)
