"""Parts that several model spaces name alike, for `ChainModelSpace.parts`."""

from __future__ import annotations

from torch import nn


def numbered_blocks(stages: nn.ModuleList) -> dict[str, nn.Module]:
    """The blocks of stages in order, block `j` of stage `i` as `stages.<i>.<j>`."""
    return {f"stages.{i}.{name}": block for i, stage in enumerate(stages) for name, block in stage.named_children()}
