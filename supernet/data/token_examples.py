"""Texts as examples: tokens in memory, truncated to a subnet's length as network inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from factory_base.errors import DataError
from supernet.data.examples import Draws
from supernet.data.text import PADDING, UNKNOWN, LabelledSentences, Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenExamples:
    """Texts as tokens. See `supernet.data.examples.Examples`.

    Attributes:
        tokens: int64 (n, length), padded with 0 at the end.
        labels: int64 (n,).
        weights: How much each text counts in training, float32 (n,) of mean 1; None if all count alike.
        word_dropout: Probability, 0 to below 1, that a word is replaced by the unknown word during training.

    Raises:
        DataError: A type, a shape or `word_dropout` is wrong.
    """

    tokens: Tensor
    labels: Tensor
    word_dropout: float = 0.0
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        fits = self.tokens.ndim == 2 and self.labels.shape == self.tokens.shape[:1]
        if not fits or self.tokens.dtype != torch.int64 or self.labels.dtype != torch.int64:
            raise DataError(
                f"tokens are {self.tokens.dtype} of shape {tuple(self.tokens.shape)} and labels {self.labels.dtype} of "
                f"shape {tuple(self.labels.shape)}, expected int64 (n, length) and int64 (n,)"
            )
        if not 0 <= self.word_dropout < 1:
            raise DataError(f"word_dropout is {self.word_dropout}, expected 0 to below 1")

    @staticmethod
    def of(
        sentences: LabelledSentences, vocabulary: Vocabulary, length: int, word_dropout: float = 0.0
    ) -> TokenExamples:
        """`sentences` as tokens of `vocabulary`, truncated or padded to `length`."""
        return TokenExamples(
            tokens=torch.from_numpy(vocabulary.encode(sentences.sentences, length)),
            labels=torch.tensor(sentences.labels, dtype=torch.int64),
            word_dropout=word_dropout,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor, draws: Draws | None) -> Tensor:
        """Tokens, int64 (b, length), with word dropout if `draws` is given. See `Examples`."""
        tokens = self.tokens[rows]
        if draws is None or not self.word_dropout:
            return tokens
        is_hidden = (draws.uniform(rows, 0, tokens.shape[1]) < self.word_dropout) & (tokens != PADDING)
        return tokens.masked_fill(is_hidden, UNKNOWN)

    def to_input(self, batch: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The first `shape[0]` tokens, int64 (b, *shape). See `Examples`.

        Raises:
            DataError: The network takes more tokens than are stored.
        """
        if shape[0] > batch.shape[1]:
            raise DataError(
                f"a network takes {shape[0]} tokens but examples have {batch.shape[1]}; "
                "encode them with the largest length"
            )
        return batch[:, : shape[0]]
