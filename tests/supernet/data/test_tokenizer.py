"""Tokenizers: trained ones are the same every time, Unicode is handled, and files of others are read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
from text_sources import sentences

from factory_base.errors import ConfigError, DataError
from supernet.data.tokenizer import Tokenizer, load_tokenizer, trained_tokenizer


def trained(texts: list[str], vocabulary: int) -> Tokenizer:
    return trained_tokenizer(lambda: [texts], vocabulary)


def bert_like() -> tokenizers.Tokenizer:
    """A tokenizer that puts special tokens around texts."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film"]
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def test_training_gives_the_same_bytes_in_every_process() -> None:
    code = (
        "from text_sources import sentences; from supernet.data.tokenizer import trained_tokenizer;"
        "print(trained_tokenizer(lambda: [sentences()[0]], 150).sha256)"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); {code}"]
    found = {subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)}
    assert found == {trained(sentences()[0], 150).sha256}


def test_case_and_compatibility_forms_are_one_and_accents_are_kept() -> None:
    made = trained(["caf\u00e9 fine"] * 9 + sentences()[0], 160)
    plain, other = made.encode(["caf\u00e9 fine", "CAFE\u0301 \ufb01ne"], 8)  # a combining accent and a ligature
    assert plain.tolist() == other.tolist()
    assert 1 not in plain
    assert made.encode(["cafe"], 8).tolist() != made.encode(["caf\u00e9"], 8).tolist()


def test_long_texts_are_truncated_and_short_ones_padded_at_the_end() -> None:
    made = trained(sentences()[0], 120)
    tokens, counts = made.encode_counted(["good", "good good good good", ""], 6)
    assert (tokens[0] > 1).sum() == counts[0]
    assert tokens[0, counts[0] :].tolist() == [0] * (6 - counts[0])
    assert tokens[1].min() > 1
    assert counts[1] > 6
    assert not tokens[2].any()


def test_tokens_are_turned_back_into_text() -> None:
    made = trained(sentences()[0], 120)
    assert made.decode(made.encode(["The Music is \u6771 funny", ""], 30)) == ["the music is funny", ""]


def test_a_vocabulary_that_the_texts_cannot_fill_is_named_with_what_they_can() -> None:
    with pytest.raises(
        DataError, match=r"a tokenizer of 36 tokens, but the vocabulary has 900; set model.vocabulary to 36"
    ):
        trained(["one two three four five"], 900)


def test_rare_characters_become_unknown_when_there_is_no_room() -> None:
    texts = ["aaab" * 5] * 50 + [chr(0x0400 + i) * 3 for i in range(300)]
    made = trained(texts, 20)
    assert made.vocabulary == 20
    assert 1 not in made.encode(["aaab"], 9)
    assert 1 in made.encode([chr(0x0400 + 299)], 9)


def test_a_tokenizer_file_of_others_is_read_with_its_special_tokens(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    bert_like().save(str(path))
    found = load_tokenizer(path)
    assert (found.vocabulary, found.padding, found.unknown, found.ending) == (7, 0, 1, (3,))
    assert found.encode(["good film", "good bad film bad good", "odd"], 5).tolist() == [
        [2, 4, 6, 3, 0],
        [2, 4, 5, 6, 3],  # the library truncates like this, too
        [2, 1, 3, 0, 0],
    ]
    library = bert_like()
    library.enable_truncation(5)
    assert library.encode("good bad film bad good").ids == [2, 4, 5, 6, 3]
    assert json.loads(found.content)["padding"]["pad_id"] == 0
    with pytest.raises(DataError, match="1 tokens have no room beside"):
        found.encode(["good"], 1)


def test_a_padding_that_the_file_states_comes_first(tmp_path: Path) -> None:
    made = bert_like()
    made.enable_padding(pad_id=6, pad_token="film")
    made.save(str(tmp_path / "t.json"))
    assert load_tokenizer(tmp_path / "t.json").padding == 6


def test_files_that_are_no_tokenizers_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"model": 1}')
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece({"x": 0, "u": 1}, unk_token="u"))
    made.save(str(tmp_path / "c.json"))
    for name, message in [
        ("a.json", "is not a tokenizer of the package tokenizers"),
        ("b.json", "is not a tokenizer of the package tokenizers"),
        ("c.json", r"has no padding token \(none of \[PAD\], <pad>"),
        ("d.json", "see data.tokenizer"),
    ]:
        with pytest.raises(DataError, match=message) as caught:
            load_tokenizer(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"not installed; run pip install -e '\.\[text\]'"):
        trained(["a"], 20)
