"""Budgets: the most that one inference may take on a device. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from model_factory.base.documents import Document
from model_factory.base.quantities import DurationUs, SizeBytes, format_bytes, format_duration

if TYPE_CHECKING:
    from device_profiles.costs import Costs

BudgetName = Literal["latency", "peak_memory", "file_size"]

_FORMATS: dict[BudgetName, Callable[[float], str]] = {
    "latency": format_duration,
    "peak_memory": format_bytes,
    "file_size": format_bytes,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """One budget that is not kept.

    Attributes:
        value: what the subnet needs, in microseconds or bytes.
        limit: what is allowed, in the same unit.
        ratio: value / limit, above 1.
    """

    budget: BudgetName
    value: float
    limit: float
    ratio: float

    def describe(self) -> str:
        """One phrase for people: `latency 9.1 ms exceeds 8 ms`."""
        write = _FORMATS[self.budget]
        value, limit = write(self.value), write(self.limit)
        if value == limit:
            value = f"{value} (by {(self.ratio - 1) * 100:.2g} %)"
        return f"{self.budget.replace('_', ' ')} {value} exceeds {limit}"


class Budgets(Document):
    """Upper limits per inference (batch 1); a missing one does not limit.

    Files and constructors give quantities with units, under the short keys: `Budgets(latency="8 ms")`.
    """

    latency_us: DurationUs | None = Field(default=None, alias="latency")
    peak_memory_bytes: SizeBytes | None = Field(default=None, alias="peak_memory")
    file_bytes: SizeBytes | None = Field(default=None, alias="file_size")

    def overridden_by(self, other: Budgets) -> Budgets:
        """These budgets with every limit that `other` sets replaced."""
        changes: dict[str, Any] = other.model_dump(exclude_none=True)
        return self.model_copy(update=changes)

    def excesses(self, costs: Costs) -> tuple[Excess, ...]:
        """The budgets that `costs` breaks, the worst ratio first; empty means feasible."""
        found = [
            Excess(budget=name, value=value, limit=limit, ratio=value / limit)
            for name, value, limit in self._pairs(costs)
            if value > limit
        ]
        return tuple(sorted(found, key=lambda excess: -excess.ratio))

    def slack(self, costs: Costs) -> dict[str, float]:
        """The used share of every budget that is set: value / limit, at most 1 where it is kept."""
        return {name: value / limit for name, value, limit in self._pairs(costs)}

    def _pairs(self, costs: Costs) -> list[tuple[BudgetName, float, int]]:
        pairs: list[tuple[BudgetName, float, int | None]] = [
            ("latency", costs.latency_us, self.latency_us),
            ("peak_memory", costs.peak_memory_bytes, self.peak_memory_bytes),
            ("file_size", costs.file_bytes, self.file_bytes),
        ]
        return [(name, value, limit) for name, value, limit in pairs if limit is not None]
