"""The report shows worst classes and churn, and how measurement decided between finalists."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from model_factory.report.data import ChurnRow, FinalistRow, ReportData, WorstClass
from model_factory.report.render import changed_picks, proof_text, render_report
from search.target import Proof


def text_of(page: str) -> str:
    """The text of the page without elements, with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("<body>")[2]))


@pytest.fixture
def consistent(report: ReportData) -> ReportData:
    worst = WorstClass(label="nine <b>", accuracy=0.875, images=16, has_few_images=True)
    churn = ChurnRow(against="midrange", changed=0.061, gained=0.042, lost=0.013, same_model=False)
    lower, higher = (replace(tier, worst_class=worst, lowest_decile=0.87) for tier in report.tiers)
    return replace(report, tiers=(lower, replace(higher, churn=churn)))


def test_each_tier_has_its_worst_class_and_its_churn(consistent: ReportData) -> None:
    page = text_of(render_report(consistent))
    assert "flagship nine &lt;b&gt;: 87.5 % of 16 images, which is few midrange 6.1 % 4.2 % 1.3 %" in page
    assert "midrange nine &lt;b&gt;: 87.5 % of 16 images, which is few the lowest tier" in page


def test_a_tier_with_the_model_of_the_lower_one_says_so(consistent: ReportData) -> None:
    lower, higher = consistent.tiers
    assert higher.churn is not None
    same = replace(higher, churn=replace(higher.churn, same_model=True))
    page = text_of(render_report(replace(consistent, tiers=(lower, same))))
    assert "the same model as midrange" in page
    assert "6.1 %" not in page


@pytest.mark.parametrize(("classes", "shown"), [(10, False), (11, True)])
def test_the_lowest_tenth_is_shown_if_it_is_not_the_worst_class(consistent, classes: int, shown: bool) -> None:
    assert ("lowest tenth" in text_of(render_report(replace(consistent, labels_count=classes)))) == shown


def finalist(name: str, *, picked: bool, predicted: bool) -> FinalistRow:
    return FinalistRow(
        subnet_id=name, precision="fp32", predicted_accuracy=0.95, predicted_std=0.004, measured_accuracy=0.943,
        measured_images=5000, latency_us=1500.0, picked=picked, would_be_picked_by_prediction=predicted,
    )  # fmt: skip


def test_finalists_are_shown_with_what_the_measurement_changed(report: ReportData) -> None:
    kept = (finalist("aa", picked=True, predicted=True), finalist("bb", picked=False, predicted=False))
    changed = (finalist("cc", picked=True, predicted=False), finalist("dd", picked=False, predicted=True))
    fronts = tuple(replace(report.fronts[0], finalists=finalists) for finalists in (kept, changed, ()))
    assert changed_picks(fronts) == 1
    page = text_of(render_report(replace(report, fronts=fronts)))
    assert "The measurement changed the pick of 1 of 2 targets." in page
    assert "aa fp32, ◆ pick, best by prediction 95.00 % ± 0.40 94.30 % 1.5 ms" in page
    assert "cc fp32, ◆ pick 95.00 %" in page
    assert "dd fp32, best by prediction 95.00 %" in page


def test_a_pick_that_is_no_finalist_is_explained(report: ReportData) -> None:
    words = "it is the more accurate model of a lower tier"
    for picked in (False, True):
        front = replace(report.fronts[0], finalists=(finalist("aa", picked=picked, predicted=True),))
        assert (words in text_of(render_report(replace(report, fronts=(front,))))) != picked


PROOF = Proof(status="optimal", objective=0.9741, bound=0.9741, gap=0.0, pick=0.972, nodes=12, seconds=0.1)


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        (
            PROOF,
            "Proven: the best prediction inside the budgets is 97.41 %; the pick is predicted at 97.20 % (12 nodes).",
        ),
        (
            replace(PROOF, status="node limit", bound=0.98),
            "Not proven (node limit): the best prediction inside the budgets",
        ),
        (replace(PROOF, status="node limit", bound=0.98), "97.41 %, as far as was found, and none is above 98.00 %"),
        (
            replace(PROOF, status="no proof", bound=None),
            "Not proven (no proof): the pick is predicted at 97.20 %",
        ),
    ],
)
def test_what_the_solver_proved_is_a_sentence(report: ReportData, proof: Proof, words: str) -> None:
    assert words in proof_text(proof)
    front = replace(report.fronts[0], proof=proof)
    assert words in text_of(render_report(replace(report, fronts=(front,))))


def test_what_is_not_known_is_not_shown(report: ReportData) -> None:
    page = text_of(render_report(report))
    assert not any(words in page for words in ("Consistency", "finalist", "roven", "Recall of", "changed the pick"))
