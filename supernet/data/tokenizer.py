"""Tokenizers: text to tokens, in the format and with the code of the package `tokenizers`.

A data set gets a WordPiece tokenizer (Schuster and Nakajima, 2012; as in BERT, Devlin et al., 2018) that is trained on
the texts of its training split, or a `tokenizer.json` that the user has. Imports neither torch nor `tokenizers`.
"""

from __future__ import annotations

import importlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import ConfigError, DataError, ForeignError
from factory_base.files import sha256_bytes
from factory_base.foreign import one_line, read_regular

PADDING, UNKNOWN = 0, 1
"""The tokens of trained tokenizers that stand for no piece of text."""
_PADDING_WORD, _UNKNOWN_WORD = "[PAD]", "[UNK]"  # as in BERT
_PADDING_WORDS: Final = (_PADDING_WORD, "<pad>", "<|padding|>", "[pad]")
"""The usual names of the padding token, for files that do not state it."""

FEWEST_TOKENS: Final = 16
"""Of a trained tokenizer: padding, the unknown token, and some characters."""
_CHARACTER_SHARE: Final = 4
"""One character per so many tokens is kept, and the others are unknown. A character takes up to two tokens, because it
begins words and continues them, so that half of the tokens are left for longer pieces."""
_CONTINUES: Final = "##"
_LONGEST_WORD: Final = 100  # characters; longer "words" are unknown, as in BERT
_MOST_BYTES: Final = 64 * 2**20  # of a tokenizer file; those of the largest vocabularies have about 20 MB
_PROBE: Final = "a"
"""A text that every tokenizer turns into something, to see what it puts around texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """A tokenizer of the package `tokenizers`.

    Attributes:
        content: The file `tokenizer.json`, UTF-8, whose `padding` names the padding token.
        vocabulary: Number of tokens: all are below it.
        padding: The token after the end of a text.
        unknown: The token of what has no other; None if everything has one.
        ending: Special tokens that it puts after each text, and keeps when it truncates one.
    """

    content: bytes
    vocabulary: int
    padding: int
    unknown: int | None
    ending: tuple[int, ...] = ()
    _library: Any = field(repr=False, compare=False)

    @property
    def sha256(self) -> str:
        """Lower-case hex digest of `content`."""
        return sha256_bytes(self.content)

    def encode(self, texts: Sequence[str], length: int) -> NDArray[np.int64]:
        """Tokens, int64 (len(texts), length): longer texts are truncated, shorter ones padded at the end.

        Raises:
            DataError: `length` has no room beside the special tokens.
        """
        return self.encode_counted(texts, length)[0]

    def encode_counted(self, texts: Sequence[str], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As `encode`, and the number of tokens of each text before it is truncated, special ones included."""
        kept = length - len(self.ending)
        if kept < 1:
            raise DataError(f"{length} tokens have no room beside the tokenizer's special ones; choose a larger length")
        tokens = np.full((len(texts), length), self.padding, dtype=np.int64)
        counts = np.zeros(len(texts), dtype=np.int64)
        for row, found in enumerate(self._library.encode_batch_fast(list(texts))):
            ids = found.ids
            counts[row] = len(ids)
            if len(ids) > length:
                ids = [*ids[:kept], *self.ending]
            tokens[row, : len(ids)] = ids
        return tokens, counts

    def decode(self, tokens: NDArray[np.int64]) -> list[str]:
        """Texts, (n,), for tokens (n, length), as far as these tell: what is unknown or was truncated is missing."""
        rows = [[token for token in row if token != self.padding] for row in tokens.tolist()]
        return [str(text) for text in self._library.decode_batch(rows)]


