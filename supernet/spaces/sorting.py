"""Units that can be sorted by importance in blocks of several model spaces. See `supernet.sharing.importance`."""

from __future__ import annotations

from supernet.sharing.importance import SortGroup, UnitAxis


def weight_and_bias(layer: str) -> tuple[UnitAxis, UnitAxis]:
    """The outputs of a linear layer, or the channels of a normalisation layer."""
    return UnitAxis(f"{layer}.weight"), UnitAxis(f"{layer}.bias")


def inverted_residual_groups(block: str, *, squeeze_excite: bool) -> list[SortGroup]:
    """The hidden channels of an inverted residual block, and the channels inside its squeeze-and-excitation.

    Args:
        block: Name of a module with the layers `expand`, `depthwise` and `project`, each with a `conv` and a `norm`,
            and optionally `squeeze_excite` with `squeeze` and `excite`.
        squeeze_excite: Whether the block has `squeeze_excite`.
    """
    gate = f"{block}.squeeze_excite"
    hidden = [UnitAxis(f"{block}.expand.conv.weight"), *weight_and_bias(f"{block}.expand.norm")]
    hidden += [UnitAxis(f"{block}.depthwise.conv.weight"), *weight_and_bias(f"{block}.depthwise.norm")]
    if squeeze_excite:
        hidden += [
            UnitAxis(f"{gate}.squeeze.weight", 1),
            UnitAxis(f"{gate}.excite.weight"),
            UnitAxis(f"{gate}.excite.bias"),
        ]
    groups = [SortGroup(ranked_by=(UnitAxis(f"{block}.project.conv.weight", 1),), along=tuple(hidden))]
    if squeeze_excite:
        along = (UnitAxis(f"{gate}.squeeze.weight"), UnitAxis(f"{gate}.squeeze.bias"))
        groups.append(SortGroup(ranked_by=(UnitAxis(f"{gate}.excite.weight", 1),), along=along))
    return groups


def transformer_block_groups(block: str, head_dim: int) -> list[SortGroup]:
    """The heads (of `head_dim` channels) and MLP neurons of a `supernet.spaces.transformer.Block` named `block`."""
    qkv, mlp = f"{block}.attention.qkv", f"{block}.mlp_expand"
    heads = SortGroup(
        ranked_by=(UnitAxis(f"{block}.attention.project.weight", 1, block=head_dim),),
        along=tuple(UnitAxis(f"{qkv}.{part}", block=head_dim, segments=3) for part in ("weight", "bias")),
    )
    neurons = SortGroup(ranked_by=(UnitAxis(f"{block}.mlp_project.weight", 1),), along=weight_and_bias(mlp))
    return [heads, neurons]


def text_width_group(blocks: list[str]) -> SortGroup:
    """The channels of the residual stream of a `supernet.spaces.text_encoder.TextEncoder` with these blocks."""
    readers = [f"{block}.{layer}" for block in blocks for layer in ("attention.qkv", "mlp_expand")]
    writers = [f"{block}.{layer}" for block in blocks for layer in ("attention.project", "mlp_project")]
    norms = [f"{block}.{layer}" for block in blocks for layer in ("attention_norm", "mlp_norm")]
    moved = [axis for layer in (*writers, *norms, "norm") for axis in weight_and_bias(layer)]
    return SortGroup(
        ranked_by=tuple(UnitAxis(f"{reader}.weight", 1) for reader in (*readers, "classifier")),
        along=(UnitAxis("words.weight", 1), UnitAxis("places.weight", 1), *moved),
    )
