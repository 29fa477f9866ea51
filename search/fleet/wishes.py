"""What is wanted of a plan for a fleet. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a plan must keep.

    Attributes:
        models: The most models, at least 1; None for as many as pay.
        download: The most bytes of all models together; None for no limit.
        floor: The least metric of any class; None for none.
        charge: What a further model has to gain to pay, in units of the metric.
    """

    models: int | None = None
    download: int | None = None
    floor: float | None = None
    charge: float = 0.001
