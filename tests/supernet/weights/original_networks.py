"""The original classes of published networks, where their packages can be imported.

timm and torchvision can be installed with `pip install --no-deps` beside a PyTorch for which torchvision has no build:
its compiled operators are then declared here without an implementation, and no network of these needs one.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import pytest
import torch
from torch import nn

_OPERATORS = ["nms", "qnms", "roi_align", "qroi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d"]
_OPERATORS += [f"_{name}_backward" for name in _OPERATORS if not name.startswith("q") and name != "nms"]
_library: list[Any] = []


def original(layout: str, classes: int) -> nn.Module:
    """A new network of the class that has the layout, in evaluation mode. Skips the test if it cannot be imported."""
    package, name = layout.split(":")
    needed = {"efficientnet_pytorch": ("efficientnet_lite_pytorch",), "timm": ("timm", "torchvision")}
    for module in needed.get(package, (package,)):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed; pip install --no-deps {module}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _declare_operators()
        if package == "timm":
            import timm

            network: nn.Module = timm.create_model(name, num_classes=classes)
        elif package == "efficientnet_pytorch":
            from efficientnet_lite_pytorch import EfficientNet

            network = EfficientNet.from_name(name.replace("_", "-"), num_classes=classes)
        else:
            from torchvision.models import get_model

            network = get_model(name, num_classes=classes)
    return network.eval()


def _declare_operators() -> None:
    if _library:
        return
    _library.append(torch.library.Library("torchvision", "FRAGMENT"))
    for name in _OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            _library[0].define(f"{name}(Tensor x) -> Tensor")
