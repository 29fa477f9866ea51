"""Costs that a profile keeps when the same machine is measured in another precision. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from device_profiles.engine import ComputePrecision
from device_profiles.latency_table import LatencyTable, read_table
from device_profiles.profile import DeviceProfile
from device_profiles.profile_costs import CostParameters
from factory_base.documents import load_document
from factory_base.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptCosts:
    """Measured costs in the precisions that are not measured again.

    Attributes:
        path: The file that holds them.
        profile: The profile in it.
        costs: The costs to keep, at least one.
        tables: Their latency tables.
    """

    path: Path
    profile: DeviceProfile
    costs: Mapping[ComputePrecision, CostParameters]
    tables: tuple[LatencyTable, ...]

    def check_machine(self, machines: Mapping[ComputePrecision, str], space: str) -> None:
        """Check that new costs may stand beside the kept ones.

        Args:
            machines: What is measured now: the machine and its settings in words, by precision.
            space: Digest of the model space that is measured now, see `space_digest`.

        Raises:
            ConfigError: The kept costs are of another machine, engine, engine version or number of threads, or their
                table is of another model space.
        """
        ways = (
            f"measure all precisions in one run (`--precision fp32 --precision int8`), choose another --output, or "
            f"drop the costs in {', '.join(self.costs)} with --force"
        )
        for precision, costs in self.costs.items():
            if costs.machine != machines[precision]:
                raise ConfigError(
                    f"{self.path}: holds costs in {precision} of {costs.machine}, but now {machines[precision]} would "
                    f"be measured; {ways}"
                )
        for table in self.tables:
            if table.space != space:
                raise ConfigError(f"{self.path}: holds a table in {table.precision} of another model space; {ways}")


def kept_costs(path: Path, measured: Collection[ComputePrecision]) -> KeptCosts | None:
    """Return what the profile in `path` keeps if costs in `measured` are added to it; None if there is nothing to keep.

    Only measured costs are kept: modelled ones have no place beside measurements.

    Raises:
        ConfigError: The profile or a table that would be kept is damaged.
    """
    if not path.exists():
        return None
    profile = load_document(path, DeviceProfile)
    costs = {p: found for p, found in profile.all_costs.items() if found.machine and p not in measured}
    if not costs:
        return None
    references = [found.table for found in costs.values() if found.table is not None]
    tables = tuple(read_table(path.with_name(table.file), table.sha256) for table in references)
    return KeptCosts(path=path, profile=profile, costs=costs, tables=tables)
