"""Official checkpoints become supernets whose subnets compute what a hand-written official network computes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from official_ofa import LAYOUTS, Official, official_state
from torch import Tensor, nn

from supernet.sharing.supernet import Supernet
from supernet.space import SearchSpace, SubnetConfig
from supernet.spaces import make_model_space
from supernet.spaces.ofa_config import OfaConfig
from supernet.weights.foreign_tensors import supernet_with
from supernet.weights.import_ofa import import_ofa

WIDTH = 0.15
Mutation = Callable[[Supernet], None]


def written(folder: Path, content: object) -> Path:
    path = folder / "ofa_net"
    torch.save(content, path)
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An official supernet, and what was read from its file."""

    official: Official
    config: OfaConfig
    state: dict[str, Tensor]

    def supernet(self) -> Supernet:
        return supernet_with(self.config, self.state)


@pytest.fixture(scope="module", params=LAYOUTS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    official = official_state(request.param, WIDTH)
    config, state = import_ofa(written(tmp_path_factory.mktemp("ofa"), {"state_dict": official}))
    return Case(official=Official(request.param, official), config=config, state=state)


def subnets_of(space: SearchSpace) -> list[SubnetConfig]:
    """The smallest and the largest subnet, those with one kernel size and ratio everywhere, and random ones."""
    rng = random.Random(0)
    deepest = space.largest.to_dict()
    uniform = [
        space.subnet({n: kernel if "kernel" in n else ratio if "expand" in n else v for n, v in deepest.items()})
        for kernel, ratio in ((3, 6), (5, 6), (7, 3), (3, 3), (5, 4))
    ]
    return [space.smallest, space.largest, *uniform, *(space.sample(rng) for _ in range(7))]


def expected(official: Official, x: Tensor, subnet: SubnetConfig, **options: bool) -> Tensor:
    """The official logits of `subnet`, whose choices become lists over all stored blocks, including absent ones."""
    values, sizes = subnet.to_dict(), LAYOUTS[official.family].sizes
    d = [int(values[f"stages.{i}.depth"]) for i in range(len(sizes))]
    names = [f"stages.{i}.blocks.{j}" for i, size in enumerate(sizes) for j in range(size)]
    ks, e = ([int(values[f"{name}.{choice}"]) for name in names] for choice in ("kernel", "expand"))
    return official.logits(x, d, ks, e, **options)


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).to(dtype)


def differences(supernet: Supernet, official: Official, subnets: slice = slice(None)) -> list[float]:
    """The largest difference of the logits, for each subnet."""
    x = images(next(supernet.parameters()).dtype)
    official = Official(official.family, {n: t.to(x.dtype) for n, t in official.state.items()})
    chosen = subnets_of(supernet.model_space.space)[subnets]
    with torch.no_grad():
        pairs = [(supernet(x, subnet), expected(official, x, subnet)) for subnet in chosen]
    assert all(float(theirs.std()) > 0.1 for _, theirs in pairs)
    return [float((ours - theirs).abs().max()) for ours, theirs in pairs]


def test_every_subnet_computes_what_the_official_network_computes(case: Case) -> None:
    supernet = case.supernet()
    assert len(subnets_of(supernet.model_space.space)) >= 12
    assert max(differences(supernet, case.official)) < 1e-4
    assert max(differences(supernet.double(), case.official)) < 1e-9


def test_an_extracted_subnet_computes_what_the_official_network_computes(case: Case) -> None:
    supernet = case.supernet()
    for subnet in subnets_of(supernet.model_space.space)[-3:]:
        found = supernet.extract(subnet)(images())  # in training mode: statistics of the batch
        assert torch.allclose(found, expected(case.official, images(), subnet), atol=1e-4, rtol=0)


def off_with_stored_statistics(case: Case, state: dict[str, Tensor]) -> float:
    """The largest difference from the official network if ours has `state` and normalises with stored statistics."""
    model_space, x = make_model_space(case.config, classes=5), images(torch.float64)
    network = model_space.build(model_space.space.largest)
    network.load_state_dict(state, strict=state is case.state)
    official = Official(case.official.family, {name: t.double() for name, t in case.official.state.items()})
    theirs = expected(official, x, model_space.space.largest, stored_statistics=True)
    assert theirs.std() > 0.1
    with torch.no_grad():
        return float((network.double().eval()(x) - theirs).abs().max())


def test_the_largest_network_with_its_stored_statistics_is_the_official_one(case: Case) -> None:
    assert off_with_stored_statistics(case, case.state) < 1e-9
    assert off_with_stored_statistics(case, {n: t for n, t in case.state.items() if "running" not in n}) > 1e-2


def kernel_matrices(supernet: Supernet, change: Callable[[Tensor], Tensor], size: int = 0) -> None:
    for name, parameter in supernet.named_parameters():
        if "kernel_matrices" in name and len(parameter) != size:
            parameter.data = change(parameter.data).clone()


def norms(supernet: Supernet, eps: float) -> None:
    for module in (supernet, *(skeleton.module for skeleton in supernet._skeletons.values())):
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = eps


