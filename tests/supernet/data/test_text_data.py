"""Text: words become tokens, errors name the file, and a supernet learns from sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from factory_base.errors import DataError, FactoryError
from supernet.data.examples import Draws, ExampleInputs
from supernet.data.text import LabelledSentences, Vocabulary, load_sentences
from supernet.data.token_examples import TokenExamples
from supernet.evaluation.evaluation import accuracy
from supernet.sharing.supernet import Supernet
from supernet.spaces.text_encoder import TextEncoderSpace
from supernet.spaces.transformer_config import TextEncoderConfig
from supernet.training.config import TrainingConfig
from supernet.training.training import train

SENTENCES = Path(__file__).parent / "sentences.tsv"
TRAIN, LENGTH = 140, 12


def parts() -> tuple[LabelledSentences, LabelledSentences]:
    whole = load_sentences(SENTENCES)
    first, rest = slice(0, TRAIN), slice(TRAIN, None)
    return tuple(replace(whole, sentences=whole.sentences[p], labels=whole.labels[p]) for p in (first, rest))


def test_frequent_words_come_first_and_equally_frequent_ones_in_alphabetical_order() -> None:
    vocabulary = Vocabulary.build(["b a B c", "c d b"], size=5)
    assert vocabulary.words == ("b", "c", "a")
    assert len(vocabulary) == 5
    assert vocabulary.encode(["A d b", "c c c c c"], 4).tolist() == [[4, 1, 2, 0], [3, 3, 3, 3]]


def test_a_vocabulary_is_read_back_from_its_file(tmp_path: Path) -> None:
    vocabulary = Vocabulary.build(load_sentences(SENTENCES).sentences, size=40)
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json") == vocabulary


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "is not a vocabulary; expected 'format'"),
        ('{"format": "model-factory-vocabulary-1", "words": [1]}', "is not a vocabulary"),
        ('{"format": "model-factory-vocabulary-1", "words": ["a", "a"]}', "needs distinct words, got 2, 1 of them"),
        ("{", "is not valid JSON"),
    ],
)
def test_a_file_that_is_not_a_vocabulary_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(text)
    with pytest.raises(FactoryError, match=message):
        Vocabulary.load(path)


def test_a_vocabulary_without_room_or_words_is_refused() -> None:
    with pytest.raises(DataError, match="a vocabulary of 2 tokens has no room for words; choose 3 or more"):
        Vocabulary.build(["a"], size=2)
    with pytest.raises(DataError, match="needs distinct words, got 0"):
        Vocabulary.build([" "], size=10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b"good\t1\nno label here\n",
            r"x\.tsv, line 2: has no tab; expected 'sentence<TAB>label', got 'no label here'",
        ),
        (b"good\t1\n\nbad\t-1\n", r"line 3: label '-1' is not a whole number from 0"),
        ("good\t\u00b2\n".encode(), "line 1: label '\u00b2' is not a whole number"),
        (b"good\t" + b"9" * 5000 + b"\n", r"line 1: label '9+ is not a whole number from 0 to 999,999,999"),
        (b" \t1\n", "line 1: has no words before the tab"),
        (b"\n\n", "holds no sentences"),
        (b"\xff\t1\n", "is not UTF-8 text"),
        (None, "cannot be read"),
    ],
)
def test_a_malformed_file_of_sentences_is_named_with_its_line(tmp_path: Path, text: bytes | None, message: str) -> None:
    path = tmp_path / "x.tsv"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(DataError, match=message) as caught:
        load_sentences(path)
    assert "\n" not in str(caught.value)


def test_lines_may_end_as_on_windows_and_contain_tabs_and_unusual_breaks(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes("a\tb\t0\r\nc\u2028d\t1".encode())
    assert load_sentences(path) == LabelledSentences(sentences=("a\tb", "c\u2028d"), labels=(0, 1))


def test_hidden_words_depend_on_the_example_and_the_epoch_alone() -> None:
    tokens = torch.arange(2, 402).reshape(4, 100)
    tokens[:, 60:] = 0
    data = TokenExamples(tokens=tokens, labels=torch.zeros(4, dtype=torch.int64), word_dropout=0.25)
    batch = data.batch(torch.arange(4), Draws(0, 1))
    is_hidden = batch != tokens
    assert (batch[is_hidden] == 1).all()
    assert not is_hidden[:, 60:].any()
    assert 0.1 < is_hidden[:, :60].float().mean() < 0.4
    assert torch.equal(data.batch(torch.tensor([2]), Draws(0, 1))[0], batch[2])
    assert not torch.equal(data.batch(torch.arange(4), Draws(0, 2)), batch)
    assert torch.equal(data.batch(torch.arange(4), None), tokens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": torch.zeros(2, 3)}, r"tokens are torch.float32 of shape \(2, 3\)"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"labels torch.int64 of shape \(3,\)"),
        ({"word_dropout": 1.0}, "word_dropout is 1.0, expected 0 to below 1"),
    ],
)
def test_examples_of_a_wrong_shape_are_refused(change: dict, message: str) -> None:
    fields = {"tokens": torch.zeros(2, 3, dtype=torch.int64), "labels": torch.zeros(2, dtype=torch.int64)}
    with pytest.raises(DataError, match=message):
        TokenExamples(**fields | change)


def test_a_network_longer_than_the_stored_tokens_is_refused() -> None:
    data = TokenExamples(tokens=torch.zeros(2, 3, dtype=torch.int64), labels=torch.zeros(2, dtype=torch.int64))
    assert data.to_input(data.tokens, (2,)).shape == (2, 2)
    with pytest.raises(DataError, match="takes 4 tokens but examples have 3; encode them with the largest length"):
        data.to_input(data.tokens, (4,))


def test_a_supernet_learns_sentiment_from_a_few_sentences(tmp_path: Path) -> None:
    learnt, heldout = parts()
    vocabulary = Vocabulary.build(learnt.sentences, size=80)
    section = {"lengths": [8, LENGTH], "widths": [16, 32], "depths": [1, 2], "heads": [1, 2], "mlp_ratios": [1, 2]}
    config = TextEncoderConfig.model_validate({"vocabulary": len(vocabulary), **section})
    supernet = Supernet(TextEncoderSpace(config, classes=2))
    recipe = {"epochs": 15, "batch_size": 20, "optimizer": "adamw", "learning_rate": 3e-3, "largest_only": 0.3}
    data = TokenExamples.of(learnt, vocabulary, LENGTH, word_dropout=0.1)
    train(
        supernet, data, TrainingConfig.model_validate(recipe),
        seed=0, state_file=tmp_path / "state.safetensors", key="text", check=lambda _: 0.5,
    )  # fmt: skip
    examples = TokenExamples.of(heldout, vocabulary, LENGTH)
    for subnet in (supernet.model_space.space.smallest, supernet.model_space.space.largest):
        inputs = ExampleInputs(examples, supernet.model_space.input_shape(subnet))
        assert accuracy(supernet.extract(subnet).eval(), inputs, examples.labels) > 0.8
