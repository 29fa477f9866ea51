"""Writing a profile as people would: quantities with units, each sourced number on one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from device_profiles.latency_table import LatencyTable, write_table
from device_profiles.profile import DeviceProfile, Provenance, TableReference
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
    profile: DeviceProfile, path: Path, table: LatencyTable | None = None, *, comment: Sequence[str] = ()
) -> DeviceProfile:
    """Write `profile` to `path` as YAML, atomically. Reading the file gives an equal profile.

    The last line is a comment with the digest of all others, from which `refuse_to_replace` knows later edits.

    Args:
        profile: The profile, without a reference to `table`.
        path: File to write.
        table: Latency table, written first, beside the profile, as `<stem>.latency.json`.
        comment: Comment lines above the content, without the leading `#`.

    Returns:
        The profile as written, with the reference to its table.

    Raises:
        DiskError: A file cannot be written.
    """
    if table is not None:
        file = path.with_name(f"{path.stem}.latency.json")
        write_table(table, file)
        reference = TableReference(
            file=file.name,
            sha256=sha256_file(file),
            provenance="few_shot" if table.uncertainty else "measured",
        )
        profile = profile.model_copy(update={"costs": profile.costs.model_copy(update={"table": reference})})
    text = yaml.dump(_content(profile), Dumper=_Dumper, sort_keys=False, width=240, allow_unicode=True)
    text = "".join(f"# {line}\n" for line in comment) + text
    write_text(path, f"{text}{_MARK.decode()}{sha256_bytes(text.encode())}\n")
    return profile


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
    provenance = load_document(path, DeviceProfile).latency_provenance
    if provenance in protected:
        raise ConfigError(f"{path}: holds {provenance} latencies; {ways}")


def _content(profile: DeviceProfile) -> dict[str, Any]:
    content = profile.model_dump(mode="json", by_alias=True, exclude_none=True, context=WITH_UNITS)
    costs = content["costs"]
    if not costs["machine"]:
        del costs["machine"]
    for kernel in costs["kernels"].values():
        kernel.update({key: _Line(figure) for key, figure in kernel.items()})
    lines = ("run_overhead_us", "arena_ratio", "engine_memory", "latency_std", "spread", "load", "peak", "table")
    if "energy" in costs:
        costs["energy"].update({key: _Line(figure) for key, figure in costs["energy"].items()})
    costs.update({key: _Line(costs[key]) for key in lines if key in costs})
    content["selectors"] = {key: value for key, value in content["selectors"].items() if value != []}
    return content
