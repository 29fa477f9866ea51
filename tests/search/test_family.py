"""A higher tier is never less accurate than a lower one whose model it could run, and unused budgets are explained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device_profiles.budgets import Budgets
from device_profiles.costs import Costs
from search.family import RankedPick, TargetPick, in_order_of_rank, pick_notes
from search.target import Candidate
from search.variant import Variant
from supernet.space import SubnetConfig

ACCURACY = {1: 0.90, 2: 0.92, 3: 0.94, 4: 0.91, 5: 0.92, 6: 0.93}
"""The subnets of all tables: the width, and the held-out accuracy. The latency is 1 ms per unit of width."""


def subnet(width: int) -> SubnetConfig:
    return SubnetConfig((("width", width),))


def costs(width: int, slowness: float = 1.0) -> Costs:
    return Costs(latency_us=1000.0 * width * slowness, peak_memory_bytes=width, file_bytes=width, macs=width)


def candidate(width: int, budgets: Budgets, slowness: float = 1.0) -> Candidate:
    found = costs(width, slowness)
    budget = budgets.excesses(found)
    return Candidate(subnet=subnet(width), accuracy=ACCURACY[width], images=1000, costs=found, excesses=budget)


def compare(first: Variant, second: Variant) -> tuple[float, float]:
    return ACCURACY[int(first.subnet["width"])] - ACCURACY[int(second.subnet["width"])], 0.006


def ranked(name: str, rank: int, width: int, latency: str = "9 ms", platform: str = "android") -> RankedPick:
    budgets = Budgets(latency=latency)

    def judge(chosen: Variant):
        found = candidate(int(chosen.subnet["width"]), budgets, slowness=1 / rank)
        return found.costs, found.excesses

    return RankedPick(name=name, platform=platform, rank=rank, pick=candidate(width, budgets, 1 / rank), judge=judge)


def widths(*targets: RankedPick) -> list[int]:
    return [int(pick.subnet["width"]) for pick in in_order_of_rank(targets, compare)[0]]


@pytest.mark.parametrize(
    ("picked", "expected"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([2, 1, 3], [2, 2, 3]),
        ([3, 1, 2], [3, 3, 3]),
        ([3, 2, 1], [3, 3, 3]),
        ([1, 3, 2], [1, 3, 3]),
        ([2, 5, 2], [2, 5, 2]),
    ],
)
def test_a_higher_tier_is_never_less_accurate(picked, expected):
    assert widths(*(ranked(f"tier{rank}", rank, width) for rank, width in enumerate(picked, 1))) == expected


def test_a_model_over_the_budget_of_the_higher_tier_is_not_taken():
    middle = ranked("midrange", 2, 1, latency="1.4 ms")
    assert widths(ranked("entry", 1, 3), middle, ranked("flagship", 3, 2)) == [3, 1, 3]


def test_other_platforms_are_not_compared():
    assert widths(ranked("phone", 1, 3), ranked("speaker", 2, 1, platform="linux")) == [3, 1]


def test_the_order_of_the_targets_does_not_matter():
    low, middle, high = ranked("entry", 1, 3), ranked("midrange", 2, 1), ranked("flagship", 3, 2)
    assert widths(high, low, middle) == [3, 3, 3]


def test_of_two_models_that_are_equally_accurate_the_faster_is_taken():
    assert widths(ranked("entry", 1, 5), ranked("midrange", 2, 2), ranked("flagship", 3, 1)) == [5, 2, 2]


def test_a_model_that_rises_is_judged_for_its_new_tier_and_named():
    picks, notes = in_order_of_rank([ranked("entry", 1, 3), ranked("midrange", 2, 4)], compare)
    assert picks[1] == candidate(3, Budgets(latency="9 ms"), slowness=0.5)
    assert notes == (
        "midrange gets the model of entry, which keeps its budgets and is more accurate on the held-out images than "
        "its own pick: 94.00% and 91.00%, a difference of +3.00 ± 0.60 points",
    )


def test_picks_in_order_need_no_note():
    assert in_order_of_rank([ranked("entry", 1, 1), ranked("midrange", 2, 2)], compare)[1] == ()


def target(name: str, picked: int, scored: list[int], budgets: Budgets) -> TargetPick:
    return TargetPick(
        name=name,
        budgets=budgets,
        pick=candidate(picked, budgets),
        candidates=tuple(candidate(width, budgets) for width in scored),
    )


@pytest.mark.parametrize(
    ("picked", "scored", "words"),
    [
        (3, [1, 3, 4, 5], f"(of 2) is {subnet(5).id}, with a held-out accuracy of 92.00% against 94.00%"),
        (3, [3, 4], "a difference of -3.00 ± 0.60 points on the 1,000 images that both were scored on: it is worse"),
        (
            2,
            [2, 5],
            "on the 1,000 images that both were scored on: it is not better",
        ),
        (
            2,
            [2, 6],
            "scored on: the difference is too small to tell them apart",
        ),
        (1, [1, 2], "it is better on these images, which may be too few"),
        (3, [1, 3], "no scored subnet that costs more is more accurate; add larger options"),
    ],
)
def test_a_target_that_leaves_its_budget_unused_is_told_why(picked, scored, words):
    (note,) = pick_notes([target("lab", picked, scored, Budgets(latency="8 ms"))], compare)
    assert note.startswith(f"lab gets a model that uses at most {picked / 8:.0%} of a budget: ")
    assert words in note


def test_a_subnet_that_was_scored_on_more_images_counts_before_one_that_did_better_on_few():
    many = target("lab", 1, [1, 4, 2], Budgets(latency="8 ms"))
    lucky = replace(many.candidates[2], images=100)
    (note,) = pick_notes([replace(many, candidates=(*many.candidates[:2], lucky))], compare)
    assert f"(of 2) is {subnet(4).id}, with a held-out accuracy of 91.00%" in note


def test_of_several_budgets_the_one_that_is_used_most_counts():
    (note,) = pick_notes([target("lab", 2, [2], Budgets(latency="8 ms", file_size="20 B"))], compare)
    assert note.startswith("lab gets a model that uses at most 25% of a budget")


@pytest.mark.parametrize("budgets", [Budgets(), Budgets(latency="2.2 ms"), Budgets(latency="9 ms", file_size="2 B")])
def test_a_target_that_uses_a_budget_or_has_none_needs_no_note(budgets):
    assert pick_notes([target("lab", 2, [1, 2, 3], budgets)], compare) == ()


@pytest.mark.parametrize(
    ("budgets", "scored", "words"),
    [
        (Budgets(latency="2 ms"), [2, 3], "exceeds only the budget for latency: raise that budget"),
        (Budgets(file_size="2 B"), [2, 3], "exceeds only the budget for file size: raise that budget"),
        (
            Budgets(latency="2 ms", file_size="2 B"),
            [2, 3],
            "exceeds only the budgets for file size and latency: raise those budgets",
        ),
        (
            Budgets(latency="2 ms"),
            [1, 2, 4],
            "the most accurate that was scored; on lab it uses 100% of the budget for",
        ),
        (Budgets(), [1, 2], "on lab it uses no budget: add larger options to the model space, or remove all but one"),
    ],
)
def test_a_shared_model_is_explained(budgets, scored, words):
    (note,) = pick_notes([target(name, 2, scored, budgets) for name in ("lab", "phone")], compare)
    assert note.startswith("lab, phone get the same model")
    assert words in note


def test_targets_with_the_same_reason_share_a_sentence():
    loose = [target(name, 2, [2, 4], Budgets(latency=limit)) for name, limit in (("lab", "9 ms"), ("phone", "8 ms"))]
    (note,) = pick_notes(loose, compare)
    assert note.startswith("lab, phone get the same model, which uses at most 22%, 25% of a budget: the best scored")


def test_a_target_is_given_one_reason():
    tight, loose = Budgets(latency="2 ms"), Budgets(latency="9 ms")
    shared, unused = pick_notes([target("lab", 2, [2, 3], tight), target("phone", 2, [2, 4], loose)], compare)
    assert shared.startswith("lab, phone get the same model; on lab a more accurate scored subnet exceeds only")
    assert unused.startswith("phone gets a model that uses at most 22% of a budget: the best scored subnet that")
    differing = [target("lab", 2, [2, 4], loose), target("phone", 2, [2], loose)]
    assert [note.partition(" get")[0] for note in pick_notes(differing, compare)] == ["lab, phone", "lab", "phone"]


def test_different_models_need_no_note():
    assert pick_notes([target("lab", 2, [2], Budgets()), target("phone", 3, [3], Budgets())], compare) == ()
