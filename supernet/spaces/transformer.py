"""Pre-norm transformer blocks (Vaswani et al., 2017; Xiong et al., 2020) of `vit` and `text_encoder`, in plain PyTorch.

Weight sharing: a narrower network has the leading channels of the largest network, and a block with fewer heads has the
leading heads. Query, key and value are one fused matrix, so its rows are three segments, and a subnet has the leading
part of each (`SLICING`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from supernet.sharing.slicing import Segments, SliceRule
from supernet.space import SubnetConfig
from supernet.spaces.transformer_config import TransformerConfig

SLICING: Mapping[str, SliceRule] = MappingProxyType({"blocks.*.attention.qkv.*": Segments(axis=0, count=3)})
"""The exceptions to the default plan for a network whose `Block`s are named `blocks.<i>`."""


class SelfAttention(nn.Module):
    """Scaled dot-product self-attention with `heads` heads of `head_dim` channels."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.qkv = nn.Linear(width, 3 * heads * head_dim)
        self.project = nn.Linear(heads * head_dim, width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:  # (batch, tokens, width) -> the same
        """`bias`, (batch, 1, 1, tokens), is added to the attention scores of each key; None adds nothing."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # (batch, heads, tokens, head_dim) each
        mask = None if bias is None else bias.to(query.dtype)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.project(mixed.transpose(1, 2).reshape(batch, tokens, -1))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention, then an MLP, each after layer normalisation and with a shortcut."""

    def __init__(self, width: int, heads: int, head_dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, head_dim)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_expand = nn.Linear(width, hidden)
        self.mlp_project = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:  # (batch, tokens, width) -> the same
        """For `bias`, see `SelfAttention`."""
        x = x + self.dropout(self.attention(self.attention_norm(x), bias))
        hidden = functional.gelu(self.mlp_expand(self.mlp_norm(x)))
        return x + self.dropout(self.mlp_project(hidden))  # type: ignore[no-any-return]


def make_blocks(config: TransformerConfig, subnet: SubnetConfig) -> nn.ModuleList:
    """The blocks of `subnet`."""
    values = subnet.to_dict()
    width = int(values["width"])
    blocks = nn.ModuleList()
    for i in range(int(values["depth"])):
        hidden = hidden_width(width, values[f"blocks.{i}.mlp_ratio"])
        blocks.append(Block(width, int(values[f"blocks.{i}.heads"]), config.head_dim, hidden, config.dropout))
    return blocks


def hidden_width(width: int, ratio: float) -> int:
    """Hidden channels of an MLP: `width` times `ratio`, rounded to a multiple of 8, and at least 8.

    Mobile kernels process 8 channels together.
    """
    return max(8, round(width * ratio / 8) * 8)


def initialise(module: nn.Module) -> None:
    """Fresh weights for one layer; call it by `network.apply(initialise)`.

    Xavier initialisation (Glorot and Bengio, 2010) for linear layers, and the 0.02 of BERT (Devlin et al., 2018) for
    embeddings.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()
