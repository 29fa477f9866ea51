"""The `search` section of a config. Imports neither torch nor optuna."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from factory_base.documents import HANDLING, Document


class SearchConfig(Document):
    """How subnets are scored and chosen. Limits on numbers only catch typing errors."""

    shared_subnets: int = Field(default=40, ge=4, le=100_000)
    """Subnets scored once for all targets, spread evenly over the logarithm of their MACs."""
    trials_per_target: int = Field(default=4, ge=0, le=100_000)
    """Subnets scored for one target alone: those of highest predicted accuracy inside its budgets."""
    feasible_per_target: int = Field(default=8, ge=1, le=100_000)
    """A target with fewer scored subnets inside its budgets gets as many new ones as are missing."""
    pool: int = Field(default=400, ge=20, le=1_000_000)
    """Subnets whose costs and accuracy are predicted, but not scored, to find the trials of one target."""
    calibration_images: int = Field(default=4000, ge=2, le=100_000_000)
    """The most training images used for the recalibration of batch normalisation. The number that is needed is found
    once per trained supernet, for all subnets: the first of 500, 1000, 2000, ... that changes almost nothing compared
    with the one before."""
    calibration_tolerance: float = Field(default=0.01, ge=0, le=1)
    """What counts as almost nothing: the mean change (total variation) of the class probabilities of the subnet that
    changes most, which bounds the change to expect of an accuracy. 0 uses `calibration_images` without trying fewer."""
    storage: Annotated[str | None, HANDLING] = None
    """The URL of an Optuna storage, for example `postgresql://...`; the default is SQLite in the run folder."""
