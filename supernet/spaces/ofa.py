"""The model spaces of the official once-for-all supernets, MobileNetV3 and ProxylessNAS, as plain static networks.

After Cai et al., "Once-for-All" (2020); `supernet.weights.import_ofa` reads published weights. A subnet has the leading
channels. A smaller depthwise kernel is computed with the kernel matrices of its block, which only the largest network
has. The width inside squeeze-and-excitation depends on the hidden width of the subnet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from supernet.chain import Link
from supernet.sharing.importance import SortGroup
from supernet.sharing.kernel_transform import KernelTransform
from supernet.sharing.slicing import SliceRule
from supernet.space import SearchSpace, SubnetConfig
from supernet.spaces.blocks import ACTIVATIONS, BlockShape, ConvNorm, InvertedResidual, initialise
from supernet.spaces.ofa_config import OfaConfig, links, make_divisible, search_space
from supernet.spaces.parts import numbered_blocks
from supernet.spaces.sorting import inverted_residual_groups


class OfaSpace:
    """The model space of an `OfaConfig` for images of three channels and `classes` classes."""

    def __init__(self, config: OfaConfig, classes: int) -> None:
        self._config = config
        self._classes = classes
        self._space = search_space(config)

    @property
    def space(self) -> SearchSpace:
        """The named choices: `resolution`, per stage `depth`, per block `kernel` and `expand`."""
        return self._space

    @property
    def slicing(self) -> Mapping[str, SliceRule]:
        """The rule that computes smaller depthwise kernels. See `SlicedModelSpace`."""
        weight = "depthwise.conv.weight"
        return {f"trunk.stages.*.{weight}": KernelTransform(weight=weight, matrices="kernel_matrices")}

    @property
    def sortable(self) -> tuple[SortGroup, ...]:
        """The hidden channels of every block in the stages. Widths are fixed. See `SortableModelSpace`."""
        return tuple(
            group
            for i, stage in enumerate(self._config.family.stages)
            for j in range(int(self._space.largest[f"stages.{i}.depth"]))
            for group in inverted_residual_groups(f"trunk.stages.{i}.{j}", squeeze_excite=stage.squeeze_excite)
        )

    @property
    def links(self) -> tuple[Link, ...]:
        """Stem with the fixed first block, elastic blocks, tail. See `ChainModelSpace`."""
        return links(self._config)

    def parts(self, network: nn.Module) -> Mapping[str, nn.Module]:
        """See `ChainModelSpace`."""
        trunk = network.trunk
        stem = nn.Sequential(trunk.stem, trunk.stem_activation, trunk.first_block)  # type: ignore[union-attr,arg-type]
        return {"stem": stem, **numbered_blocks(trunk.stages), "tail": _Tail(network)}  # type: ignore[union-attr,arg-type]

    def build(self, subnet: SubnetConfig) -> nn.Module:
        """The network of `subnet`: float images (batch, 3, resolution, resolution) -> logits (batch, classes).

        The largest network also holds the kernel matrices, although its forward pass does not use them.
        """
        network = OfaMobileNetV3 if self._config.family.expand_width else OfaProxyless
        return network(self._config, subnet, self._classes, matrices=subnet == self._space.largest)

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """(3, resolution, resolution)."""
        return (3, int(subnet["resolution"]), int(subnet["resolution"]))


class OfaMobileNetV3(nn.Module):
    """A static network of the MobileNetV3 family; `matrices` is whether blocks hold kernel matrices."""

    def __init__(self, config: OfaConfig, subnet: SubnetConfig, classes: int, *, matrices: bool) -> None:
        super().__init__()
        family = config.family
        expanded, mixed = config.width(family.expand_width), config.width(family.mix_width)
        self.trunk = _Trunk(config, subnet, matrices)
        self.final_expand = ConvNorm(self.trunk.channels, expanded, 1, family.norm_eps)
        self.final_activation = ACTIVATIONS[family.activation]()
        self.feature_mix = nn.Conv2d(expanded, mixed, 1, bias=False)
        self.mix_activation = ACTIVATIONS[family.activation]()
        self.classifier = nn.Linear(mixed, classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:  # (batch, 3, size, size) -> (batch, classes)
        """Logits of a batch of images."""
        return self.tail(self.trunk(x))

    def tail(self, x: Tensor) -> Tensor:  # (batch, channels, size, size) -> (batch, classes)
        """What comes after the trunk."""
        x = self.final_activation(self.final_expand(x))
        x = self.mix_activation(self.feature_mix(x.mean((2, 3), keepdim=True)))
        return self.classifier(x.flatten(1))  # type: ignore[no-any-return]


class OfaProxyless(nn.Module):
    """A static network of the ProxylessNAS family; `matrices` is whether blocks hold kernel matrices."""

    def __init__(self, config: OfaConfig, subnet: SubnetConfig, classes: int, *, matrices: bool) -> None:
        super().__init__()
        family = config.family
        mixed = config.width(family.mix_width)
        self.trunk = _Trunk(config, subnet, matrices)
        self.feature_mix = ConvNorm(self.trunk.channels, mixed, 1, family.norm_eps)
        self.mix_activation = ACTIVATIONS[family.activation]()
        self.classifier = nn.Linear(mixed, classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:  # (batch, 3, size, size) -> (batch, classes)
        """Logits of a batch of images."""
        return self.tail(self.trunk(x))

    def tail(self, x: Tensor) -> Tensor:  # (batch, channels, size, size) -> (batch, classes)
        """What comes after the trunk."""
        x = self.mix_activation(self.feature_mix(x))
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]


class _Tail(nn.Module):
    """The last part of the chain: the layers of `network` after the trunk."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for name, layer in network.named_children():
            if name != "trunk":
                self.add_module(name, layer)
        self._compute: Callable[[nn.Module, Tensor], Tensor] = type(network).tail  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:  # (batch, channels, size, size) -> (batch, classes)
        return self._compute(self, x)


