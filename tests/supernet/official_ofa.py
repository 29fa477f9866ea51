"""Official once-for-all supernets, written by hand: checkpoints of their layout with random weights, and their logits.

They are written from the description of the layout, with neither our model spaces nor our slicing, as dictionaries of
tensors under the official names and a function that slices them while it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A family: widths before the multiplier, and for each stage its activation, its gate and its stored blocks."""

    stem: int
    first: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    sizes: tuple[int, ...]
    activations: str  # one letter per stage: r ReLU, 6 ReLU6, h hard-swish
    gated: tuple[int, ...] = ()
    stem_activation: str
    first_activation: str
    first_shortcut: bool
    eps: float


LAYOUTS = {
    "ofa_mbv3": Layout(
        stem=16, first=16, widths=(24, 40, 80, 112, 160), strides=(2, 2, 2, 1, 2), sizes=(4,) * 5, activations="rrhhh",
        gated=(1, 3, 4), stem_activation="h", first_activation="r", first_shortcut=True, eps=1e-5,
    ),
    "ofa_proxyless": Layout(
        stem=32, first=16, widths=(24, 40, 80, 96, 192, 320), strides=(2, 2, 2, 1, 2, 1), sizes=(4,) * 5 + (1,),
        activations="666666", stem_activation="6", first_activation="6", first_shortcut=False, eps=1e-3,
    ),
}  # fmt: skip


