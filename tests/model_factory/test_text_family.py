"""A family of text classifiers, from a table to the answer of an app."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from exports.client.python import cli
from exports.family.manifest import read_manifest
from supernet.data.tokenizer import load_tokenizer

GOOD = ("good", "fine", "great", "lovely", "bright", "warm")
BAD = ("bad", "poor", "awful", "dull", "cold", "weak")
OTHER = ("the", "film", "plot", "was", "really", "quite", "and", "so", "one", "of", "its", "scenes")

CONFIG = """\
name: reviews
threads: 1
task: text_classification
data: {source: table, path: reviews.csv, text_column: review, label_column: verdict}
model: {space: text_encoder, vocabulary: 80, lengths: [6, 8], widths: [16], depths: [1], heads: [1], head_dim: 16}
training: {epochs: 16, batch_size: 20, optimizer: adamw, learning_rate: 5.0e-3}
search: {shared_subnets: 8, trials_per_target: 1}
targets:
  - {device: speaker, budgets: {latency: 5 ms}}
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of reviews whose words say what they think, and a config."""
    folder, rng = tmp_path_factory.mktemp("app"), np.random.default_rng(0)
    with (folder / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "verdict"])
        for index in range(200):
            words = [*rng.choice(OTHER, 4), *rng.choice((BAD, GOOD)[index % 2], 2)]
            rows.writerow([" ".join(rng.permutation(words)), ("bad", "good")[index % 2]])
    (folder / "factory.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def family(app: Path, factory) -> Path:
    answer = factory(app, "build")
    assert answer.code == 0, answer.err
    return app / "dist" / "reviews"


def says(family: Path, store: Path, capsys: pytest.CaptureFixture[str], text: str) -> str:
    """What the client in Python answers to a text."""
    facts = store.with_suffix(".json")
    facts.write_text(json.dumps({"platform": "linux", "ram_bytes": 2 << 30, "cores": 4, "os_version": "14"}))
    cli.main(["launch", "--url", str(family), "--store", str(store), "--facts", str(facts), "--text", text])
    return json.loads(capsys.readouterr().out.splitlines()[-1])["label"]


def test_the_family_has_the_tokenizer_and_models_that_take_tokens(family: Path) -> None:
    manifest = read_manifest(family)
    assert manifest.task.name == "text_classification"
    tokenizer = load_tokenizer(family / manifest.task.tokenizer.file.name)
    assert (tokenizer.vocabulary, manifest.task.input.vocabulary, manifest.task.input.length) == (80, 80, 8)
    assert manifest.task.labels == ("bad", "good")
    for model in manifest.models.values():
        assert model.input.length in (6, 8)
        assert model.quality.value_ppm > 650_000


def test_an_app_gets_the_class_of_a_text(family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert says(family, tmp_path / "store", capsys, "The film was really GOOD and lovely") == "good"
    assert says(family, tmp_path / "store", capsys, "so dull, its scenes quite awful") == "bad"


def test_a_second_build_does_nothing_and_the_family_is_verified(app: Path, family: Path, factory) -> None:
    assert factory(app, "build").stages == []
    verified = factory(app, "verify", family)
    assert verified.code == 0, verified.err + verified.out


def test_the_report_and_the_page_of_errors_are_there(app: Path, family: Path) -> None:
    assert (family / "report.html").is_file()
    assert (app / "runs/reviews/errors.html").is_file()
