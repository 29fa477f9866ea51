"""How the further figures of a model changed between two families, for people to read: no limit applies to them."""

from __future__ import annotations

from dataclasses import dataclass

from exports.family.records import PPM, Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureChange:
    """One figure of the evaluation before and after, such as `balanced_accuracy`, as a fraction."""

    name: str
    old: float
    new: float


def measure_changes(old: Quality, new: Quality) -> tuple[MeasureChange, ...]:
    """The figures that both manifests state, by name."""
    before, after = old.measures or {}, new.measures or {}
    common = sorted(before.keys() & after.keys())
    return tuple(MeasureChange(name=name, old=before[name] / PPM, new=after[name] / PPM) for name in common)
