"""The report shows what each model is worth: recalls, confusions, calibration and the majority baseline."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from model_factory.report.confusion import confusion_svg
from model_factory.report.data import QualityRow, ReportData
from model_factory.report.quality import class_rows
from model_factory.report.reliability import reliability_svg
from model_factory.report.render import render_report
from supernet.tasks.measures import (
    ClassMeasures,
    Measures,
    class_measures,
    label_measures,
    predicted_class_measures,
    value_measures,
)


def text_of(page: str) -> str:
    """The text of the page without elements, with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("<body>")[2]))


def measures(classes: int, examples: int = 400, seed: int = 0) -> ClassMeasures:
    """A model that confuses each class with the next one, and never answers the last."""
    generator = np.random.default_rng(seed)
    labels = np.arange(examples) % classes
    logits = generator.normal(size=(examples, classes))
    logits[np.arange(examples), labels] += 3
    logits[np.arange(examples), (labels + 1) % classes] += 2
    logits[:, -1] -= 20
    return class_measures(logits, labels)


def with_quality(report: ReportData, *found: Measures, names: int = 0) -> ReportData:
    rows = tuple(
        QualityRow(model_id=f"model-{index}", targets=(f"target {index}", "other"), measures=one)
        for index, one in enumerate(found)
    )
    named = tuple(f"class <{index}>" for index in range(names or len(found[0].classes)))
    return replace(report, quality=rows, class_names=named)


def test_each_model_has_its_figures_with_their_intervals(report):
    labels = np.repeat([0, 1], [60, 40])
    found = predicted_class_measures(np.where(np.arange(100) < 70, 0, 1), labels, 2)
    page = text_of(render_report(with_quality(report, found)))
    assert "Always answering class &lt;0&gt;, the most frequent class, is right for 60.0 %" in page
    low, high = found.balanced_accuracy.low, found.balanced_accuracy.high
    balanced = f"{100 * low:.1f} % – {100 * high:.1f} %"
    assert f"target 0, other model-0 90.0 % 82.6 % – 94.5 % 87.5 % {balanced}" in page
    assert "not kept" in page  # no confidences, so no calibration


def test_a_model_no_better_than_the_majority_and_a_class_that_is_never_predicted_are_marked(report):
    labels = np.repeat([0, 1], [60, 40])
    page = text_of(render_report(with_quality(report, predicted_class_measures(np.zeros(100, int), labels, 2))))
    assert "no better than the majority" in page
    assert "class &lt;1&gt;" in page.partition("never predicted")[2].partition("Recall of")[0]


def test_recalls_have_support_and_intervals_and_few_images_are_marked(report):
    labels = np.repeat([0, 1], [81, 19])
    page = text_of(render_report(with_quality(report, predicted_class_measures(labels, labels, 2))))
    assert "class &lt;0&gt; 81 100.0 % 95.5 % – 100.0 %" in page
    assert "class &lt;1&gt; 19 few 100.0 % 83.2 % – 100.0 %" in page


def test_of_many_classes_those_of_the_lowest_recall_are_listed_first(report):
    found = with_quality(report, measures(1000, 2000))
    rows = class_rows(found.quality, found.class_names)
    assert len(rows) == 20
    assert all(row.recalls[0].value == 0 for row in rows)
    page = render_report(found)
    assert "the 20 of 1,000 classes with the lowest recall of any model" in text_of(page)
    assert len(page) < len(render_report(report)) + 20_000


@pytest.mark.parametrize("classes", [2, 20, 21, 100])
def test_a_confusion_matrix_of_up_to_100_classes_is_drawn_with_a_name_per_row_and_column(classes):
    svg = ET.fromstring(confusion_svg(measures(classes), [f"<{index}>" for index in range(classes)]))
    texts = [element.text for element in svg.iter() if element.tag == "text"]
    assert [texts.count(f"<{index}>") for index in range(classes)] == [2] * classes


def test_a_small_matrix_states_the_number_of_images_in_each_cell():
    found = predicted_class_measures(np.array([0, 0, 1, 0]), np.array([0, 0, 1, 1]), 3)
    svg = ET.fromstring(confusion_svg(found, ["cat", "dog & owl", "unseen"]))
    titles = [element.text for element in svg.iter() if element.tag == "title"]
    assert "1 of 2 images of dog & owl predicted as cat" in titles
    assert [element.text for element in svg.iter() if element.tag == "text" and element.text.isdigit()] == [
        "2",
        "1",
        "1",
    ]


def test_every_cell_of_a_large_matrix_is_drawn_once():
    found = measures(60)
    squares = re.findall(r"M(\d+) (\d+)h1v1h-1z", confusion_svg(found, ["x"] * 60))
    assert sorted((int(y), int(x)) for x, y in squares) == [(c.label, c.predicted) for c in found.confusions]


def test_with_more_classes_only_the_most_confused_pairs_are_listed(report):
    page = render_report(with_quality(report, measures(101)))
    assert 'aria-label="Confusion matrix"' not in page
    assert 'aria-label="Reliability diagram"' in page
    assert "of the label" in page


def test_the_reliability_diagram_has_a_bar_per_bin_and_states_its_figures():
    found = measures(5).calibration
    svg = ET.fromstring(reliability_svg(found))
    titles = [element.text for element in svg.iter() if element.tag == "title"]
    assert len(titles) == len(found.bins)
    last = found.bins[-1]
    shares = f"mean {last.confidence:.1%}, right {last.accuracy:.1%}"
    assert titles[-1] == f"{last.examples:,} images at a confidence of 93% to 100%: {shares}"


def test_a_model_without_mistakes_says_so(report):
    labels = np.arange(50) % 5
    assert "It makes no mistake on these images." in render_report(
        with_quality(report, predicted_class_measures(labels, labels, 5))
    )


def test_a_page_without_measures_has_no_such_section(report):
    assert "<h2>Quality</h2>" not in render_report(report)


def test_labels_have_their_recalls_and_precisions_and_their_calibration(report):
    logits = np.tile([[2.0, -2.0, -9.0], [2.0, 2.0, -9.0]], (30, 1))
    found = label_measures(logits, np.tile([[1, 0, 0], [0, 1, 1]], (30, 1)), np.full(3, 0.5))
    page = render_report(with_quality(report, found, names=3))
    assert "Macro-F1 counts each label the same" in page
    text = text_of(page)
    assert "class &lt;0&gt; 30 100.0 % 88.6 % – 100.0 % 50.0 %" in text
    assert "never predicted" in text
    assert "class &lt;2&gt;" in text.partition("never predicted")[2].partition("The labels of")[0]
    assert 'aria-label="Reliability diagram"' in page


def test_values_have_their_errors_in_their_unit_beside_those_of_constant_answers(report):
    labels = np.linspace(0, 100, 41)[:, None]
    page = text_of(render_report(with_quality(report, value_measures(labels + 2, labels), names=1)))
    assert "class &lt;0&gt; 2 2 – 2 baseline 25.61 2 2 – 2 baseline 29.58" in page
    assert "no better than the mean" not in page
    wrong = with_quality(report, value_measures(labels[::-1], labels), names=1)
    assert "no better than the mean" in text_of(render_report(wrong))
