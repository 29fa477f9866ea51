"""Writing a profile as people would: quantities with units, one line per figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from device_profiles.profile import DeviceProfile
from model_factory.base.files import write_text

_SIZES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))
_DURATIONS = (("s", 10**6), ("ms", 10**3), ("us", 1))


class _Line(dict[str, Any]):
    """A mapping that is written on one line."""


class _Dumper(yaml.SafeDumper):
    """Writes `_Line` in flow style."""


_Dumper.add_representer(_Line, lambda dumper, value: dumper.represent_mapping("tag:yaml.org,2002:map", value, True))


def write_profile(profile: DeviceProfile, path: Path) -> None:
    """Write `profile` to `path` as YAML, atomically; reading it gives an equal profile. Raises `DiskError`."""
    write_text(path, yaml.dump(_content(profile), Dumper=_Dumper, sort_keys=False, width=240, allow_unicode=True))


def _content(profile: DeviceProfile) -> dict[str, Any]:
    content = profile.model_dump(mode="json", by_alias=True, exclude_none=True)
    _rewrite(content["budgets"], ("latency",), _DURATIONS)
    _rewrite(content["budgets"], ("peak_memory", "file_size"), _SIZES)
    _rewrite(content["selectors"], ("ram_class_min", "ram_class_max"), _SIZES)
    costs = content["costs"]
    _rewrite(costs["engine_memory"], ("value",), _SIZES)
    for kernel in costs["kernels"].values():
        kernel.update({key: _Line(figure) for key, figure in kernel.items()})
    costs.update({key: _Line(costs[key]) for key in ("run_overhead_us", "arena_ratio", "engine_memory")})
    content["selectors"] = {key: value for key, value in content["selectors"].items() if value != []}
    return content


def _rewrite(values: dict[str, Any], keys: tuple[str, ...], units: tuple[tuple[str, int], ...]) -> None:
    """Replace whole numbers of the smallest unit by text in the largest unit that loses nothing."""
    for key in keys:
        if key in values:
            name, factor = next((name, factor) for name, factor in units if values[key] % factor == 0)
            values[key] = f"{values[key] // factor} {name}"