def divisible(channels: float) -> int:
    """`channels` rounded to a multiple of 8, as the official code does."""
    result = max(8, int(channels + 4) // 8 * 8)
    return result + 8 if result < 0.9 * channels else result


@dataclass(slots=True)
class _Writer:
    """Collects named random tensors."""

    generator: torch.Generator
    static: bool
    state: dict[str, Tensor] = field(default_factory=dict)

    def random(self, name: str, *shape: int, spread: float, centre: float = 0.0) -> None:
        self.state[name] = centre + spread * torch.randn(shape, generator=self.generator)

    def conv(self, layer: str, *shape: int, dynamic: bool) -> None:
        inner = ".conv.conv" if dynamic and not self.static else ".conv"
        self.random(f"{layer}{inner}.weight", *shape, spread=(2 / (shape[1] * shape[2] * shape[3])) ** 0.5)

    def norm(self, layer: str, channels: int, *, dynamic: bool) -> None:
        inner = f"{layer}.bn.bn" if dynamic and not self.static else f"{layer}.bn"
        self.random(f"{inner}.weight", channels, spread=0.1, centre=1)
        self.random(f"{inner}.bias", channels, spread=0.1)
        self.random(f"{inner}.running_mean", channels, spread=0.1)
        self.state[f"{inner}.running_var"] = 0.5 + torch.rand(channels, generator=self.generator)
        self.state[f"{inner}.num_batches_tracked"] = torch.tensor(7)


def official_state(
    family: str, width_mult: float, classes: int = 5, *, block: str = "mobile_inverted_conv", static: bool = False
) -> dict[str, Tensor]:
    """The state dict of a supernet with random weights, the same every time.

    Args:
        family: A key of `LAYOUTS`.
        width_mult: Multiplier of all widths.
        classes: Number of classes.
        block: Spelling of a block's convolution: `mobile_inverted_conv` in files, `conv` in the current code.
        static: Whether it is the static largest network, without doubled names and kernel matrices.
    """
    layout, writer = LAYOUTS[family], _Writer(torch.Generator().manual_seed(0), static)
    stem, channels = divisible(layout.stem * width_mult), divisible(layout.first * width_mult)
    writer.conv("first_conv", stem, 3, 3, 3, dynamic=False)
    writer.norm("first_conv", stem, dynamic=False)
    for layer, shape in (("depth_conv", (stem, 1, 3, 3)), ("point_linear", (channels, stem, 1, 1))):
        writer.conv(f"blocks.0.{block}.{layer}", *shape, dynamic=False)
        writer.norm(f"blocks.0.{block}.{layer}", shape[0], dynamic=False)
    number = 1
    for stage, width in enumerate(layout.widths):
        for _ in range(layout.sizes[stage]):
            outputs = divisible(width * width_mult)
            _write_block(writer, f"blocks.{number}.{block}", channels, outputs, stage in layout.gated)
            number, channels = number + 1, outputs
    _write_head(writer, family, channels, width_mult, classes)
    return writer.state


def _write_block(writer: _Writer, block: str, inputs: int, outputs: int, gated: bool) -> None:
    middle = divisible(round(inputs * 6))
    layers = {
        "inverted_bottleneck": (middle, inputs, 1, 1),
        "depth_conv": (middle, 1, 7, 7),
        "point_linear": (outputs, middle, 1, 1),
    }
    for layer, shape in layers.items():
        writer.conv(f"{block}.{layer}", *shape, dynamic=True)
        writer.norm(f"{block}.{layer}", shape[0], dynamic=True)
    if not writer.static:
        for name, size in (("7to5", 25), ("5to3", 9)):
            writer.random(f"{block}.depth_conv.conv.{name}_matrix", size, size, spread=1.5 / size**0.5)
    if gated:
        hidden = divisible(middle // 4)
        writer.random(f"{block}.depth_conv.se.fc.reduce.weight", hidden, middle, 1, 1, spread=(2 / middle) ** 0.5)
        writer.random(f"{block}.depth_conv.se.fc.reduce.bias", hidden, spread=0.1)
        writer.random(f"{block}.depth_conv.se.fc.expand.weight", middle, hidden, 1, 1, spread=(2 / hidden) ** 0.5)
        writer.random(f"{block}.depth_conv.se.fc.expand.bias", middle, spread=0.1)


def _write_head(writer: _Writer, family: str, channels: int, width_mult: float, classes: int) -> None:
    mixed = divisible(1280 * width_mult)
    if family == "ofa_mbv3":
        expanded = divisible(960 * width_mult)
        writer.conv("final_expand_layer", expanded, channels, 1, 1, dynamic=False)
        writer.norm("final_expand_layer", expanded, dynamic=False)
        writer.conv("feature_mix_layer", mixed, expanded, 1, 1, dynamic=False)
    else:
        writer.conv("feature_mix_layer", mixed, channels, 1, 1, dynamic=False)
        writer.norm("feature_mix_layer", mixed, dynamic=False)
    writer.random("classifier.linear.weight", classes, mixed, spread=mixed**-0.5)
    writer.random("classifier.linear.bias", classes, spread=0.1)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "r": lambda x: x.clamp(min=0),
    "6": lambda x: x.clamp(0, 6),
    "h": lambda x: x * (x + 3).clamp(0, 6) / 6,
}


@dataclass(frozen=True, slots=True)
class Official:
    """A dynamic supernet of that layout, with blocks spelt `mobile_inverted_conv`, and what it computes."""

    family: str
    state: Mapping[str, Tensor]

    def logits(
        self, x: Tensor, d: list[int], ks: list[int], e: list[int], *, stored_statistics: bool = False
    ) -> Tensor:
        """Logits (batch, classes) of images `x` for the subnet with depths `d`, kernels `ks` and ratios `e`.

        `ks` and `e` have an entry for each stored block. Normalises with batch statistics or with the stored ones.
        """
        layout, statistics = LAYOUTS[self.family], stored_statistics
        x = self._norm(functional.conv2d(x, self.state["first_conv.conv.weight"], None, 2, 1), "first_conv", statistics)
        x = _ACTIVATIONS[layout.stem_activation](x)
        y = self._first_block(x, layout, statistics)
        x = x + y if layout.first_shortcut else y
        for stage, depth in enumerate(d):
            start = 1 + sum(layout.sizes[:stage])
            for number in range(start, start + depth):
                stride = layout.strides[stage] if number == start else 1
                options = (ks[number - 1], e[number - 1], stride, layout.activations[stage])
                y = self._block(x, f"blocks.{number}.mobile_inverted_conv", *options, statistics)
                x = x + y if stride == 1 and x.shape[1] == y.shape[1] else y
        return self._head(x, layout, statistics)

    def _first_block(self, x: Tensor, layout: Layout, statistics: bool) -> Tensor:
        block = "blocks.0.mobile_inverted_conv"
        y = functional.conv2d(x, self.state[f"{block}.depth_conv.conv.weight"], None, 1, 1, 1, x.shape[1])
        y = _ACTIVATIONS[layout.first_activation](self._norm(y, f"{block}.depth_conv", statistics))
        y = functional.conv2d(y, self.state[f"{block}.point_linear.conv.weight"])
        return self._norm(y, f"{block}.point_linear", statistics)

    def _block(
        self, x: Tensor, block: str, kernel: int, ratio: int, stride: int, activation: str, statistics: bool
    ) -> Tensor:
        inputs, act = x.shape[1], _ACTIVATIONS[activation]
        middle = divisible(round(inputs * ratio))
        weight = self.state[f"{block}.inverted_bottleneck.conv.conv.weight"][:middle, :inputs]
        y = act(self._norm(functional.conv2d(x, weight), f"{block}.inverted_bottleneck", statistics))
        weight = self._kernel(block, middle, kernel)
        y = functional.conv2d(y, weight, None, stride, kernel // 2, 1, middle)
        y = act(self._norm(y, f"{block}.depth_conv", statistics))
        if f"{block}.depth_conv.se.fc.reduce.weight" in self.state:
            y = y * self._gates(y, f"{block}.depth_conv.se.fc")
        weight = self.state[f"{block}.point_linear.conv.conv.weight"][:, :middle]
        return self._norm(functional.conv2d(y, weight), f"{block}.point_linear", statistics)

    def _kernel(self, block: str, channels: int, size: int) -> Tensor:
        weight = self.state[f"{block}.depth_conv.conv.conv.weight"][:channels]
        for name, larger in (("7to5", 7), ("5to3", 5)):
            if size < larger:
                flat = weight[:, 0, 1:-1, 1:-1].reshape(channels, -1)
                flat = flat @ self.state[f"{block}.depth_conv.conv.{name}_matrix"].T
                weight = flat.reshape(channels, 1, larger - 2, larger - 2)
        return weight

    def _gates(self, y: Tensor, fc: str) -> Tensor:
        channels = y.shape[1]
        hidden = divisible(channels // 4)
        mean = y.mean((2, 3))
        reduced = mean @ self.state[f"{fc}.reduce.weight"][:hidden, :channels, 0, 0].T
        reduced = (reduced + self.state[f"{fc}.reduce.bias"][:hidden]).clamp(min=0)
        gates = reduced @ self.state[f"{fc}.expand.weight"][:channels, :hidden, 0, 0].T
        gates = gates + self.state[f"{fc}.expand.bias"][:channels]
        return ((gates + 3).clamp(0, 6) / 6)[:, :, None, None]

    def _head(self, x: Tensor, layout: Layout, statistics: bool) -> Tensor:
        act, state = _ACTIVATIONS[layout.stem_activation], self.state
        if self.family == "ofa_mbv3":
            x = functional.conv2d(x, state["final_expand_layer.conv.weight"])
            x = act(self._norm(x, "final_expand_layer", statistics)).mean((2, 3))
            x = act(x @ state["feature_mix_layer.conv.weight"][:, :, 0, 0].T)
        else:
            x = functional.conv2d(x, state["feature_mix_layer.conv.weight"])
            x = act(self._norm(x, "feature_mix_layer", statistics)).mean((2, 3))
        return x @ state["classifier.linear.weight"].T + state["classifier.linear.bias"]

    def _norm(self, x: Tensor, layer: str, statistics: bool) -> Tensor:
        inner = f"{layer}.bn.bn" if f"{layer}.bn.bn.weight" in self.state else f"{layer}.bn"

        def part(name: str) -> Tensor:
            return self.state[f"{inner}.{name}"][: x.shape[1], None, None]

        mean = part("running_mean") if statistics else x.mean((0, 2, 3), keepdim=True)[0]
        variance = part("running_var") if statistics else x.var((0, 2, 3), correction=0, keepdim=True)[0]
        return (x - mean) / (variance + LAYOUTS[self.family].eps).sqrt() * part("weight") + part("bias")
