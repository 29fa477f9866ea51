"""Parts of a chain that several model spaces have in common. See `ChainModelSpace.parts`."""

from __future__ import annotations

from torch import nn


def numbered_blocks(stages: nn.ModuleList) -> dict[str, nn.Module]:
    """The blocks of all stages in order; block `j` of stage `i` is named `stages.<i>.<j>`."""
    return {f"stages.{i}.{name}": block for i, stage in enumerate(stages) for name, block in stage.named_children()}
