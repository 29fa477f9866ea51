"""Labelled sentences, and the vocabulary that turns words into tokens. Imports no torch.

Used for training from Python: see `supernet.data.token_examples.TokenExamples`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError, ForeignError
from factory_base.files import read_json, write_json
from factory_base.foreign import read_regular

PADDING, UNKNOWN = 0, 1
"""The tokens that do not stand for a word of the vocabulary."""

_MOST_BYTES = 4 * 2**30  # of a file of sentences
_LABEL_DIGITS = 9  # more classes than anybody has
_FORMAT = "model-factory-vocabulary-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSentences:
    """Sentences and their labels.

    Attributes:
        sentences: The sentences as written.
        labels: Class of each sentence, from 0.
    """

    sentences: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that have their own token: word `i` has token `i + 2`, 0 is padding, and 1 is any other word.

    Words are separated by white space and compared in lower case.

    Attributes:
        words: The words in the order of their tokens.

    Raises:
        DataError: There are no words, or a word occurs twice.
    """

    words: tuple[str, ...]
    _tokens: Mapping[str, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        tokens = {word: UNKNOWN + 1 + i for i, word in enumerate(self.words)}
        if not tokens or len(tokens) < len(self.words):
            raise DataError(f"a vocabulary needs distinct words, got {len(self.words)}, {len(tokens)} of them distinct")
        object.__setattr__(self, "_tokens", tokens)

    @staticmethod
    def build(sentences: Iterable[str], size: int) -> Vocabulary:
        """The vocabulary of the most frequent words, with equally frequent ones in alphabetical order.

        Args:
            sentences: Sentences of the training split only, so that nothing is learnt from held-out or test sentences.
            size: Largest number of tokens, padding and unknown words included; 3 or above.

        Raises:
            DataError: The sentences hold no words, or `size` leaves no room for one.
        """
        if size < UNKNOWN + 2:
            raise DataError(f"a vocabulary of {size} tokens has no room for words; choose {UNKNOWN + 2} or more")
        counts = Counter(word for sentence in sentences for word in _split(sentence))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return Vocabulary(tuple(ranked[: size - UNKNOWN - 1]))

    def __len__(self) -> int:
        """Number of tokens, padding and unknown words included."""
        return len(self.words) + UNKNOWN + 1

    def encode(self, sentences: Sequence[str], length: int) -> NDArray[np.int64]:
        """Tokens, int64 (len(sentences), length): longer sentences are truncated, shorter ones padded at the end."""
        tokens = np.full((len(sentences), length), PADDING, dtype=np.int64)
        for row, sentence in zip(tokens, sentences, strict=True):
            words = _split(sentence)[:length]
            row[: len(words)] = [self._tokens.get(word, UNKNOWN) for word in words]
        return tokens

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON. Raises `DiskError`."""
        write_json(path, {"format": _FORMAT, "words": list(self.words)})

    @staticmethod
    def load(path: Path) -> Vocabulary:
        """Read a vocabulary that `save` wrote.

        Raises:
            FactoryError: The file is missing or not JSON.
            DataError: The file is not a vocabulary.
        """
        value = read_json(path)
        words = value.get("words") if isinstance(value, dict) and value.get("format") == _FORMAT else None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(
                f"{path}: is not a vocabulary; expected 'format': '{_FORMAT}' and 'words', a list of strings"
            )
        return Vocabulary(tuple(words))


def load_sentences(path: Path) -> LabelledSentences:
    """Read a UTF-8 file of lines `sentence<TAB>label`, with labels from 0. Empty lines are skipped.

    Raises:
        DataError: The file cannot be read, holds no sentence or more than 4 GiB, or a line is malformed; the message
            names the line.
    """
    try:
        lines = read_regular(path, _MOST_BYTES).decode("utf-8").split("\n")
    except ForeignError as error:
        raise DataError(str(error)) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text") from error
    rows = [_row(line.rstrip("\r"), f"{path}, line {i}") for i, line in enumerate(lines, start=1) if line.strip()]
    if not rows:
        raise DataError(f"{path}: holds no sentences; expected lines of 'sentence<TAB>label'")
    return LabelledSentences(sentences=tuple(s for s, _ in rows), labels=tuple(label for _, label in rows))


def _row(line: str, where: str) -> tuple[str, int]:
    sentence, tab, label = line.rpartition("\t")
    if not tab:
        raise DataError(f"{where}: has no tab; expected 'sentence<TAB>label', got {line!r:.60}")
    if not _split(sentence):
        raise DataError(f"{where}: has no words before the tab")
    if not (label.isascii() and label.isdigit() and len(label) <= _LABEL_DIGITS):
        raise DataError(f"{where}: label {label!r:.60} is not a whole number from 0 to {10**_LABEL_DIGITS - 1:,}")
    return sentence, int(label)


def _split(sentence: str) -> list[str]:
    return sentence.lower().split()
