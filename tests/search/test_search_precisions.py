"""Precision as a choice of the search: an int8 phone, known truths, and files that may turn out otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.engine import Precision
from device_profiles.profile import find_profile
from factory_base.errors import BudgetError, EngineError, ParityError, SpaceError
from search.config import SearchConfig
from search.decision import Measured, decide
from search.device_target import Alternatives, Target, smallest_files
from search.rounds import search_targets
from search.scored import Scored, pooled_difference
from search.target import SearchResult
from search.variant import Variant
from supernet.space import SubnetConfig

CONFIG = SearchConfig(sampler="random", shared_subnets=12, trials_per_target=2, rounds=1, finalists=4)
HELDOUT = 2000
DROPS: dict[str, float] = {"fp32": 0.0, "fp16": 0.0, "int8": 0.002}
"""What each precision costs in accuracy."""


class Scorer:
    """Scores variants by the known truth less the drop of the precision, and keeps what it was asked for."""

    def __init__(self, scored, truth) -> None:
        self._scored, self._truth, self.drops = scored, truth, dict(DROPS)
        self.asked: list[tuple[Variant, int, str]] = []

    def __call__(self, variants: Sequence[Variant], images: int, purpose: str) -> list[Scored]:
        self.asked += [(variant, images, purpose) for variant in variants]
        return [self.of(variant, images) for variant in variants]

    def of(self, variant: Variant, images: int = HELDOUT, more: float = 0.0) -> Scored:
        accuracy = self._truth(variant.subnet) - self.drops[variant.precision] + more
        return replace(self._scored(variant.subnet, accuracy, images), variant=variant.precision)


@pytest.fixture
def scorer(scored, truth) -> Scorer:
    return Scorer(scored, truth)


@pytest.fixture
def phone_in(workloads) -> Callable[..., Alternatives]:
    """`phone_in("int8", "fp16", latency="1 ms")`: the targets of a phone."""

    def make(*precisions: Precision, **budgets: str) -> Alternatives:
        found = find_profile("midrange", Path())
        return tuple(Target(costs=DeviceCosts(workloads, found, p), budgets=Budgets(**budgets)) for p in precisions)

    return make


@pytest.fixture
def search(space, workloads, scorer):
    def run(*devices: Alternatives, **options) -> SearchResult:
        return search_targets(devices, space, workloads, scorer, HELDOUT, CONFIG, 0, **options)

    return run


@pytest.fixture
def tight(phone_in, space) -> str:
    """A latency that the middle of the space keeps in fp32, and larger subnets keep in int8."""
    low, high = (c.latency_us for c in phone_in("fp32")[0].costs.of([space.smallest, space.largest]))
    return f"{(low * high) ** 0.5:.0f} us"


def test_a_larger_subnet_in_int8_is_picked_where_fp32_does_not_keep_the_budget(search, phone_in, tight, truth) -> None:
    chosen = search(phone_in("int8", "fp16", "fp32", latency=tight)).targets[0]
    alone = search(phone_in("fp32", latency=tight)).targets[0]
    assert chosen.pick.precision == "int8"
    assert alone.pick.precision == "fp32"
    assert truth(chosen.pick.subnet) - DROPS["int8"] > truth(alone.pick.subnet)


def test_a_precision_that_costs_too_much_accuracy_is_not_picked(search, phone_in, scorer) -> None:
    scorer.drops["int8"] = 0.2
    (found,) = search(phone_in("int8", "fp16", "fp32")).targets
    assert found.pick.precision == "fp16"


def test_precisions_are_compared_by_a_few_subnets_and_only_finalists_are_scored_in_their_own(
    search, phone_in, tight, scorer
) -> None:
    result = search(phone_in("int8", "fp32", latency=tight))
    (offset,) = result.offsets
    assert (offset.precision, offset.subnets, offset.images) == ("int8", 4, 1000)
    assert offset.mean == pytest.approx(-DROPS["int8"], abs=2 * offset.error)
    rounds = {purpose for variant, _, purpose in scorer.asked if variant.precision == "int8"}
    assert rounds == {"int8", "final"}
    proposed = [variant for variant, _, purpose in scorer.asked if purpose.startswith("round")]
    assert len(proposed) <= CONFIG.trials_per_target


def test_the_proof_holds_over_all_precisions(search, phone_in, tight) -> None:
    both = search(phone_in("int8", "fp32", latency=tight)).targets[0].proof
    alone = [search(phone_in(precision, latency=tight)).targets[0].proof for precision in ("int8", "fp32")]
    assert both.status == "optimal"
    assert both.pick <= both.bound + 1e-6
    assert both.bound > min(proof.bound for proof in alone)


def test_a_search_that_starts_from_scores_compares_the_same_subnets_without_scoring_them(
    search, phone_in, scorer
) -> None:
    first = search(phone_in("int8", "fp32"))
    scorer.asked.clear()
    again = search(phone_in("int8", "fp32"), start=first.scored)
    assert [purpose for _, _, purpose in scorer.asked if purpose == "int8"] == []
    assert again.offsets == first.offsets


def test_a_precision_without_a_subnet_inside_the_budgets_is_left_out_with_a_note(search, phone_in, space) -> None:
    smallest = [t.costs.of([space.smallest])[0].file_bytes for t in phone_in("fp16", "fp32")]
    (found,) = search(phone_in("fp16", "fp32", file_size=f"{sum(smallest) // 2} B")).targets
    assert {candidate.precision for candidate in found.candidates} == {"fp16"}
    assert found.notes == ("midrange gets no fp32 file: no subnet keeps its budgets",)


def test_a_budget_that_no_precision_keeps_is_an_error_that_names_them(search, phone_in, scorer) -> None:
    with pytest.raises(BudgetError, match=r"target 'midrange': none of .* \(in int8; none does in fp32\)"):
        search(phone_in("int8", "fp32", latency="1 us"))
    assert not scorer.asked


def test_a_network_that_cannot_be_quantised_gets_another_precision_or_an_error(
    space, workloads, phone_in, scorer
) -> None:
    def score(variants: Sequence[Variant], images: int, purpose: str) -> list[Scored]:
        if variants and variants[0].precision == "int8":
            raise SpaceError("attention hides its matrix products")
        return scorer(variants, images, purpose)

    def run(*precisions: Precision) -> SearchResult:
        return search_targets([phone_in(*precisions)], space, workloads, score, HELDOUT, CONFIG, 0)

    (found,) = run("int8", "fp32").targets
    assert found.pick.precision == "fp32"
    assert found.notes == ("midrange gets no int8 file: attention hides its matrix products",)
    with pytest.raises(SpaceError, match="target 'midrange': int8 is not possible: attention hides"):
        run("int8")


def test_the_accuracy_of_the_file_decides(search, phone_in, scorer, tight) -> None:
    device = phone_in("int8", "fp32", latency=tight)
    (expected,) = search(device).targets

    def measure(_: Target, candidate) -> Measured:
        worse = -0.3 if candidate.precision == "int8" else 0.0
        file = replace(scorer.of(candidate.variant, more=worse), variant=f"{candidate.precision} file")
        return Measured(costs=candidate.costs, scored=file)

    result = search(device, measure=measure)
    (found,) = result.targets
    assert expected.pick.precision == "int8"
    assert (found.pick.precision, found.pick.is_of_file) == ("fp32", True)
    assert result.offsets[0].files > 0
    assert result.offsets[0].file_mean == pytest.approx(-0.3, abs=0.02)
    assert {s.variant for s in result.scored} == {"fp32", "int8", "fp32 file", "int8 file"}


def test_if_files_cannot_be_made_in_a_precision_finals_are_held_among_the_others(search, phone_in, tight) -> None:
    def measure(_: Target, candidate) -> Measured:
        if candidate.precision == "int8":
            raise EngineError("layer conv3: is always 0")
        return Measured(costs=candidate.costs)

    (found,) = search(phone_in("int8", "fp32", latency=tight), measure=measure).targets
    assert (found.pick.precision, found.pick.images) == ("fp32", HELDOUT)
    assert "midrange gets no int8 file: subnet " in found.notes[0]
    assert found.notes[0].endswith("layer conv3: is always 0")
    with pytest.raises(EngineError, match=r"in int8: layer conv3: is always 0"):
        search(phone_in("int8"), measure=measure)


def test_a_file_that_computes_something_else_is_passed_over_with_a_note(phone_in, space, scorer) -> None:
    bad = Variant(subnet=space.largest, precision="int8")
    scores = [scorer.of(bad), scorer.of(Variant(subnet=space.smallest, precision="int8"))]

    def measure(_: Target, candidate) -> Measured:
        if candidate.variant == bad:
            raise ParityError("top-1 agreement 0.2")
        return Measured(costs=candidate.costs)

    decision = decide(phone_in("int8"), scores, measure)
    assert decision.pick.subnet == space.smallest
    assert decision.notes == (f"midrange: subnet {bad.describe()}: top-1 agreement 0.2; another one was taken",)


def test_budgets_hold_for_the_bytes_of_the_file(phone_in, space, scorer) -> None:
    scores = [scorer.of(Variant(subnet=s, precision="int8")) for s in (space.largest, space.smallest)]
    limit = phone_in("int8")[0].costs.of([space.largest])[0].file_bytes

    def measure(_: Target, candidate) -> Measured:
        return Measured(costs=replace(candidate.costs, file_bytes=candidate.costs.file_bytes + 1))

    decision = decide(phone_in("int8", file_size=f"{limit} B"), scores, measure)
    assert decision.pick.subnet == space.smallest


def test_of_precisions_that_compute_alike_the_smallest_files_get_proposals(phone_in, space) -> None:
    targets = smallest_files(phone_in("int8", "fp16", "fp32"), space)
    assert [target.precision for target in targets] == ["int8", "fp16"]
    assert [target.precision for target in smallest_files(phone_in("fp32"), space)] == ["fp32"]


def test_differences_are_pooled_over_pairs() -> None:
    subnet = SubnetConfig((("width", 1),))

    def pair(a: str, b: str) -> tuple[Scored, Scored]:
        return Scored(subnet=subnet, images=8, correct=a), Scored(subnet=subnet, images=8, correct=b)

    difference, error = pooled_difference([pair("ff", "fe"), pair("ff", "ff"), pair("7f", "ff")])
    assert difference == 0
    assert error == pytest.approx((4 / 26**2) ** 0.5)
