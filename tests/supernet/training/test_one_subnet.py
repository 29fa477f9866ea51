"""Fine-tuning: one subnet of a trained supernet is trained further on its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import easy_images, model_space

from factory_base.errors import ConfigError
from supernet.sharing.supernet import Supernet
from supernet.spaces.ofa import OfaSpace
from supernet.spaces.ofa_config import OfaMbv3Config
from supernet.training.config import TrainingConfig
from supernet.training.finetune import OneSubnet, separated
from supernet.training.finetune_config import FinetuneConfig
from supernet.training.training import train


def test_a_separated_subnet_computes_what_the_supernet_computes_and_shares_nothing() -> None:
    supernet = Supernet(model_space("mobilenet"), 1)
    for subnet in (supernet.model_space.space.smallest, supernet.model_space.space.largest):
        alone = separated(supernet, subnet)
        x = torch.randn(4, *alone.model_space.input_shape(subnet))
        assert alone.model_space.space.largest == alone.model_space.space.smallest == subnet
        torch.testing.assert_close(alone.train()(x, subnet), supernet.train()(x, subnet))
        with torch.no_grad():
            for parameter in alone.parameters():
                parameter.zero_()
        assert supernet(x, subnet).abs().sum() > 0


def test_a_subnet_with_learned_kernel_transforms_is_separated_with_them_applied() -> None:
    supernet = Supernet(OfaSpace(OfaMbv3Config(resolutions=(32,), width_mult=0.25), 4), 0)
    subnet = supernet.model_space.space.smallest
    alone = separated(supernet, subnet)
    x = torch.randn(2, *alone.model_space.input_shape(subnet), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(alone(x, subnet), supernet(x, subnet))
    assert any("kernel_matrices" in name for name, _ in supernet.named_parameters())
    assert not any("kernel_matrices" in name for name, _ in alone.named_parameters())


def test_training_a_separated_subnet_improves_it_and_leaves_the_supernet_alone(tmp_path: Path) -> None:
    supernet = Supernet(model_space("mobilenet"), 0)
    subnet = supernet.model_space.space.smallest
    before = [parameter.detach().clone() for parameter in supernet.parameters()]
    training = TrainingConfig(epochs=1, batch_size=32, learning_rate=0.3, random_subnets=2, sampler="macs")
    recipe = FinetuneConfig(epochs=6).recipe(training)
    assert (recipe.epochs, recipe.learning_rate, recipe.largest_only) == (6, pytest.approx(0.05), 1)
    alone, images = separated(supernet, subnet), easy_images()
    shown: list[str] = []
    outcome = train(
        alone, images, recipe, seed=0, state_file=tmp_path / "state.safetensors", key="k", check=lambda _: 1.0,
        progress=lambda _done, _total, detail="": shown.append(detail),
    )  # fmt: skip
    assert not any("largest" in detail for detail in shown)
    assert shown[0].startswith("data ")
    assert shown[-1].startswith("held-out: 100.0%, data ")
    assert outcome.curve[-1].loss < 0.7 * outcome.curve[0].loss
    assert all(torch.equal(*pair) for pair in zip(before, supernet.parameters(), strict=True))


def test_only_the_largest_network_is_fine_tuned_with_dropout() -> None:
    supernet = Supernet(model_space("loud"), 0)
    x = torch.randn(8, 3, 12, 12)
    for subnet, varies in ((supernet.model_space.space.largest, True), (supernet.model_space.space.smallest, False)):
        alone = separated(supernet, subnet).train()
        assert torch.equal(alone(x, subnet), alone(x, subnet)) is not varies


def test_one_subnet_builds_what_its_space_builds() -> None:
    space = model_space("mobilenet")
    subnet = space.space.smallest
    one = OneSubnet(space, subnet)
    assert repr(one.build(one.space.largest)) == repr(space.build(subnet))
    assert one.input_shape(subnet) == space.input_shape(subnet)


@pytest.mark.parametrize("section", [{"epochs": 0}, {"learning_rate": -1}, {"epoch": 1}])
def test_a_wrong_section_is_refused(section: dict[str, float]) -> None:
    from factory_base.documents import parse_document

    with pytest.raises(ConfigError):
        parse_document(section, FinetuneConfig, "finetune")
