"""Decides on a config for the data that were found."""

from __future__ import annotations

from pathlib import Path

from factory_base.foreign import printable
from factory_base.wording import counted
from model_factory.jobs.scaffolding.chosen import Chosen
from model_factory.jobs.scaffolding.for_images import choose_for_images
from model_factory.jobs.scaffolding.for_texts import choose_for_texts
from model_factory.jobs.scaffolding.found import FEW, Found, ImageSample

_NAMED = 12
"""Classes whose counts are listed; more would fill the page."""


def choose(found: Found, folder: Path) -> Chosen:
    """Decide on the sections of a config in `folder` for the data that were found."""
    if isinstance(found.sample, ImageSample):
        return choose_for_images(found, found.sample, folder)
    return choose_for_texts(found, found.sample, folder)


def unusual(found: Found) -> list[str]:
    """The class counts and whatever is unusual, as comment lines."""
    known = {name: count for name, count in found.counts.items() if count is not None}
    shown = ", ".join(f"{printable(name, 40)} {count:,}" for name, count in list(known.items())[:_NAMED])
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    lines = [f"Training examples: {shown}{more}." if known else f"Values to predict: {', '.join(found.counts)}."]
    few = sum(count < FEW for count in known.values())
    if few:
        lines.append(f"{counted(few, 'class has', 'classes have')} fewer than {FEW}.")
    return lines
