"""Field types of `model` sections for the options of a choice. Imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def _ascending(options: tuple[int | float, ...]) -> tuple[int | float, ...]:
    if list(options) != sorted(set(options)):
        raise ValueError(f"options {list(options)} must be ascending and distinct")
    return options


_Count = Field(min_length=1, max_length=64)
"""Limits on the options of one choice. All limits in this file only catch typing errors."""

Size = Annotated[int, Field(ge=1, le=65_536)]
"""A width, or another size of a network."""

Sizes = Annotated[tuple[Size, ...], _Count, AfterValidator(_ascending)]
"""Whole numbers from 1, ascending and distinct, for example widths or lengths."""

Depths = Annotated[tuple[Annotated[int, Field(ge=1, le=256)], ...], _Count, AfterValidator(_ascending)]
"""Numbers of blocks, ascending and distinct."""

Resolutions = Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], _Count, AfterValidator(_ascending)]
"""Sides of square images in pixels, ascending and distinct; at most the largest `image_size`."""

Kernels = Annotated[tuple[Annotated[int, Field(ge=1, le=63)], ...], _Count, AfterValidator(_ascending)]
"""Sides of kernels, ascending and distinct."""

Ratios = Annotated[tuple[Annotated[float, Field(gt=0, le=64)], ...], _Count, AfterValidator(_ascending)]
"""Ratios of widths, ascending and distinct, as float."""

Number = Annotated[int | float, Field(gt=0, le=1_000_000_000)]
"""A value of a field of somebody else's config class; a whole number remains int."""

Numbers = Annotated[tuple[Number, ...], _Count, AfterValidator(_ascending)]
"""Such values, ascending and distinct."""
