"""Which units of a model of `transformers` can be sorted: its elastic neurons, heads and channels.

What an elastic field shrinks is found by comparing the shapes of the largest network with those of one in which the
field alone is smaller. If it shrinks axes within the layers alone, these are the neurons or heads of each layer. If it
shrinks the word embeddings too, it is the width of the residual stream, which runs through all layers; in networks with
the layer names of BERT the stream can be sorted as well, and the heads that grow with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from torch import nn

from supernet.sharing.importance import SortGroup, UnitAxis
from supernet.spaces.hf_config import SegmentsConfig

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a parameter -> its shape."""

_LAYER: Final = re.compile(r"^(.*?\.\d+)\.")
_BERT_ATTENTION: Final = re.compile(r"^(.*\.attention)\.self\.(query|key|value)\.(weight|bias)$")
_BERT_PROJECTION: Final = ".attention.output.dense.weight"
_BERT_POOLER: Final = ".pooler.dense."


def sort_groups_of(
    largest: Shapes,
    smaller: Sequence[Shapes],
    network: nn.Module,
    head_channels: int,
    segments: Mapping[str, SegmentsConfig],
) -> tuple[SortGroup, ...]:
    """The groups of units that elastic fields shrink.

    Args:
        largest: The shapes of the largest network.
        smaller: For each elastic field, the shapes of the network in which it alone is smaller.
        network: The largest network, on any device.
        head_channels: Channels of an attention head; 0 if there are none.
        segments: The segments of fused weights; see `TransformersConfig.segments`.
    """
    groups: list[SortGroup] = []
    for shapes in smaller:
        axes = [
            (name, axis)
            for name, shape in shapes.items()
            for axis, size in enumerate(shape)
            if size < largest[name][axis]
        ]
        if all(_LAYER.match(name) for name, _ in axes):
            groups += _inner_groups(axes, network, head_channels, segments)
        elif any(_BERT_ATTENTION.match(name) for name, _ in axes):
            groups += _stream_groups(axes, network, head_channels)
    return tuple(groups)


def _inner_groups(
    axes: Sequence[tuple[str, int]], network: nn.Module, head_channels: int, segments: Mapping[str, SegmentsConfig]
) -> list[SortGroup]:
    """The neurons, or the heads, of each layer."""
    layers: dict[str, list[tuple[str, int]]] = {}
    for name, axis in axes:
        if found := _LAYER.match(name):
            layers.setdefault(found[1], []).append((name, axis))
    return [
        group
        for layer in layers.values()
        if (group := _group(layer, network, head_channels if _are_heads(layer) else 1, segments)) is not None
    ]


def _stream_groups(axes: Sequence[tuple[str, int]], network: nn.Module, head_channels: int) -> list[SortGroup]:
    """The channels of the residual stream, those of the pooler, and the heads of each layer, by the names of BERT."""
    heads: dict[str, list[tuple[str, int]]] = {}
    pooler: list[tuple[str, int]] = []
    stream: list[tuple[str, int]] = []
    has_pooler = any(_BERT_POOLER in name for name, _ in axes)
    for name, axis in axes:
        attention = _BERT_ATTENTION.match(name)
        if attention and axis == 0:
            heads.setdefault(attention[1], []).append((name, axis))
        elif name.endswith(_BERT_PROJECTION) and axis == 1:
            heads.setdefault(name.removesuffix(_BERT_PROJECTION) + ".attention", []).append((name, axis))
        elif has_pooler and ((_BERT_POOLER in name and axis == 0) or name.endswith("classifier.weight")):
            pooler.append((name, axis))
        else:
            stream.append((name, axis))
    sets = [(stream, 1), (pooler, 1), *((found, head_channels) for found in heads.values())]
    return [group for found, block in sets if (group := _group(found, network, block, {})) is not None]


def _group(
    axes: Sequence[tuple[str, int]], network: nn.Module, block: int, segments: Mapping[str, SegmentsConfig]
) -> SortGroup | None:
    """The units along `axes`; None if nothing reads them."""
    readers: list[UnitAxis] = []
    others: list[UnitAxis] = []
    for name, axis in axes:
        rule = next((r for pattern, r in segments.items() if fnmatchcase(name, pattern) and r.axis == axis), None)
        unit = UnitAxis(name, axis, block=block, segments=rule.count if rule else 1)
        (readers if _reads(name, axis, network) else others).append(unit)
    return SortGroup(ranked_by=tuple(readers), along=tuple(others)) if readers and others else None


def _reads(name: str, axis: int, network: nn.Module) -> bool:
    """Whether an axis of a parameter is the input of a matrix product."""
    owner, _, kind = name.rpartition(".")
    layer = network.get_submodule(owner)
    if kind != "weight" or isinstance(layer, nn.Embedding):
        return False
    if type(layer).__name__ == "Conv1D":  # the layer of GPT-2, whose weight is transposed
        return axis == 0
    return isinstance(layer, nn.Linear) and axis == 1


def _are_heads(axes: Sequence[tuple[str, int]]) -> bool:
    return any(re.search(r"attn|attention", name) for name, _ in axes) and not any(
        re.search(r"mlp|ffn|intermediate", name) for name, _ in axes
    )
