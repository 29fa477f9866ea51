"""Every config that ships loads, describes a family that its targets can run, and trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.profile import find_profile
from device_profiles.workload.workloads import Workloads
from factory_base.documents import load_yaml, parse_document
from model_factory.config import FactoryConfig, shipped_configs
from supernet.data.examples import Examples
from supernet.data.image_examples import ImageExamples, Normalisation
from supernet.data.token_examples import TokenExamples
from supernet.model_space import ModelSpace
from supernet.sharing.macs import count_macs
from supernet.sharing.supernet import Supernet
from supernet.spaces import make_model_space
from supernet.training.training import train

torch.set_num_threads(1)

CONFIGS = sorted(shipped_configs().glob("*.yaml"))
NAMES = [path.stem for path in CONFIGS]
CLASSES = 10
SIZES = {"cifar10_gpu": (40e6, 60e6), "imagenet": (400e6, 1e9), "mobile_int8": (400e6, 1.2e9)}
"""Ranges of the MACs of the largest network."""
REDUCED: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 4,
    "micro_batch_size": None,
    "largest_only": 0.5,
    "random_subnets": 1,
}
ON_CPU = {"device": "cpu", "precision": "float32", "compile": False, "sampler": "uniform"}


@pytest.fixture(params=CONFIGS, ids=NAMES)
def config(request: pytest.FixtureRequest) -> FactoryConfig:
    return shipped(request.param.stem)


def shipped(name: str) -> FactoryConfig:
    """A shipped config; the blank one, whose path the user has to set, with a path."""
    values = load_yaml(shipped_configs() / f"{name}.yaml")
    if "path" in values["data"]:
        values["data"]["path"] = values["data"]["path"] or "photos"
    return parse_document(values, FactoryConfig, name)


def space_of(config: FactoryConfig) -> ModelSpace:
    return make_model_space(config.model, CLASSES)


def test_all_documented_configs_are_shipped() -> None:
    assert {"images", "digits", "cifar10", "cifar10_gpu", "cifar10_small", "imagenet", "mobile_int8", "sst2"} <= set(
        NAMES
    )


def test_augmentation_suits_the_size_of_the_images(config: FactoryConfig) -> None:
    config.training.augment.check_size(config.data.image_size)


def test_the_smallest_network_fits_every_target_and_the_largest_does_not_fit_all(config: FactoryConfig) -> None:
    space = space_of(config)
    workloads = Workloads(space)
    kept = []
    for target in config.targets:
        found = find_profile(target.device, Path())
        budgets = found.profile.budgets.overridden_by(target.budgets)
        small, large = DeviceCosts(workloads, found).of([space.space.smallest, space.space.largest])
        assert not budgets.excesses(small), (target.device, budgets.excesses(small))
        kept.append(not budgets.excesses(large))
    assert not all(kept), "the search has nothing to do: every target can run the largest network"


@pytest.mark.parametrize("name", SIZES)
def test_the_largest_network_has_the_size_that_the_config_states(name: str) -> None:
    space = space_of(shipped(name))
    low, high = SIZES[name]
    assert low <= count_macs(space, space.space.largest) <= high


@pytest.mark.parametrize("name", ["images", "mobile_int8", "cifar10", "cifar10_gpu"])
def test_the_networks_for_int8_have_neither_gates_nor_hard_swish(name: str) -> None:
    space = space_of(shipped(name))
    network = space.build(space.space.largest)
    assert not any(isinstance(layer, nn.Hardswish) for layer in network.modules())
    assert not any("squeeze_excite" in parameter for parameter, _ in network.named_parameters())


def test_a_step_of_each_phase_changes_the_weights(config: FactoryConfig, tmp_path: Path) -> None:
    rate = config.training.learning_rate * REDUCED["batch_size"] / config.training.batch_size
    reduced = REDUCED | ON_CPU | {"learning_rate": rate}
    training = config.training.model_validate(config.training.model_dump() | reduced)
    sizes = "lengths" if config.model.inputs == "tokens" else "resolutions"
    model = config.model.model_copy(update={sizes: getattr(config.model, sizes)[:1]})
    supernet = Supernet(make_model_space(model, CLASSES))
    before = [parameter.detach().clone() for parameter in supernet.parameters()]
    lines: list[str] = []
    train(
        supernet,
        noise(getattr(model, sizes)[0], config),
        training,
        seed=0,
        state_file=tmp_path / "state.safetensors",
        key="",
        check=lambda _: 1.0,
        notify=lines.append,
    )
    assert not lines
    assert not all(map(torch.equal, before, supernet.parameters()))


def noise(size: int, config: FactoryConfig) -> Examples:
    """Two batches."""
    generator = torch.Generator().manual_seed(0)
    if config.model.inputs == "tokens":
        tokens = torch.randint(0, config.model.vocabulary, (8, size), generator=generator)
        return TokenExamples(tokens=tokens, labels=torch.arange(8) % CLASSES, word_dropout=0.2)
    return ImageExamples(
        images=torch.randint(0, 256, (8, 3, size, size), dtype=torch.uint8, generator=generator),
        labels=torch.arange(8) % CLASSES,
        normalisation=Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        augmentation=config.training.augment,
    )
