"""`training.backbone_rate`: everything but the head learns at a lower rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from factory_base.errors import TrainingError
from supernet.data.examples import Targets
from supernet.data.image_examples import ImageExamples
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.tasks import Classification
from supernet.training.config import TrainingConfig
from supernet.training.optimizing import make_optimizer
from supernet.training.sampling import UniformSampler
from supernet.training.trainer import Trainer
from supernet.training.workers import one_worker


class HeadlessSpace:
    """A network that ends in a convolution."""

    space = SearchSpace((Choice(name="width", options=(4,)),))

    def build(self, _subnet) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 12), nn.Flatten())

    def input_shape(self, _subnet) -> tuple[int, ...]:
        return (3, 12, 12)


def changes_of_a_step(space: MobileNetSpace, examples: ImageExamples, backbone_rate: float) -> dict[str, torch.Tensor]:
    supernet = Supernet(space)
    before = {name: value.detach().clone() for name, value in supernet.largest.named_parameters()}
    recipe = TrainingConfig(epochs=1, batch_size=32, largest_only=1, backbone_rate=backbone_rate)
    sampler, task = UniformSampler(space, 0), Classification(names=())
    trainer = Trainer(supernet, examples, recipe, steps=4, seed=0, workers=one_worker(), sampler=sampler, task=task)
    rows = torch.arange(32)
    trainer.advance(examples.batch(rows, None), Targets(examples.labels[rows]))
    return {name: value.detach() - before[name] for name, value in supernet.largest.named_parameters()}


def test_a_step_moves_the_head_as_before_and_the_rest_by_that_share(
    small_space: MobileNetSpace, easy_images: ImageExamples
) -> None:
    whole = changes_of_a_step(small_space, easy_images, 1)
    less = changes_of_a_step(small_space, easy_images, 0.25)
    moved = [name for name, change in whole.items() if change.abs().max() > 1e-4]
    assert "classifier.weight" in moved
    assert len(moved) > 10
    for name in moved:
        share = 1 if name.startswith("classifier.") else 0.25
        assert torch.allclose(less[name], share * whole[name], atol=2e-6), name


def test_a_network_without_a_head_has_one_rate_only() -> None:
    make_optimizer(Supernet(HeadlessSpace()), TrainingConfig(epochs=1))
    with pytest.raises(TrainingError, match=r"backbone_rate below 1 needs a head.*; set it to 1"):
        make_optimizer(Supernet(HeadlessSpace()), TrainingConfig(epochs=1, backbone_rate=0.5))
