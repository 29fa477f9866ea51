"""The contract of exports/client/README.md for every client: models that answer otherwise than with one class."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from launching import App, expect_model, in_languages
from small_family import LABELS, Family, make_family
from small_task_families import (
    SCALES,
    SENTIMENTS,
    TEXTS,
    THRESHOLDS_PPM,
    logits_of,
    multilabel_family,
    regression_family,
    text_family,
    tokens_of,
)


def probability(logit_micro: int) -> float:
    return 1 / (1 + math.exp(-logit_micro / 1e6))


@in_languages(smoke=True)
@pytest.mark.parametrize("samples", ["images", "tensors", None])
def test_labels_apply_from_their_thresholds_on(app: App, samples: str | None) -> None:
    app.publish(multilabel_family(samples=samples))
    found = app.launch(image=app.folder / "image.png")
    expect_model(found, "large", "passed")
    answer, shares = found.found["answer"], [probability(logit) for logit in found.found["logits_micro"]]
    assert answer["probabilities_nano"] == pytest.approx([1e9 * share for share in shares], abs=2000)
    least = dict(zip(LABELS, THRESHOLDS_PPM, strict=True))
    assert answer["labels"] == [name for name, share in zip(LABELS, shares, strict=True) if share * 1e6 >= least[name]]
    assert 0 < len(answer["labels"]) < len(LABELS)
    assert (answer["values"], found.found["label"]) == ([], None)


@in_languages(smoke=True)
def test_values_are_in_the_unit_of_the_data(app: App) -> None:
    app.publish(regression_family())
    found = app.launch(image=app.folder / "image.png")
    expect_model(found, "large", "passed")
    answer = found.found["answer"]
    expected = [
        (offset + scale * logit / 1e6) / 10.0**places
        for offset, scale, places, logit in zip(*SCALES.values(), found.found["logits_micro"], strict=True)
    ]
    assert answer["values"] == pytest.approx(expected, rel=1e-5, abs=1e-4)
    assert (answer["labels"], answer["probabilities_nano"], found.found["label"]) == ([], [], None)


@in_languages(smoke=True)
def test_one_class_has_its_probability(app: App) -> None:
    app.publish(make_family())
    found = app.launch(image=app.folder / "image.png").found
    powers = [math.exp(logit / 1e6) for logit in found["logits_micro"]]
    assert found["answer"]["labels"] == [found["label"]]
    assert found["answer"]["probabilities_nano"] == pytest.approx([1e9 * p / sum(powers) for p in powers], abs=2000)


@in_languages(smoke=True)
@pytest.mark.parametrize("samples", [True, False])
def test_the_tokens_of_a_text_are_classified(app: App, samples: bool) -> None:
    app.publish(text_family(samples=samples))
    for text, expected in zip(TEXTS, ("positive", "negative", "positive"), strict=True):
        found = app.launch(tokens=",".join(map(str, tokens_of(text))))
        expect_model(found, "large", found.found["proof"])
        logits = [round(float(logit) * 1e6) for logit in logits_of("large", tokens_of(text))]
        assert found.found["logits_micro"] == pytest.approx(logits, abs=2)
        assert SENTIMENTS[logits.index(max(logits))] == expected == found.found["label"]
    assert app.results() == [("cpu", "passed")]


@in_languages()
def test_a_smaller_model_takes_the_first_tokens_and_shares_the_tokenizer(app: App) -> None:
    family = app.publish(text_family())
    tokens = tokens_of(TEXTS[2])
    found = app.launch({"ram_bytes": 1 << 30}, tokens=",".join(map(str, tokens)))
    expect_model(found, "small", "passed")
    expected = [round(float(logit) * 1e6) for logit in logits_of("small", tokens)]
    assert found.found["logits_micro"] == pytest.approx(expected, abs=2)
    before = app.server.bytes_of("/tokenizer")
    assert before == family.manifest["task"]["tokenizer"]["file"]["bytes"]
    expect_model(app.launch(), "large", "passed", slot="b")
    assert app.server.bytes_of("/tokenizer") == before


@in_languages()
@pytest.mark.parametrize("tokens", ["9", "-1", "1,2,3,4,5,6,7"])
def test_tokens_that_the_model_does_not_know_are_refused_in_one_line(app: App, tokens: str) -> None:
    app.publish(text_family())
    assert "token" in app.fails(tokens=tokens)


def changed(make: Callable[[], Family], **changes: Any) -> Family:
    family = make()
    family.manifest["release"] = 2
    output = family.manifest["task"]["outputs"][0]
    output["decoding" if "kind" in changes else "shape"] = changes.get("shape", changes)
    return family


def several() -> Family:
    family = changed(multilabel_family, shape=[4])
    family.manifest["task"]["outputs"] *= 2
    return family


UNKNOWN = {
    "boxes": lambda: changed(multilabel_family, kind="boxes"),
    "labels for three of four names": lambda: changed(multilabel_family, kind="labels", thresholds_ppm=[500_000] * 3),
    "two axes": lambda: changed(regression_family, shape=[2, 2]),
    "two outputs": several,
    "a scale of 0": lambda: changed(regression_family, **SCALES | {"kind": "values", "scale": [0, 1, 1, 1]}),
    "one name too many": lambda: _with_labels(multilabel_family()),
    "another tokenizer": lambda: _with_tokenizer(text_family()),
}


def _with_labels(family: Family) -> Family:
    family.manifest["release"] = 2
    family.manifest["task"]["labels"].append("bee")
    return family


def _with_tokenizer(family: Family) -> Family:
    family.manifest["release"] = 2
    family.manifest["task"]["tokenizer"]["format"] = "sentencepiece"
    return family


@in_languages()
@pytest.mark.parametrize("kind", UNKNOWN)
def test_outputs_that_are_not_understood_leave_the_last_release(app: App, kind: str) -> None:
    app.publish(make_family())
    app.launch()
    UNKNOWN[kind]().write(app.published)
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == ["manifest_refused"]


@in_languages()
def test_a_damaged_tokenizer_is_never_used(app: App) -> None:
    family = app.publish(text_family())
    name = family.manifest["task"]["tokenizer"]["file"]["name"]
    (app.published / name).write_bytes(b"x" * len(family.files[name]))
    app.fails(timeout="1")
    assert not app.stored("a", name).exists()


IN_PYTHON = pytest.mark.parametrize("client", ["python"], indirect=True)


@IN_PYTHON
def test_a_text_is_cut_into_tokens_by_the_tokenizer_of_the_family(app: App) -> None:
    pytest.importorskip("tokenizers")
    app.publish(text_family())
    found = app.launch(text="A very GOOD film with a bad end")
    expected = [round(float(logit) * 1e6) for logit in logits_of("large", tokens_of(TEXTS[2]))]
    assert found.found["logits_micro"] == pytest.approx(expected, abs=2)
    unknown = app.launch(text="good zebra").found
    assert unknown["logits_micro"] == pytest.approx(
        [round(float(logit) * 1e6) for logit in logits_of("large", [2, 1])], abs=2
    )


@IN_PYTHON
def test_an_image_for_a_model_of_texts_is_refused_in_one_line(app: App) -> None:
    app.publish(text_family())
    assert "a text is a string or a list of tokens" in app.fails(image=app.folder / "image.png")
