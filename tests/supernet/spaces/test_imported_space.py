"""Model spaces from the user's own code: named by an import path, and every failure is a one-line error."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.profile import find_profile
from device_profiles.workload.workloads import Workloads, workload_of
from factory_base.documents import parse_document
from factory_base.errors import ConfigError, FactoryError, SpaceError
from model_factory.stages.fingerprint import model_code
from supernet.chain import ChainModelSpace
from supernet.conformance import ModelSpaceConformance
from supernet.model_space import ModelSpace
from supernet.sharing.importance import sort_groups
from supernet.spaces import make_model_space
from supernet.spaces.config import ImportedConfig

NETS = '''
import torch
from torch import nn

from supernet import Choice, SearchSpace, Segments


class Nets:
    """An elastic width on images of 4x4, in two segments."""

    slicing = {"1.*": Segments(axis=0, count=2), "3.weight": Segments(axis=1, count=2)}

    def __init__(self, classes, *, widths=(2, 4)):
        self.classes = classes
        self.space = SearchSpace((Choice(name="width", options=tuple(widths)),))

    def build(self, subnet):
        first, last = nn.Linear(48, subnet["width"]), nn.Linear(subnet["width"], self.classes)
        return nn.Sequential(nn.Flatten(), first, nn.ReLU(), last)

    def input_shape(self, subnet):
        return (3, 4, 4)
'''
CHAIN = (
    NETS.replace("Segments\n", "Segments, Link\n")
    + """
    links = (Link(name="body", choices=("width",)), Link(name="head", choices=("width",)))

    def parts(self, network):
        return {"body": network[:2], "head": network[2:]}
"""
)
DOCUMENTATION = Path(__file__).parents[3] / "docs/training.md"
_numbers = itertools.count()


def written(folder: Path, code: str) -> str:
    """The name of a new module in `folder`: Python caches modules by name."""
    name = f"nets_of_a_user_{next(_numbers)}"
    (folder / f"{name}.py").write_text(code)
    return name


def made(folder: Path, code: str, attribute: str = "Nets", **options: object) -> ModelSpace:
    section = {"space": f"{written(folder, code)}:{attribute}", "options": options}
    return make_model_space(parse_document(section, ImportedConfig, "factory.yaml"), 3, folder)


def documented_code() -> str:
    """The first block of Python in docs/training.md."""
    return DOCUMENTATION.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


class TestImportedSpace(ModelSpaceConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.made = made(tmp_path, NETS, widths=[2, 4, 6])

    def model_space(self) -> ModelSpace:
        return self.made


class TestImportedChain(ModelSpaceConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.made = made(tmp_path, CHAIN, widths=[2, 4, 6])

    def model_space(self) -> ModelSpace:
        return self.made

    def test_its_parts_have_costs(self) -> None:
        assert isinstance(self.made, ChainModelSpace)
        workloads = Workloads(self.made)
        assert workloads.chain is not None
        whole = workload_of(self.made, self.made.space.largest)
        assert workloads.of(self.made.space.largest).macs == whole.macs
        assert [arc.link for arc in DeviceCosts(workloads, find_profile("midrange", Path())).arcs()] == ["body", "head"]


class TestDocumentedSpace(ModelSpaceConformance):
    """The example in docs/training.md."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.made = made(tmp_path, documented_code(), "GatedSpace", widths=[4, 6, 8])

    def model_space(self) -> ModelSpace:
        return self.made


