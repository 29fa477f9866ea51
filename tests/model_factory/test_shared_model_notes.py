"""Targets that get the same model are named with the reason, and with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_profiles.budgets import Budgets
from device_profiles.costs import Costs
from device_profiles.profile import find_profile
from model_factory.build import shared_model_notes
from model_factory.stages.search import SearchOutcome
from search.target import Candidate, TargetResult
from supernet.space import SubnetConfig

BUDGETS = Budgets(latency="1 ms", file_size="100 KiB")


def candidate(width: int, accuracy: float, latency_us: float, file_bytes: int) -> Candidate:
    costs = Costs(latency_us=latency_us, peak_memory_bytes=1, file_bytes=file_bytes, macs=1)
    subnet = SubnetConfig((("width", width),))
    return Candidate(subnet=subnet, accuracy=accuracy, costs=costs, excesses=BUDGETS.excesses(costs))


def outcome(device: str, *others: Candidate) -> SearchOutcome:
    pick = candidate(8, 0.9, 500.0, 51_200)
    result = TargetResult(pick=pick, candidates=(pick, *others), new_trials=0)
    return SearchOutcome(found=find_profile(device, Path()), budgets=BUDGETS, result=result)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([candidate(16, 0.95, 1500.0, 90_000)], "exceeds only the budget for latency: raise that budget"),
        (
            [candidate(16, 0.95, 1500.0, 90_000), candidate(24, 0.96, 900.0, 200_000)],
            "exceeds only the budget for file size or latency: raise that budget",
        ),
        (
            [candidate(16, 0.95, 1500.0, 200_000)],
            "exceeds only the budgets for file size and latency: raise those budgets",
        ),
        ([candidate(4, 0.8, 1500.0, 90_000)], "the most accurate that was scored"),
    ],
)
def test_a_shared_model_is_explained(others, words):
    (note,) = shared_model_notes([outcome("speaker", *others), outcome("midrange", *others)])
    assert note.startswith("speaker, midrange get the same model")
    assert words in note


def test_unused_budgets_are_named_if_nothing_is_more_accurate():
    (note,) = shared_model_notes([outcome("speaker"), outcome("midrange")])
    assert "uses 50% of the budget for latency, 50% of the budget for file size" in note
    assert "add larger options to the model space" in note


def test_different_models_need_no_note():
    other = candidate(16, 0.95, 900.0, 90_000)
    result = TargetResult(pick=other, candidates=(other,), new_trials=0)
    found = find_profile("midrange", Path())
    assert shared_model_notes([outcome("speaker"), SearchOutcome(found=found, budgets=BUDGETS, result=result)]) == ()
