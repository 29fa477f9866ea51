"""Texts as examples: tokens in memory, truncated to a subnet's length as network inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from factory_base.errors import DataError
from supernet.data.examples import Draws
from supernet.data.types import LabelledTexts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenExamples:
    """Texts as tokens. See `supernet.data.examples.Examples`.

    Attributes:
        tokens: int64 (n, length), padded at the end.
        labels: int64 (n,).
        padding: The token after the end of a text.
        unknown: The token by which word dropout replaces others; without it, they are replaced by padding.
        word_dropout: Probability, 0 to below 1, that a token is hidden during training.
        weights: How much each text counts in training, float32 (n,) of mean 1; None if all count alike.

    Raises:
        DataError: A type, a shape or `word_dropout` is wrong.
    """

    tokens: Tensor
    labels: Tensor
    padding: int = 0
    unknown: int | None = 1
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
    def of(texts: LabelledTexts, word_dropout: float = 0.0) -> TokenExamples:
        """A split, with word dropout for training."""
        return TokenExamples(
            tokens=torch.from_numpy(texts.tokens),
            labels=torch.from_numpy(texts.labels),
            padding=texts.padding,
            unknown=texts.unknown,
            word_dropout=word_dropout,
            weights=None if texts.weights is None else torch.from_numpy(texts.weights / texts.weights.mean()),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor, draws: Draws | None) -> Tensor:
        """Tokens, int64 (b, length), with word dropout if `draws` is given. See `Examples`."""
        tokens = self.tokens[rows]
        if draws is None or not self.word_dropout:
            return tokens
        is_hidden = (draws.uniform(rows, 0, tokens.shape[1]) < self.word_dropout) & (tokens != self.padding)
        return tokens.masked_fill(is_hidden, self.padding if self.unknown is None else self.unknown)

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
