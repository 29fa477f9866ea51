"""Writing a profile as people would: quantities with units, each sourced number on one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from device_profiles.latency_table import LatencyTable, write_table
from device_profiles.profile import DeviceProfile
from device_profiles.profile_costs import Provenance, TableReference
from factory_base.documents import load_document
from factory_base.errors import ConfigError, ForeignError
from factory_base.files import sha256_bytes, sha256_file, write_text
from factory_base.foreign import read_regular
from factory_base.quantities import WITH_UNITS

_MARK = b"# SHA-256 of the lines above, by which `factory` notices edits: "
_MOST_BYTES = 4 * 2**20
"""More than any profile takes; what is larger was written by somebody else."""


class _Line(dict[str, Any]):
    """A mapping that is written on one line."""


class _Dumper(yaml.SafeDumper):
    """Writes `_Line` in flow style."""


_Dumper.add_representer(_Line, lambda dumper, value: dumper.represent_mapping("tag:yaml.org,2002:map", value, True))


def write_profile(
    profile: DeviceProfile, path: Path, tables: Sequence[LatencyTable] = (), *, comment: Sequence[str] = ()
) -> DeviceProfile:
    """Write `profile` to `path` as YAML, atomically. Reading the file gives an equal profile.

    The last line is a comment with the digest of all others, from which `refuse_to_replace` knows later edits.

    Args:
        profile: The profile, without references to `tables`.
        path: File to write.
        tables: Latency tables, written first, beside the profile: the one in float32 as `<stem>.latency.json`, another
            as `<stem>.<precision>.latency.json`. The profile has costs in the precision of each.
        comment: Comment lines above the content, without the leading `#`.

    Returns:
        The profile as written, with the references to its tables.

    Raises:
        DiskError: A file cannot be written.
    """
    first = profile.precision
    for table in tables:
        costs = profile.costs_in(table.precision).model_copy(update={"table": _written(table, path)})
        profile = profile.stating({**profile.all_costs, table.precision: costs})
    profile = profile.computing_in(first)
    text = yaml.dump(_content(profile), Dumper=_Dumper, sort_keys=False, width=240, allow_unicode=True)
    text = "".join(f"# {line}\n" for line in comment) + text
    write_text(path, f"{text}{_MARK.decode()}{sha256_bytes(text.encode())}\n")
    return profile


def _written(table: LatencyTable, profile: Path) -> TableReference:
    """Write a table beside the file of its profile."""
    precision = "" if table.precision == "fp32" else f".{table.precision}"
    file = profile.with_name(f"{profile.stem}{precision}.latency.json")
    write_table(table, file)
    provenance: Literal["few_shot", "measured"] = "few_shot" if table.uncertainty else "measured"
    return TableReference(file=file.name, sha256=sha256_file(file), provenance=provenance)


def refuse_to_replace(path: Path, protected: Sequence[Provenance]) -> None:
    """Refuse to write a profile over one that took work to get.

    Args:
        path: The file that is to be written.
        protected: Provenances of latencies that are not replaced, even if nobody edited the file.

    Raises:
        ConfigError: `path` exists and was not written by `write_profile`, or was edited since, or its latencies have
            a protected provenance.
    """
    if not path.exists():
        return
    ways = "choose another --output, or replace it with --force"
    try:
        data = read_regular(path, _MOST_BYTES)
    except ForeignError as error:
        raise ConfigError(f"{error}; {ways}") from error
    above, _, last = data.removesuffix(b"\n").rpartition(b"\n")
    if last != _MARK + sha256_bytes(above + b"\n").encode():
        raise ConfigError(f"{path}: was written by hand, by an earlier version, or edited since; {ways}")
    profile = load_document(path, DeviceProfile)
    for precision in profile.all_costs:
        provenance = profile.computing_in(precision).latency_provenance
        if provenance in protected:
            raise ConfigError(f"{path}: holds {provenance} latencies; {ways}")


def _content(profile: DeviceProfile) -> dict[str, Any]:
    content = profile.model_dump(mode="json", by_alias=True, exclude_none=True, context=WITH_UNITS)
    for costs in (content["costs"], *content["more_costs"].values()):
        _put_on_lines(costs)
    if not content["more_costs"]:
        del content["more_costs"]
    content["selectors"] = {key: value for key, value in content["selectors"].items() if value != []}
    return content


def _put_on_lines(costs: dict[str, Any]) -> None:
    if not costs["machine"]:
        del costs["machine"]
    for kernel in costs["kernels"].values():
        kernel.update({key: _Line(figure) for key, figure in kernel.items()})
    lines = ("run_overhead_us", "arena_ratio", "engine_memory", "latency_std", "spread", "load", "peak", "table")
    if "energy" in costs:
        costs["energy"].update({key: _Line(figure) for key, figure in costs["energy"].items()})
    costs.update({key: _Line(costs[key]) for key in lines if key in costs})
