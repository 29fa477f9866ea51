"""How a text becomes the input of a model, as a manifest states it: with the tokenizer that is a file of the family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .strict_json import take

MAX_LENGTH = 1 << 16
"""The most tokens of an input: half a megabyte."""
DTYPE = "int64"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenForm:
    """The input of a model that takes tokens.

    Attributes:
        length: The number of tokens that the model takes: the first of those of a text.
        text_length: The number of tokens to which the tokenizer truncates a text, and up to which it is padded.
        padding: The token that fills a text up.
        vocabulary: The number of tokens; all are below it.
        encode: The tokens of a text, at most `text_length`; None if the tokenizer was not read.
    """

    length: int
    text_length: int
    padding: int
    vocabulary: int
    encode: Callable[[str], Sequence[int]] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, without the batch."""
        return (self.length,)

    @property
    def input_bytes(self) -> int:
        """The size of one input."""
        return 8 * self.length

    def takes(self, entry: Any) -> bool:
        """Whether an entry of the samples has inputs of this form."""
        return isinstance(entry, dict) and (entry.get("length"), entry.get("dtype")) == (self.length, DTYPE)

    def with_tokenizer(self, data: bytes) -> TokenForm:
        """This form with the tokenizer in a file, which is read when it is needed first."""
        return replace(self, encode=_LazyTokenizer(data, self.text_length))

    def prepare(self, given: str | Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
        """The input for a text, or for the tokens that an app's own tokenizer returned, int64 `(1, length)`.

        Raises:
            ValueError: There are more tokens than `text_length`, or some that the model does not know; or the given
                value is a text, and the package `tokenizers` is not installed or refuses the file.
        """
        if isinstance(given, str):
            if self.encode is None:
                raise ValueError("the tokenizer of the family was not read; give its tokens")
            given = self.encode(given)
        tokens = np.asarray(given)
        if tokens.size and (tokens.ndim != 1 or tokens.dtype.kind not in "iu"):
            raise ValueError("a text is a string or a list of tokens, which are integers")
        if tokens.size > self.text_length:
            raise ValueError(
                f"there are {tokens.size} tokens, at most {self.text_length} are allowed; truncate the text"
            )
        if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.vocabulary:
            raise ValueError(f"the tokens are {tokens.min()} to {tokens.max()}, expected 0 to {self.vocabulary - 1}")
        padded = np.full(self.text_length, self.padding, np.int64)
        padded[: tokens.size] = tokens
        return padded[None, : self.length]

    def unpack(self, data: bytes, count: int) -> NDArray[Any]:
        """`count` inputs from raw little-endian values."""
        return np.frombuffer(data, "<i8").astype(np.int64).reshape(count, self.length)

    def zeros(self) -> NDArray[Any]:
        """An input of padding alone, with a batch of one."""
        return np.full((1, self.length), self.padding, np.int64)


def token_form(task: dict[str, Any], model: dict[str, Any]) -> TokenForm:
    """The form of a model's input. Raises `ValueError` if the manifest lacks something, or has another tokenizer."""
    if take(task, str, "tokenizer", "format") != "tokenizers_json" or take(task, str, "input", "dtype") != DTYPE:
        raise ValueError("the manifest needs a tokenizer that this program does not know; update the app")
    length, text_length = take(model, int, "input", "length"), take(task, int, "input", "length")
    padding, vocabulary = take(task, int, "input", "padding"), take(task, int, "input", "vocabulary")
    if not 0 < length <= text_length <= MAX_LENGTH or not 0 <= padding < vocabulary:
        raise ValueError("the manifest has no usable task.input of tokens; download the family again")
    return TokenForm(length=length, text_length=text_length, padding=padding, vocabulary=vocabulary)


class _LazyTokenizer:
    def __init__(self, data: bytes, length: int) -> None:
        self._data, self._length = data, length
        self._made: Any = None

    def __call__(self, text: str) -> list[int]:
        if self._made is None:
            self._made = self._read()
        return list(self._made.encode(text).ids)

    def _read(self) -> Any:
        try:
            import tokenizers
        except ImportError as error:
            raise ValueError("texts need the package tokenizers; run: pip install tokenizers") from error
        try:
            made = tokenizers.Tokenizer.from_str(self._data.decode("utf-8"))
            made.no_padding()
            made.enable_truncation(self._length)
        except Exception as error:  # the package raises plain exceptions
            raise ValueError(f"the tokenizer of the family cannot be read ({str(error)[:200]})") from error
        return made