OF_ONE_KIND = slice(2, 5)
"""The subnets whose kernels are all 3, all 5 and all 7."""

TRAPS: dict[str, tuple[Mutation, tuple[bool, ...]]] = {
    "transposed": (lambda s: kernel_matrices(s, lambda m: m.T), (True, True, False)),
    "ignored": (lambda s: kernel_matrices(s, lambda m: torch.eye(len(m))), (True, True, False)),
    "7to5 skipped": (lambda s: kernel_matrices(s, lambda m: torch.eye(len(m)), 9), (True, True, False)),
    "5to3 skipped": (lambda s: kernel_matrices(s, lambda m: torch.eye(len(m)), 25), (True, False, False)),
}
"""Name -> a mutation of the kernel matrices, and which of those three subnets it affects."""


@pytest.mark.parametrize("trap", TRAPS)
def test_the_comparison_sees_wrong_kernel_matrices(case: Case, trap: str) -> None:
    supernet = case.supernet()
    mutate, seen = TRAPS[trap]
    mutate(supernet)
    assert tuple(found > 1e-2 for found in differences(supernet, case.official, OF_ONE_KIND)) == seen


def test_the_comparison_sees_another_epsilon(case: Case) -> None:
    supernet = case.supernet()
    differences(supernet, case.official, OF_ONE_KIND)  # makes the skeletons
    norms(supernet, eps=1e-3 if case.official.family == "ofa_mbv3" else 1e-5)
    assert min(differences(supernet, case.official, OF_ONE_KIND)) > 1e-3


def test_the_comparison_sees_another_order_of_channels(case: Case) -> None:
    supernet = case.supernet()
    layer = supernet.largest.trunk.stages[2][1].depthwise.conv
    layer.weight.data = layer.weight.data.flip(0)
    assert min(differences(supernet, case.official, OF_ONE_KIND)) > 1e-3


def test_both_spellings_and_a_bare_dictionary_give_the_same(tmp_path: Path, case: Case) -> None:
    other_config, other = import_ofa(written(tmp_path, official_state(case.official.family, WIDTH, block="conv")))
    assert other_config == case.config
    assert all(torch.equal(other[name], tensor) for name, tensor in case.state.items())


def test_a_checkpoint_in_the_format_of_old_torch_versions_is_read(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": official_state("ofa_mbv3", WIDTH)}, tmp_path / "old", _use_new_zipfile_serialization=False
    )
    config, _ = import_ofa(tmp_path / "old")
    assert config.width_mult == WIDTH


def test_a_static_teacher_gives_the_largest_network_and_kernels_that_are_centres(tmp_path: Path, case: Case) -> None:
    family, dynamic = case.official.family, case.official.state
    static = official_state(family, WIDTH, static=True)
    names = {name.replace(".conv.conv.", ".conv.").replace(".bn.bn.", ".bn."): name for name in dynamic}
    matrices = {name: torch.eye(len(tensor)) for name, tensor in dynamic.items() if name.endswith("_matrix")}
    official = Official(family, {names[name]: tensor for name, tensor in static.items()} | matrices)
    notes: list[str] = []
    supernet = supernet_with(*import_ofa(written(tmp_path, {"state_dict": static}), notes.append))
    assert [note.partition(":")[0] for note in notes] == ["no kernel transforms in the file, so it is a teacher"]
    assert max(differences(supernet, official, slice(1, 5))) < 1e-4


@pytest.mark.parametrize(
    ("family", "width_mult", "keys", "parameters"),
    [
        ("ofa_mbv3", 1.0, 475, 7_678_880),
        ("ofa_mbv3", 1.2, 475, 10_715_752),
        ("ofa_proxyless", 1.3, 446, 7_956_882),
    ],
)
def test_a_checkpoint_of_published_size_is_recognised(
    tmp_path: Path, family: str, width_mult: float, keys: int, parameters: int
) -> None:
    official = official_state(family, width_mult, classes=1000)
    assert len(official) == keys
    config, state = import_ofa(written(tmp_path, {"state_dict": official}))
    assert (config.space, config.width_mult) == (family, width_mult)
    supernet = supernet_with(config, state)
    assert sum(parameter.numel() for parameter in supernet.parameters()) == parameters


@pytest.mark.parametrize("width_mult", [0.1, 0.25, 0.75, 1.05, 2.0])
def test_other_widths_are_recognised_by_their_shapes(tmp_path: Path, width_mult: float) -> None:
    config, _ = import_ofa(written(tmp_path, official_state("ofa_proxyless", width_mult)))
    assert config.width_mult == width_mult


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    halves = {name: t.half() if t.is_floating_point() else t for name, t in official_state("ofa_mbv3", WIDTH).items()}
    _, state = import_ofa(written(tmp_path, halves))
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_the_supernet_keeps_no_running_statistics(case: Case) -> None:
    assert any("running_var" in name for name in case.state)
    assert not list(case.supernet().buffers())