def test_a_model_space_beside_the_config_gets_classes_and_options(tmp_path: Path) -> None:
    space = made(tmp_path, NETS, widths=[2, 4, 6])
    assert space.space.count() == 3
    assert space.input_shape(space.space.largest) == (3, 4, 4)
    assert space.build(space.space.smallest)(torch.zeros(2, 3, 4, 4)).shape == (2, 3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("import torch\n", "import torcch\n", r"cannot be imported \(ModuleNotFoundError: No module named 'torcch'\)"),
        ("class Nets:", "class Net:", "has no 'Nets'; did you mean 'Net'"),
        ("class Nets:", "Nets = 3\nclass Other:", "is a int, expected a callable that returns a model space"),
        ("(self, classes, *", "(self, *", "got an unexpected keyword argument 'classes'; it takes .* and gets classes"),
        ("(self, classes, *", "(self, classes, depth, *", "missing a required argument: 'depth'; it takes"),
        ("self.classes = classes", "raise RuntimeError('no\\nluck')", "it failed with RuntimeError: no luck"),
        ("def build(", "def make(", "returned Nets, which has no method 'build'; a model space has space, build"),
        ("self.classes = classes", "raise SystemExit(0)", "it failed with SystemExit: 0"),
        ("import torch\n", "raise SystemExit\n", r"cannot be imported \(SystemExit: no message\)"),
        ("def input_shape(", "def shape(", "returned Nets, which has no method 'input_shape'"),
        (
            "self.space = SearchSpace",
            "self.space = tuple",
            "Nets.space is tuple, expected a supernet.SearchSpace",
        ),
        ('["width"], self', '["wdth"], self', r"build of \{'width': 2\} failed with KeyError"),
        ("return nn.Sequential(", "return list((", "build returned list, expected a torch.nn.Module"),
        ("nn.Linear(48", "nn.Linear(40", "network of .* failed with RuntimeError: mat1 and mat2 shapes"),
        ("return (3, 4, 4)", "return 48", r"input_shape returned 48, expected sizes such as \(3, 32, 32\)"),
        ("return (3, 4, 4)", "return 1 / 0", "input_shape of .* failed with ZeroDivisionError"),
        (
            ", self.classes)",
            ", 7)",
            r"returns \(2, 7\) for inputs \(2, 3, 4, 4\), expected logits \(2, 3\), one per class",
        ),
        (
            "def build(",
            "slicing = property(lambda self: 1 / 0)\n\n    def build(",
            "its slicing failed with ZeroDivisionError",
        ),
        (
            "Segments(axis=0, count=2)",
            "2",
            r"slicing is \{.*\}, expected patterns of names -> rules such as supernet.Segments",
        ),
        ("axis=1, count=2", "axis=7, count=2", "its slicing failed with IndexError"),
        (
            "def build(",
            "sortable = [1]\n\n    def build(",
            r"sortable is \(1,\), expected objects of class supernet.SortGroup",
        ),
        ("nn.ReLU()", "*[nn.Dropout()] * (subnet['width'] == 4)", "does not exist in the largest|but to"),
        ("widths=(2, 4)", "widths=(4, 2)", "choice 'width': options"),
    ],
)
def test_a_fault_in_the_users_code_is_a_one_line_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in NETS
    code = NETS.replace(old, new)
    if new.endswith("list(("):
        code = code.replace("first, nn.ReLU(), last)", "first, nn.ReLU(), last))")
    with pytest.raises(FactoryError, match=message) as caught:
        made(tmp_path, code)
    assert type(caught.value) in (ConfigError, SpaceError)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_and_a_missing_module_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unexpected keyword argument 'width'.*change model.options"):
        made(tmp_path, NETS, width=3)
    config = ImportedConfig(space="no_such_module_of_mine:Nets")
    with pytest.raises(ConfigError, match="install it, or put it beside the config in"):
        make_model_space(config, 3, tmp_path)


def test_sortable_of_the_users_space_is_passed_on(tmp_path: Path) -> None:
    assert sort_groups(made(tmp_path, NETS)) == ()
    groups = "sortable = (SortGroup(ranked_by=(UnitAxis('3.weight', 1),), along=(UnitAxis('1.weight'),)),)"
    code = NETS.replace("def build(", f"{groups}\n\n    def build(")
    space = made(tmp_path, f"from supernet import SortGroup, UnitAxis\n{code}")
    assert [group.ranked_by[0].name for group in sort_groups(space)] == ["3.weight"]


@pytest.mark.parametrize("space", ["a-b:Nets", "nets:", ":Nets", "nets:Nets:x", "nets:a.b"])
def test_a_value_that_is_not_an_import_path_is_refused(space: str) -> None:
    with pytest.raises(ConfigError, match=r"is not an import path; write 'package.module:callable'"):
        parse_document({"space": space}, ImportedConfig, "factory.yaml")


def test_the_code_of_an_imported_model_space_identifies_it(tmp_path: Path) -> None:
    config = ImportedConfig(space=f"{written(tmp_path, NETS)}:Nets")
    first = model_code(config, tmp_path)
    assert first == model_code(config, tmp_path)
    (path,) = tmp_path.glob("*.py")
    path.write_text(NETS.replace("ReLU", "GELU"))
    assert model_code(config, tmp_path) != first


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("network[2:]", "network[3:]", "applied one after the other, do not compute what the network computes"),
        (
            '"head": network[2:]',
            '"tail": network[2:]',
            "expected a torch.nn.Module for each link, in the order of links",
        ),
        ('"head": network[2:]', '"head": 3', "expected a torch.nn.Module for each link"),
        ('{"body"', '1 / 0, {"body"', "its parts failed with ZeroDivisionError"),
        ('Link(name="head", choices=("width",))', '"head"', "a chain of parts has both links, objects of class"),
        ("def parts", "def others", "and parts None; remove both"),
        ('"body": network[:2], "head": network[2:]', '"head": network', "are head, but its links state body, head"),
    ],
)
def test_a_chain_whose_parts_are_wrong_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert old in CHAIN
    with pytest.raises(SpaceError, match=reason) as caught:
        made(tmp_path, CHAIN.replace(old, new))
    assert str(caught.value).startswith("nets_of_a_user_")
    assert "\n" not in str(caught.value)


def test_wrong_parts_are_refused_whatever_random_numbers_were_drawn_before(tmp_path: Path) -> None:
    without_activation = CHAIN.replace("network[2:]", "network[3:]")
    for seed in range(40):  # with inputs of one sign and a random seed, one of about 200 passed
        torch.manual_seed(seed)
        with pytest.raises(SpaceError, match="do not compute what the network computes"):
            made(tmp_path, without_activation)


def test_errors_name_what_the_config_names(tmp_path: Path) -> None:
    space = made(tmp_path, NETS)
    with pytest.raises(SpaceError, match=r"^nets_of_a_user_\d+:Nets has no costs for each arc"):
        DeviceCosts(Workloads(space), find_profile("midrange", tmp_path)).arcs()
