"""Conformance suites for model spaces. Inherit one in a test module, and pytest checks the laws of weight sharing.

    class TestMySpace(ModelSpaceConformance):
        def model_space(self) -> ModelSpace:
            return MySpace()

All weights are random, so that no weight that is initialised to zero, such as the last scale of a residual block, can
hide a fault. Importing this module does not need pytest.
"""

from __future__ import annotations

import copy
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from supernet.chain import ChainModelSpace
from supernet.model_space import ModelSpace
from supernet.sharing.importance import check_groups, reorder, sort_groups
from supernet.sharing.slicing import plan_module, slicing_rules, take
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig

_BATCH = 4
"""Examples in a batch. More than one, so that batch normalisation has a variance."""
_NOISE = 0.1
"""Standard deviation of what is added to every weight: zeros stop being zeros, and activations stay in range."""


class ModelSpaceConformance(ABC):
    """The laws that hold for every model space, checked on the smallest, the largest and some random subnets.

    Attributes:
        random_subnets: Number of random subnets.
        tolerance: Largest difference that counts as float32 rounding, relative to the largest magnitude in the tensor,
            or to 1 if that is larger.
    """

    random_subnets: ClassVar[int] = 10
    tolerance: ClassVar[float] = 1e-5

    @abstractmethod
    def model_space(self) -> ModelSpace:
        """The model space to check. It should be small, because it is built often."""

    def test_an_extracted_subnet_computes_what_the_supernet_computes(self) -> None:
        """`extract(s)(x) == supernet(x, s)`."""
        supernet = self.supernet()
        for subnet in self.subnets():
            x = self.batch(subnet)
            found, expected = _seeded(supernet, x, subnet), _seeded(_normalising(supernet.extract(subnet)), x)
            _assert_close(found, expected, self.tolerance, f"the output of {subnet}")

    def test_gradients_reach_the_slices_of_a_subnet_and_nothing_else(self) -> None:
        """They equal the gradients of the extracted subnet, in double precision.

        In single precision, sums that are rounded in another order, as on another processor, move some activations to
        the other side of the bend of a ReLU, which changes gradients by more than a tolerance that would find a fault.
        """
        with _double_precision():
            supernet = self.supernet()
            for subnet in self.subnets():
                self._compare_gradients(supernet, subnet)

    def _compare_gradients(self, supernet: Supernet, subnet: SubnetConfig) -> None:
        module, x = _normalising(supernet.extract(subnet)), self.batch(subnet)
        supernet.zero_grad(set_to_none=True)
        _backward(_seeded(supernet, x, subnet))
        _backward(_seeded(module, x))
        expected = _scattered(supernet.model_space, supernet.largest, module, _gradients(module))
        ones = {n: torch.ones_like(p) for n, p in module.named_parameters()}
        used = _scattered(supernet.model_space, supernet.largest, module, ones)
        for name, found in _gradients(supernet.largest).items():
            assert not found[used[name] == 0].any(), f"{subnet} gives a gradient to unused weights of {name}"
            _assert_close(found, expected[name], self.tolerance, f"the gradient of {name} in {subnet}")

    def test_a_pass_of_one_subnet_leaves_no_trace_on_another(self) -> None:
        """The subnet is an argument: no state and no buffer is written."""
        supernet = self.supernet()
        subnets = self.subnets()
        before = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
        first = [_seeded(supernet, self.batch(subnet), subnet) for subnet in subnets]
        second = [_seeded(supernet, self.batch(subnet), subnet) for subnet in reversed(subnets)]
        for subnet, one, other in zip(subnets, first, reversed(second), strict=True):
            assert torch.equal(one, other), f"{subnet} computes something else after other subnets have run"
        for name, buffer in supernet.named_buffers():
            assert torch.equal(buffer, before[name]), f"a forward pass writes buffer {name}"

    def test_an_extracted_subnet_shares_nothing_with_the_supernet(self) -> None:
        """It holds copies."""
        supernet = self.supernet()
        module = supernet.extract(supernet.model_space.space.smallest)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        _randomise(supernet, seed=1)
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name]), f"{name} of an extracted subnet changes with the supernet"

    def test_parameter_names_do_not_depend_on_when_a_subnet_is_built(self) -> None:
        """All of them are names of the largest network, too."""
        space = self.model_space()
        largest = {name for name, _ in space.build(space.space.largest).named_parameters()}
        for subnet in self.subnets():
            names = [name for name, _ in space.build(subnet).named_parameters()]
            again = [name for name, _ in self.model_space().build(subnet).named_parameters()]
            assert names == again, f"{subnet} has different parameter names when it is built again"
            assert largest.issuperset(names), f"{subnet} has parameters that the largest network lacks"

    def test_all_subnets_give_logits_of_the_same_classes(self) -> None:
        """The output has shape (batch, classes), whatever the subnet."""
        supernet = self.supernet()
        shapes = {tuple(supernet(self.batch(subnet), subnet).shape) for subnet in self.subnets()}
        assert len(shapes) == 1, f"outputs have different shapes: {sorted(shapes)}"
        assert next(iter(shapes))[0] == _BATCH, f"outputs have shape {shapes}, expected (batch, classes)"

    def test_the_parts_of_a_chain_compute_what_the_network_computes(self) -> None:
        """They are applied one after the other and hold each parameter once. Skipped for a space without a chain."""
        space = self.model_space()
        if not isinstance(space, ChainModelSpace):
            return
        for subnet in self.subnets():
            network, x = space.build(subnet).eval(), self.batch(subnet)
            parts = space.parts(network)
            values = subnet.to_dict()
            places = [li.name for li in space.links if not li.depth_choice or values[li.depth_choice] >= li.exists_from]
            assert list(parts) == places, f"{subnet} has parts at {list(parts)}, but its links say {places}"
            held = [id(p) for part in parts.values() for p in part.eval().parameters()]
            assert sorted(held) == sorted(id(p) for p in network.parameters()), (
                f"the parts of {subnet} do not hold each parameter of the network once"
            )
            expected, found = _seeded(network, x), x
            for part in parts.values():
                found = _seeded(part, found)
            _assert_close(found, expected, self.tolerance, f"the output of the parts of {subnet}")

    def test_the_choices_of_a_link_decide_its_part(self) -> None:
        """Two subnets with equal choices have the same layers and input there. Skipped for a space without a chain."""
        space = self.model_space()
        if not isinstance(space, ChainModelSpace):
            return
        seen: dict[tuple[object, ...], object] = {}
        for subnet in self.subnets():
            if subnet == space.space.largest:  # it may hold what only the slicer uses, such as kernel transforms
                continue
            shape: tuple[int, ...] = space.input_shape(subnet)
            parts, values = space.parts(space.build(subnet).eval()), subnet.to_dict()
            for link in space.links:
                if link.name not in parts:
                    continue
                found = (shape, [tuple(p.shape) for p in parts[link.name].parameters()])
                known = seen.setdefault((link.name, *(values[choice] for choice in link.choices)), found)
                assert found == known, f"{link.name} of {subnet} depends on more than {link.choices}"
                shape = tuple(parts[link.name].eval()(torch.zeros(1, *shape)).shape[1:])

    def test_units_that_the_space_declares_as_sortable_can_be_permuted(self) -> None:
        """The largest network computes the same whatever their order. Skipped for a space without sortable units."""
        groups = sort_groups(self.model_space())
        if not groups:
            return
        supernet = self.supernet()
        largest = supernet.model_space.space.largest
        parameters, x = dict(supernet.largest.named_parameters()), self.batch(largest)
        check_groups(groups, parameters)
        expected = _seeded(supernet, x, largest)
        for i, group in enumerate(groups):
            units = group.axes[0].count(parameters)
            reorder(group, parameters, torch.randperm(units, generator=torch.Generator().manual_seed(i)))
            what = f"with {[axis.name for axis in group.ranked_by]} in another order, the output"
            # summing in another order changes the rounding
            _assert_close(_seeded(supernet, x, largest), expected, 10 * self.tolerance, what)

    def supernet(self) -> Supernet:
        """A supernet with the same random weights every time, in evaluation mode, because dropout differs by design."""
        supernet = Supernet(self.model_space()).eval()
        _randomise(supernet, seed=0)
        return supernet

    def subnets(self) -> list[SubnetConfig]:
        """The smallest, the largest and some random subnets, the same every time."""
        space = self.model_space().space
        rng = random.Random(0)
        return list(
            dict.fromkeys([space.smallest, space.largest, *(space.sample(rng) for _ in range(self.random_subnets))])
        )

    def batch(self, subnet: SubnetConfig) -> Tensor:
        """A random input (4, *input_shape), the same every time."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(_BATCH, *self.model_space().input_shape(subnet), generator=generator)


class MaskingConformance(ModelSpaceConformance):
    """Adds an oracle that does not use the slicer: the masked largest network computes what a subnet computes."""

    @abstractmethod
    def mask(self, largest: nn.Module, subnet: SubnetConfig) -> None:
        """Change the weights of `largest` so that what `subnet` lacks has no effect, for example by setting zeros.

        Write it from the architecture, with neither `supernet.sharing.slicing` nor an extracted subnet. It is called
        under `torch.no_grad`.
        """

    def test_the_masked_largest_network_computes_what_the_subnet_computes(self) -> None:
        """The oracle and the slicer agree."""
        supernet = self.supernet()
        for subnet in self.subnets():
            masked, x = copy.deepcopy(supernet.largest), self.batch(subnet)
            with torch.no_grad():
                self.mask(masked, subnet)
            _assert_close(_seeded(supernet, x, subnet), _seeded(masked, x), self.tolerance, f"the output of {subnet}")


class IndexTableConformance(ModelSpaceConformance):
    """Adds an oracle for networks that cannot be masked, for example if a normalisation spans an elastic axis."""

    @abstractmethod
    def index_table(self, subnet: SubnetConfig) -> Mapping[str, tuple[Sequence[int], ...]]:
        """Name of each parameter of `subnet` -> for each axis, the indices taken from the largest network's parameter.

        Write it from the architecture, with neither `supernet.sharing.slicing` nor a network that was built.
        """

    def test_the_indexed_weights_of_the_largest_network_compute_what_the_subnet_computes(self) -> None:
        """The oracle and the slicer agree. The oracle names every parameter, and no index twice."""
        supernet = self.supernet()
        full = dict(supernet.largest.named_parameters())
        for subnet in self.subnets():
            table, module = self.index_table(subnet), supernet.model_space.build(subnet).eval()
            names = {name for name, _ in module.named_parameters()}
            assert set(table) == names, f"{subnet}: the table and the network differ in {sorted(set(table) ^ names)}"
            weights = {name: _indexed(full[name], axes, name) for name, axes in table.items()}
            module.load_state_dict(weights, strict=False)
            x = self.batch(subnet)
            _assert_close(_seeded(supernet, x, subnet), _seeded(_normalising(module), x), self.tolerance, f"{subnet}")


def _indexed(weight: Tensor, axes: Sequence[Sequence[int]], name: str) -> Tensor:
    assert len(axes) == weight.ndim, f"the table gives {len(axes)} axes of {name}, which has {weight.ndim}"
    for axis, indices in enumerate(axes):
        assert len(set(indices)) == len(indices), f"the table gives an index of axis {axis} of {name} twice"
        weight = weight.detach().index_select(axis, torch.tensor(indices))
    return weight


def _seeded(module: nn.Module, *inputs: object) -> Tensor:
    """The output, with the same dropout every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        output: Tensor = module(*inputs)
    return output


