"""The texts of a run: tokens of a tokenizer that is kept in the run folder, as inputs of networks and of files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from device_profiles.workload.workloads import workload_of
from factory_base.errors import ConfigError, DataError, FactoryError
from model_factory.console import Console
from model_factory.run import open_run
from model_factory.stages.fingerprint import data_fingerprint
from model_factory.stages.materials import KnownData, Materials
from supernet.data.tokenizer import load_tokenizer, trained_tokenizer
from supernet.sharing.supernet import Supernet
from supernet.training.checkpoint import save_supernet

WORDS = [
    *("good", "bad", "fine", "poor", "a", "the", "film", "plot", "really", "quite", "not", "so", "one", "of", "its"),
    *("best", "worst", "scenes", "actors", "music", "ending", "jokes"),
]


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """A config of a table of texts, which is there."""
    rng = np.random.default_rng(0)
    with (tmp_path / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "label"])
        for index in range(80):
            rows.writerow([" ".join(rng.choice(WORDS, rng.integers(2, 12))), "good" if index % 2 else "bad"])
    return {
        "name": "reviews",
        "threads": 1,
        "task": "text_classification",
        "data": {"source": "table", "path": "reviews.csv", "text_column": "review"},
        "model": {
            "space": "text_encoder", "vocabulary": 40, "lengths": [4, 8], "widths": [16], "depths": [1, 2],
            "heads": [1],
        },
        "training": {"epochs": 1, "augment": {"word_dropout": 0.3}},
        "targets": [{"device": "midrange"}],
    }  # fmt: skip


def materials(folder: Path, config: dict[str, Any], known: KnownData | None = None, **data: Any) -> Materials:
    (folder / "factory.yaml").write_text(yaml.safe_dump(config | {"data": config["data"] | data}))
    return Materials(open_run(folder / "factory.yaml", folder), Console(), known)


def test_networks_and_files_take_the_first_tokens(tmp_path: Path, config: dict[str, Any]) -> None:
    found = materials(tmp_path, config)
    space = found.model_space.space
    assert (found.file_input_type, found.file_input_shape(space.smallest)) == ("int64", (4,))
    inputs = found.inputs(found.splits.test, space.smallest)[0:3]
    assert inputs.dtype == np.int64
    assert inputs.tolist() == found.splits.test.tokens[:3, :4].tolist()
    calibration = found.calibration_inputs(space.largest, 10)
    assert calibration.shape == (10, 8)
    assert found.input_scale == ()
    assert found.workloads.of(space.largest) == workload_of(found.model_space, space.largest)


def test_words_are_hidden_in_training_alone(tmp_path: Path, config: dict[str, Any]) -> None:
    found = materials(tmp_path, config)
    training = found.examples(found.splits.train, open_run(tmp_path / "factory.yaml", tmp_path).config.training.augment)
    assert (training.word_dropout, found.examples(found.splits.train).word_dropout) == (0.3, 0.0)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_heldout_texts_are_judged_in_every_precision(tmp_path: Path, config: dict[str, Any], precision: Any) -> None:
    found = materials(tmp_path, config, heldout_fraction=0.5)
    save_supernet(open_run(tmp_path / "factory.yaml", tmp_path).checkpoint, Supernet(found.model_space, seed=0))
    scores = found.heldout_scores(found.model_space.space.largest, range(30), 0, precision)
    assert set(scores) <= {0, 1}
    assert 0 < sum(scores) < 30


def test_the_tokenizer_is_kept_and_changes_with_the_training_texts(tmp_path: Path, config: dict[str, Any]) -> None:
    first = materials(tmp_path, config).splits
    (kept,) = (tmp_path / "runs/reviews").glob("tokenizer-*.json")
    assert load_tokenizer(kept) == first.tokenizer
    assert materials(tmp_path, config).splits.digest == first.digest
    assert materials(tmp_path, config | {"seed": 1}).splits.digest != first.digest
    assert len(list((tmp_path / "runs/reviews").glob("tokenizer-*.json"))) == 2


def test_the_content_of_a_given_tokenizer_counts_and_not_its_path(tmp_path: Path, config: dict[str, Any]) -> None:
    def fingerprint(name: str) -> dict[str, Any]:
        run = materials(tmp_path, config, tokenizer=name)._run
        return data_fingerprint(run.config.data, tmp_path, tmp_path / "memo.json")

    (tmp_path / "a.json").write_bytes(trained_tokenizer(lambda: [WORDS], 36).content)
    (tmp_path / "b.json").write_bytes((tmp_path / "a.json").read_bytes())
    (tmp_path / "c.json").write_bytes(trained_tokenizer(lambda: [WORDS], 34).content)
    assert fingerprint("a.json") == fingerprint("b.json") != fingerprint("c.json")


def test_texts_that_are_read_into_other_tokens_than_before_are_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    splits = materials(tmp_path, config).splits
    counts = (len(splits.train), len(splits.heldout), len(splits.test))
    known = KnownData(classes=2, counts=counts, sha256="0" * 64)
    with pytest.raises(DataError, match="was trained with other tokens than those that the texts have now"):
        _ = materials(tmp_path, config, known).splits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "classification"}, "takes tokens, but the task classification has images; set task: text_class"),
        ({"model": {"space": "vit"}}, "takes images, but the task text_classification has tokens; choose one of the"),
        ({"training": {"epochs": 1, "augment": {"flip": True}}}, "augment.flip is for images"),
        ({"data": {"source": "digits"}}, "data.source 'digits' has images, but the task needs texts"),
        ({"data": {"length": 5}}, "lengths go up to 8 tokens but data.length is 5; raise it"),
        ({"model": {"vocabulary": 4000}}, r"a tokenizer of \d+ tokens, but the vocabulary has 4,000; set model.vocab"),
    ],
)
def test_what_does_not_fit_together_is_named_in_one_line(
    tmp_path: Path, config: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    vit = {"space": "vit", "resolutions": [8], "patch": 4, "widths": [16], "depths": [1], "heads": [1]}
    section = next(iter(change))
    given = change[section]
    if section == "data":
        given = given if "source" in given else config["data"] | given
    elif section == "model":
        given = vit if "space" in given else config["model"] | given
    with pytest.raises(FactoryError, match=message) as caught:
        _ = materials(tmp_path, config | {section: given}).splits
    assert "\n" not in str(caught.value)


def test_word_dropout_is_not_for_images(tmp_path: Path, config: dict[str, Any]) -> None:
    images = {
        "task": "classification",
        "data": {"source": "digits"},
        "model": {"space": "vit", "resolutions": [8], "patch": 4, "widths": [16], "depths": [1], "heads": [1]},
    }
    with pytest.raises(ConfigError, match=r"augment\.word_dropout is for texts"):
        materials(tmp_path, config | images)


def pretrained(folder: Path, vocabulary: int) -> None:
    """A folder with the config of a BERT and a tokenizer of 36 tokens."""
    transformers = pytest.importorskip("transformers", reason="needs the extra 'transformers'")
    transformers.BertConfig(
        vocab_size=vocabulary, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8,
    ).save_pretrained(folder / "bert")  # fmt: skip
    (folder / "bert/tokenizer.json").write_bytes(trained_tokenizer(lambda: [WORDS], 36).content)


def test_a_pretrained_model_brings_its_tokenizer(tmp_path: Path, config: dict[str, Any]) -> None:
    pretrained(tmp_path, 36)
    model = {"space": "transformers", "from": "bert", "lengths": [4, 8]}
    found = materials(tmp_path, config | {"model": model})
    run = open_run(tmp_path / "factory.yaml", tmp_path)
    assert (run.config.data.tokenizer, run.config.training.sort_by_importance) == ("bert/tokenizer.json", True)
    assert found.splits.tokenizer == load_tokenizer(tmp_path / "bert/tokenizer.json")
    assert found.model_space.input_shape(found.model_space.space.largest) == (8,)


def test_a_tokenizer_of_another_vocabulary_names_both_numbers(tmp_path: Path, config: dict[str, Any]) -> None:
    pretrained(tmp_path, 50)
    model = {"space": "transformers", "from": "bert", "lengths": [4, 8]}
    with pytest.raises(ConfigError, match=r"tokenizer\.json: has 36 tokens, but the model has 50"):
        _ = materials(tmp_path, config | {"model": model}).splits