class _Trunk(nn.Module):
    """Stem, fixed first block, elastic stages. `stages.<i>.<j>` is block `j` of stage `i`, present if deep enough."""

    def __init__(self, config: OfaConfig, subnet: SubnetConfig, matrices: bool) -> None:
        super().__init__()
        family, values = config.family, subnet.to_dict()
        stem, self.channels = config.width(family.stem_width), config.width(family.first_width)
        self.stem = ConvNorm(3, stem, 3, family.norm_eps, stride=2)
        self.stem_activation = ACTIVATIONS[family.activation]()
        self.first_block = InvertedResidual(_first_block(config))
        self.stages = nn.ModuleList()
        for i, stage in enumerate(family.stages):
            blocks = nn.ModuleList()
            for j in range(int(values[f"stages.{i}.depth"])):
                stride, outputs = stage.stride if j == 0 else 1, config.width(stage.width)
                shape = BlockShape(
                    inputs=self.channels,
                    hidden=make_divisible(round(self.channels * values[f"stages.{i}.blocks.{j}.expand"])),
                    outputs=outputs,
                    kernel=int(values[f"stages.{i}.blocks.{j}.kernel"]),
                    stride=stride,
                    activation=stage.activation,
                    norm_eps=family.norm_eps,
                    shortcut=stride == 1 and self.channels == outputs,
                    squeeze_excite=stage.squeeze_excite,
                    matrix_sizes=_matrix_sizes(config.kernels) if matrices else (),
                )
                blocks.append(InvertedResidual(shape))
                self.channels = outputs
            self.stages.append(blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_block(self.stem_activation(self.stem(x)))
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
        return x


def _first_block(config: OfaConfig) -> BlockShape:
    """The fixed block before the stages, with a shortcut if stem and block are equally wide before the multiplier."""
    family = config.family
    stem = config.width(family.stem_width)
    return BlockShape(
        inputs=stem,
        hidden=stem,
        outputs=config.width(family.first_width),
        kernel=3,
        stride=1,
        activation=family.first_activation,
        norm_eps=family.norm_eps,
        shortcut=family.stem_width == family.first_width,
        expands=False,
    )


def _matrix_sizes(kernels: tuple[int, ...]) -> tuple[int, ...]:
    """The odd kernel sizes from the largest to the smallest; each kernel is computed from the previous one."""
    return tuple(range(kernels[-1], kernels[0] - 1, -2))
