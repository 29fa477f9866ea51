"""`factory search --compare`: other samplers at equal numbers of evaluations, which change no pick."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factory_base.files import sha256_file


def compared(factory, app: Path, *options: str) -> dict:
    answer = factory(app, "search", "--device", "midrange", "--compare", "random,nsga2", "--json", "-q", *options)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)["comparison"]


def test_every_sampler_has_as_many_evaluations_and_the_same_reference_point(app: Path, factory) -> None:
    found = compared(factory, app)
    assert [sampler["sampler"] for sampler in found["samplers"]] == ["exact", "random", "nsga2"]
    assert {sampler["evaluations"] <= found["evaluations"] == 5 for sampler in found["samplers"]} == {True}
    assert (found["reference"]["latency_us"], found["reference"]["is_budget"]) == (1000.0, True)
    assert all(0 < sampler["hypervolume"] < 1 for sampler in found["samplers"])
    assert Path(found["plot"]).is_file()


def test_a_comparison_that_is_finished_is_read_again(app: Path, factory) -> None:
    first = compared(factory, app)
    answer = factory(app, "search", "--device", "midrange", "--compare", "random,nsga2", "--json")
    assert "compare samplers" not in answer.stages
    assert json.loads(answer.out)["comparison"] == first


def test_neither_picks_nor_published_files_depend_on_a_comparison(app: Path, factory, built, published) -> None:
    archive = sha256_file(app / "runs" / "tiny" / "archive.parquet")
    compared(factory, app)
    factory(app, "search", "--device", "midrange", "-q")
    assert factory(app, "build").code == 0
    assert sha256_file(app / "runs" / "tiny" / "archive.parquet") == archive
    assert published(app).keys() == published(built).keys()
    assert published(app)["manifest.json"] == published(built)["manifest.json"]


def test_the_report_has_a_comparison_of_a_target_and_none_without_one(app: Path, factory) -> None:
    report = app / "dist" / "tiny" / "report.html"
    assert "Samplers compared" not in report.read_text(encoding="utf-8")
    compared(factory, app)
    assert factory(app, "report").code == 0
    text = report.read_text(encoding="utf-8")
    assert "Samplers compared" in text
    assert "NSGAIISampler of Optuna" in text


def test_the_table_explains_what_was_counted(app: Path, factory) -> None:
    shown = factory(app, "search", "--device", "midrange", "--compare", "tpe", "-q").out
    assert "samplers on midrange, exact being the run's own:" in shown
    assert "every sampler may ask for 5 scores" in shown
    assert "tpe learns only after 10 scores, and 5 evaluations are compared: all of its subnets are" in shown


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("random,nsga3", "--compare nsga3: there is no such sampler; did you mean 'nsga2'?"),
        ("random,random", "--compare random: is given twice"),
        ("exact", "--compare exact: is the run's own sampler, which is always compared"),
        ("random,,tpe", "a name is missing; write samplers such as random,nsga2,tpe"),
    ],
)
def test_samplers_that_cannot_be_compared_are_named(app: Path, factory, names: str, reason: str) -> None:
    answer = factory(app, "search", "--device", "midrange", "--compare", names)
    assert answer.code == 1
    assert reason in answer.error
