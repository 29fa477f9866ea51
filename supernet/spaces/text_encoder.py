"""A text encoder with elastic length, width and depth, and per block heads and MLP ratio. Inputs are tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from supernet.sharing.importance import SortGroup
from supernet.sharing.slicing import SliceRule
from supernet.space import SearchSpace, SubnetConfig
from supernet.spaces.sorting import text_width_group, transformer_block_groups
from supernet.spaces.transformer import SLICING, initialise, make_blocks
from supernet.spaces.transformer_config import TextEncoderConfig, text_search_space

_PADDING = 0
_PADDING_SCORE = -1e4
"""Added to the attention scores of padding. Not infinite, so that a text without words gives finite outputs; the weight
of padding beside a word is 0 in float32, and float16 (up to 65504) holds the number."""


class TextEncoderSpace:
    """The model space of a `TextEncoderConfig` for texts of `classes` classes."""

    def __init__(self, config: TextEncoderConfig, classes: int) -> None:
        self._config = config
        self._classes = classes
        self._space = text_search_space(config)

    @property
    def space(self) -> SearchSpace:
        """The named choices; see `text_search_space`."""
        return self._space

    @property
    def slicing(self) -> Mapping[str, SliceRule]:
        """The rule for the fused query, key and value matrices. See `SlicedModelSpace`."""
        return SLICING

    @property
    def sortable(self) -> tuple[SortGroup, ...]:
        """The channels of the residual stream, the heads and the MLP neurons. See `SortableModelSpace`."""
        blocks = [f"blocks.{i}" for i in range(self._config.depths[-1])]
        groups = (group for block in blocks for group in transformer_block_groups(block, self._config.head_dim))
        return (text_width_group(blocks), *groups)

    @property
    def vocabulary(self) -> int:
        """Number of tokens. See `TokenModelSpace`."""
        return self._config.vocabulary

    @property
    def padding(self) -> int:
        """The token that the networks ignore. See `TokenModelSpace`."""
        return _PADDING

    def build(self, subnet: SubnetConfig) -> nn.Module:
        """The network of `subnet`: int64 tokens (batch, length), 0 for padding -> logits (batch, classes)."""
        return TextEncoder(self._config, subnet, self._classes)

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """(length,)."""
        return (int(subnet["length"]),)


class TextEncoder(nn.Module):
    """A static network. Attention ignores padding, and so does the mean over tokens before the classifier."""

    def __init__(self, config: TextEncoderConfig, subnet: SubnetConfig, classes: int) -> None:
        super().__init__()
        length, width = int(subnet["length"]), int(subnet["width"])
        self.words = nn.Embedding(config.vocabulary, width, padding_idx=_PADDING)
        self.places = nn.Embedding(length, width)  # learned positions; a shorter text uses the leading ones
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = make_blocks(config, subnet)
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)
        self.apply(initialise)

    def forward(self, tokens: Tensor) -> Tensor:  # (batch, length) -> (batch, classes)
        """Logits of a batch of texts, which may be shorter than the network's length."""
        is_word = tokens != _PADDING
        x = self.dropout(self.words(tokens) + self.places.weight[: tokens.shape[1]])  # (batch, length, width)
        bias = torch.where(is_word, 0.0, _PADDING_SCORE)[:, None, None]
        for block in self.blocks:
            x = block(x, bias)
        share = is_word.to(x.dtype)[..., None]
        pooled = (self.norm(x) * share).sum(1) / share.sum(1).clamp(min=1)
        return self.classifier(pooled)  # type: ignore[no-any-return]
