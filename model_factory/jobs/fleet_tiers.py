"""The tiers of a plan as the `targets` section of a config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from factory_base.files import write_text
from factory_base.foreign import printable
from factory_base.quantities import WITH_UNITS

if TYPE_CHECKING:
    from device_profiles.app_fleet import AppFleet
    from search.fleet.found import FleetFound, PlannedTier

_WIDTH = 118


def write_tiers(path: Path, fleet: AppFleet, found: FleetFound) -> None:
    """Write the file, atomically. Raises `DiskError`."""
    write_text(path, tiers_text(fleet, found))


def tiers_text(fleet: AppFleet, found: FleetFound) -> str:
    """The section, with comments on what it cannot say."""
    lines = [
        f"# Written by `factory plan` for the fleet {printable(fleet.name)}. Put it in place of the targets of your",
        "# config; then `factory build` exports these models. For a target that names its subnet nothing is searched.",
        "targets:",
    ]
    for tier in found.tiers:
        lines += _tier_lines(tier, found)
    return "\n".join(lines) + "\n"


def _tier_lines(tier: PlannedTier, found: FleetFound) -> list[str]:
    names = ", ".join(printable(name, 60) for name in tier.classes[:5])
    more = f" and {len(tier.classes) - 5:,} more" if len(tier.classes) > 5 else ""
    lines = [f"  # {names}{more}: {tier.share:.1%} of installs"]
    if tier.others:
        others = ", ".join(printable(name, 60) for name in tier.others[:5])
        lines.append(f"  # For {others} the plan has another model: it needs a profile with selectors of its own.")
    if tier.model is None:
        return [*lines, f"  # No model of the plan runs on all devices of {tier.profile}."]
    model = found.models[tier.model].variant
    values: dict[str, Any] = {
        "device": tier.profile,
        "budgets": tier.limits.model_dump(mode="json", by_alias=True, context=WITH_UNITS, exclude_none=True),
        "precisions": [model.precision],
        "subnet": model.subnet.to_dict(),
    }
    entry = yaml.safe_dump([values], sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=None)
    return [*lines, *(f"  {line}" for line in entry.rstrip("\n").split("\n"))]
