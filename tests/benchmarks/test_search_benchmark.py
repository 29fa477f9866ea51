"""`benchmarks/search_optimum.py` in its short space."""

from __future__ import annotations


def test_the_optimum_is_proven_and_the_evolution_is_never_better(quick) -> None:
    result = quick("search_optimum", "--budgets", "2", "--targets", "2", "--calls", "800")
    assert result["gap"] == 0
    assert result["never_below"] is True
    assert result["spaces"]["wide"]["shortfall"]["median"] >= 0
    assert 0 < result["median_seconds"] <= result["worst_seconds"]
    assert result["trace_seconds"] > 0
    assert result["fleet_seconds"] > 0
