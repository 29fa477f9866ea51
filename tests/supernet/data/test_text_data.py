"""Texts: a tokenizer makes tokens of them, splits and digests follow from them, and a supernet learns from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from text_sources import TEXTS_MODULE, own_texts, sentences

from factory_base.errors import ConfigError, DataError
from supernet.data.config import DataConfig
from supernet.data.examples import Draws, ExampleInputs
from supernet.data.sources import load_splits
from supernet.data.texts import TokenNeeds
from supernet.data.token_examples import TokenExamples
from supernet.data.tokenizer import load_tokenizer, trained_tokenizer
from supernet.data.types import LabelledTexts, Splits
from supernet.evaluation.evaluation import accuracy
from supernet.sharing.supernet import Supernet
from supernet.spaces.text_encoder import TextEncoderSpace
from supernet.spaces.transformer_config import TextEncoderConfig
from supernet.training.config import TrainingConfig
from supernet.training.training import train

VOCABULARY, LENGTH = 120, 12


def splits(folder: Path, *, needs: TokenNeeds | None = None, seed: int = 0, **section: object) -> Splits:
    own_texts(folder)
    config = DataConfig.model_validate({"source": TEXTS_MODULE, **section})
    return load_splits(config, folder, seed, tokens=needs or needed())


def needed(vocabulary: int = VOCABULARY, length: int = LENGTH, padding: int | None = 0) -> TokenNeeds:
    return TokenNeeds(vocabulary=vocabulary, length=length, padding=padding)


def test_texts_become_disjoint_splits_of_tokens_with_a_tokenizer_of_the_training_texts(tmp_path: Path) -> None:
    found = splits(tmp_path)
    assert isinstance(found.train, LabelledTexts)
    assert found.tokenizer is not None
    assert found.tokenizer.vocabulary == VOCABULARY
    texts, labels = sentences()
    assert [len(part) for part in (found.train, found.heldout, found.test)] == [126, 14, 60]
    assert found.test.labels.tolist() == labels[140:]
    assert found.test.tokens.tolist() == found.tokenizer.encode(texts[140:], LENGTH).tolist()
    assert (found.mean, found.std) == ((), ())
    assert "120 tokens, trained on the training texts" in found.notes[0]


def test_the_test_digest_depends_on_the_test_texts_and_not_on_the_tokenizer(tmp_path: Path) -> None:
    small, large, other_seed = splits(tmp_path), splits(tmp_path, needs=needed(160)), splits(tmp_path, seed=1)
    assert small.test_digest == large.test_digest == other_seed.test_digest
    assert len({small.digest, large.digest, other_seed.digest}) == 3
    changed = splits(tmp_path, options={"more": "!"})
    assert changed.test_digest != small.test_digest
    assert splits(tmp_path).digest == small.digest


def test_limit_and_weights_work_as_for_images(tmp_path: Path) -> None:
    found = splits(tmp_path, limit=40)
    assert [len(part) for part in (found.train, found.heldout, found.test)] == [36, 4, 60]


def test_a_kept_tokenizer_is_used_again(tmp_path: Path) -> None:
    needs = TokenNeeds(vocabulary=VOCABULARY, length=LENGTH, padding=0, kept=tmp_path / "tokenizer.json")
    first = splits(tmp_path, needs=needs)
    assert load_tokenizer(tmp_path / "tokenizer.json") == first.tokenizer
    other = trained_tokenizer(lambda: [sentences()[0][:50]], 100)
    (tmp_path / "tokenizer.json").write_bytes(other.content)
    assert splits(tmp_path, needs=needs).tokenizer == other


def test_a_given_tokenizer_must_have_as_many_tokens_as_the_model_and_the_same_padding(tmp_path: Path) -> None:
    made = trained_tokenizer(lambda: [sentences()[0]], 90)
    (tmp_path / "own.json").write_bytes(made.content)
    assert splits(tmp_path, tokenizer="own.json", needs=needed(90)).tokenizer == made
    with pytest.raises(ConfigError, match=r"own\.json: has 90 tokens, but the model has 120; set"):
        splits(tmp_path, tokenizer="own.json")
    with pytest.raises(ConfigError, match="its padding is token 0, but the model's is token 3"):
        splits(tmp_path, tokenizer="own.json", needs=needed(90, padding=3))
    with pytest.raises(ConfigError, match="the model's padding is token 3, but a trained tokenizer's is token 0"):
        splits(tmp_path, needs=needed(padding=3))


def test_images_are_no_texts_and_texts_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'digits' has images, but the task needs texts; use source: table"):
        load_splits(DataConfig(source="digits", image_size=8), tmp_path, 0, tokens=needed())
    own_texts(tmp_path)
    with pytest.raises(DataError, match="expected two NumPy arrays"):
        load_splits(DataConfig(source=TEXTS_MODULE), tmp_path, 0)


def test_empty_and_unknown_texts_are_counted(tmp_path: Path) -> None:
    found = splits(tmp_path, options={"texts": ["\u4e1c \u4eac", " "]})
    assert any("test texts are empty" in note for note in found.notes)
    assert (found.test.tokens == 1).any()  # a character that training never saw


def test_hidden_tokens_depend_on_the_example_and_the_epoch_alone() -> None:
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


def test_without_an_unknown_token_hidden_tokens_become_padding() -> None:
    tokens = torch.full((2, 50), 7)
    data = TokenExamples(
        tokens=tokens, labels=torch.zeros(2, dtype=torch.int64), padding=3, unknown=None, word_dropout=0.5
    )
    assert sorted(data.batch(torch.arange(2), Draws(0, 1)).unique().tolist()) == [3, 7]


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
    found = splits(tmp_path)
    section = {"lengths": [8, LENGTH], "widths": [16, 32], "depths": [1, 2], "heads": [1, 2], "mlp_ratios": [1, 2]}
    config = TextEncoderConfig.model_validate({"vocabulary": VOCABULARY, **section})
    supernet = Supernet(TextEncoderSpace(config, classes=2))
    recipe = {"epochs": 20, "batch_size": 20, "optimizer": "adamw", "learning_rate": 3e-3, "largest_only": 0.3}
    train(
        supernet, TokenExamples.of(found.train, word_dropout=0.1), TrainingConfig.model_validate(recipe),
        seed=0, state_file=tmp_path / "state.safetensors", key="text", check=lambda _: 0.5,
    )  # fmt: skip
    examples = TokenExamples.of(found.test)
    for subnet in (supernet.model_space.space.smallest, supernet.model_space.space.largest):
        inputs = ExampleInputs(examples, supernet.model_space.input_shape(subnet))
        assert accuracy(supernet.extract(subnet).eval(), inputs, examples.labels) > 0.8