def _normalising(module: nn.Module) -> nn.Module:
    """`module` in evaluation mode, except that it normalises with the statistics of its batch, as a supernet does."""
    module.eval()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.train()
    return module


def _randomise(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(_NOISE * torch.randn(parameter.shape, generator=generator))


@contextmanager
def _double_precision() -> Iterator[None]:
    """What is built meanwhile has weights of float64."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def _backward(output: Tensor) -> None:
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    (output * direction).sum().backward()  # type: ignore[no-untyped-call]


def _gradients(module: nn.Module) -> dict[str, Tensor]:
    return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in module.named_parameters()}


def _scattered(
    model_space: ModelSpace, largest: nn.Module, subnet: nn.Module, values: dict[str, Tensor]
) -> dict[str, Tensor]:
    """`values` of the parameters of `subnet`, scattered to the parameters of `largest`; zero elsewhere."""
    parameters = dict(largest.named_parameters())
    parts = take(parameters, plan_module(largest, subnet, slicing_rules(model_space)))
    outputs, directions = zip(*((parts[name], value) for name, value in values.items()), strict=True)
    found = torch.autograd.grad(outputs, list(parameters.values()), directions, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def _assert_close(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    with torch.no_grad():
        scale = max(1.0, float(expected.abs().max()))
        difference = float((found - expected).abs().max()) / scale
    assert difference <= tolerance, f"{what} differs by {difference:.2g}, more than {tolerance:g}"
