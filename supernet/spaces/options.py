"""Field types of `model` sections for the options of a choice. Imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def _ascending(options: tuple[int | float, ...]) -> tuple[int | float, ...]:
    if list(options) != sorted(set(options)):
        raise ValueError(f"options {list(options)} must be ascending and distinct")
    return options


Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), AfterValidator(_ascending)]
"""Whole numbers from 1, ascending and distinct, for example widths, depths or lengths."""

Ratios = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1), AfterValidator(_ascending)]
"""Numbers above 0, ascending and distinct, as float."""

Numbers = Annotated[tuple[Annotated[int | float, Field(gt=0)], ...], Field(min_length=1), AfterValidator(_ascending)]
"""Numbers above 0, ascending and distinct; whole numbers remain int."""