def trained_tokenizer(chunks: Callable[[], Iterable[Sequence[str]]], vocabulary: int) -> Tokenizer:
    """A WordPiece tokenizer of exactly `vocabulary` tokens.

    Texts are brought into Unicode's form NFKC and lower case; accents are kept. Words end at white space and
    punctuation, and every Chinese character is a word. Token 0 is padding and 1 unknown. The result depends on the
    texts alone: characters are ordered before training, because the trainer of the package numbers them at random.

    Args:
        chunks: Called for the texts of the training split, some at a time, more than once.
        vocabulary: Number of tokens, `FEWEST_TOKENS` or above.

    Raises:
        DataError: The texts have too few pieces for so many tokens.
        ConfigError: The package is not installed.
    """
    library = _library()
    normalizer = _normalizer(library)
    dropped = _rare_characters(chunks, normalizer, vocabulary // _CHARACTER_SHARE)

    def texts() -> Iterable[str]:
        for chunk in chunks():
            yield from (normalizer.normalize_str(text).translate(dropped) for text in chunk)

    characters = sorted(_vocabulary(library, texts(), 0, []))
    tokens = _vocabulary(library, texts(), vocabulary, [_PADDING_WORD, _UNKNOWN_WORD, *characters])
    if len(tokens) != vocabulary:
        raise DataError(
            f"the training texts give a tokenizer of {len(tokens):,} tokens, but the vocabulary has {vocabulary:,}; "
            f"set model.vocabulary to {len(tokens)} or less"
        )
    made = _blank(library, tokens)
    made.normalizer = normalizer
    made.add_special_tokens([_PADDING_WORD, _UNKNOWN_WORD])
    return tokenizer_of(made.to_str().encode(), "the trained tokenizer")


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`, as `tokenizers.Tokenizer.save` and pretrained models of `transformers` have it.

    Raises:
        DataError: The file cannot be read, or is not a tokenizer, or has no padding token.
        ConfigError: The package is not installed.
    """
    try:
        content = read_regular(path, _MOST_BYTES)
    except ForeignError as error:
        raise DataError(f"{error}; see data.tokenizer") from error
    return tokenizer_of(content, str(path))


def tokenizer_of(content: bytes, where: str) -> Tokenizer:
    """The tokenizer in the bytes of a `tokenizer.json`. For `where` and errors, see `load_tokenizer`."""
    library = _library()
    try:
        made = library.Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # the package raises plain exceptions
        raise DataError(f"{where}: is not a tokenizer of the package tokenizers ({one_line(error)})") from error
    padding, word = _padding(made, where)
    made.no_truncation()
    made.enable_padding(direction="right", pad_id=padding, pad_token=word)
    text = made.to_str()
    made.no_padding()
    unknown = json.loads(text)["model"].get("unk_token")
    return Tokenizer(
        content=text.encode(),
        vocabulary=max(made.get_vocab().values()) + 1,
        padding=padding,
        unknown=made.token_to_id(unknown) if unknown is not None else None,
        ending=_ending(made),
        _library=made,
    )


def _library() -> Any:
    # Without a choice, the package prints a warning whenever a process is started after it has used its threads.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        return importlib.import_module("tokenizers")
    except ImportError as error:
        raise ConfigError(
            "texts need the package tokenizers, which is not installed; run pip install -e '.[text]'"
        ) from error


def _normalizer(library: Any) -> Any:
    parts = library.normalizers
    return parts.Sequence([parts.NFKC(), parts.BertNormalizer(strip_accents=False, lowercase=True)])


def _blank(library: Any, tokens: dict[str, int]) -> Any:
    model = library.models.WordPiece(
        tokens, unk_token=_UNKNOWN_WORD, continuing_subword_prefix=_CONTINUES, max_input_chars_per_word=_LONGEST_WORD
    )
    made = library.Tokenizer(model)
    made.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    made.decoder = library.decoders.WordPiece(prefix=_CONTINUES)
    return made


def _vocabulary(library: Any, texts: Iterable[str], size: int, first: list[str]) -> dict[str, int]:
    """The tokens of a training on normalised texts, of which `first` come first; characters alone with size 0."""
    trainer = library.trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=first, continuing_subword_prefix=_CONTINUES, show_progress=False
    )
    made = _blank(library, {})
    made.train_from_iterator(texts, trainer)
    return dict(made.get_vocab())


def _rare_characters(chunks: Callable[[], Iterable[Sequence[str]]], normalizer: Any, kept: int) -> dict[int, str]:
    """A table for `str.translate` that replaces all but the `kept` most frequent characters by a space."""
    counts: Counter[str] = Counter()
    for chunk in chunks():
        counts.update("".join(normalizer.normalize_str(text) for text in chunk))
    ranked = sorted(counts, key=lambda c: (-counts[c], c))
    return {ord(character): " " for character in ranked[kept:]}


def _padding(made: Any, where: str) -> tuple[int, str]:
    if made.padding:
        return int(made.padding["pad_id"]), str(made.padding["pad_token"])
    for word in _PADDING_WORDS:
        if (token := made.token_to_id(word)) is not None:
            return int(token), word
    raise DataError(
        f"{where}: has no padding token (none of {', '.join(_PADDING_WORDS)}); state it with "
        "Tokenizer.enable_padding(pad_id=..., pad_token=...) and save the file again"
    )


def _ending(made: Any) -> tuple[int, ...]:
    """What the tokenizer puts after a text."""
    framed, plain = (made.encode(_PROBE, add_special_tokens=special).ids for special in (True, False))
    for start in range(len(framed) - len(plain) + 1):
        if framed[start : start + len(plain)] == plain:
            return tuple(framed[start + len(plain) :])
    return ()
