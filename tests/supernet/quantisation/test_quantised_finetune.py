"""Quantisation-aware fine-tuning: what is trained is what the file computes, and the result survives recalibration."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import easy_images, model_space

from supernet.data.examples import ExampleInputs
from supernet.evaluation.evaluation import recalibrate
from supernet.quantisation.fake import fake_quantised
from supernet.quantisation.finetune import QuantisedSupernet
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.training.config import TrainingConfig
from supernet.training.finetune import separated
from supernet.training.finetune_config import FinetuneConfig
from supernet.training.training import train

IMAGES = easy_images()


@pytest.fixture
def start() -> tuple[QuantisedSupernet, SubnetConfig, ExampleInputs, torch.nn.Module]:
    """A supernet of one subnet before fine-tuning, its subnet, its inputs, and its calibrated network."""
    supernet = Supernet(model_space("mobilenet"), 0)
    subnet = supernet.model_space.space.smallest
    inputs = ExampleInputs(IMAGES, supernet.model_space.input_shape(subnet))
    network = recalibrate(supernet.extract(subnet), inputs)
    return QuantisedSupernet(separated(supernet, subnet), network, inputs), subnet, inputs, network


def test_before_training_it_computes_what_fake_quantisation_computes(start) -> None:
    quantised, subnet, inputs, network = start
    with torch.no_grad():
        torch.testing.assert_close(quantised(inputs[:16], subnet), fake_quantised(network, inputs)(inputs[:16]))
    assert all(parameter.requires_grad for parameter in quantised.parameters())
    assert {name for name, _ in quantised.named_parameters()} == {
        name for name, _ in separated(quantised, subnet).named_parameters()
    }


def test_training_lowers_the_loss_of_the_file_and_the_result_survives_recalibration(start, tmp_path: Path) -> None:
    quantised, subnet, inputs, _ = start
    training = TrainingConfig(epochs=1, batch_size=32, learning_rate=0.3, random_subnets=2)
    outcome = train(
        quantised, IMAGES, FinetuneConfig(epochs=4).recipe(training), seed=0,
        state_file=tmp_path / "state.safetensors", key="k", check=lambda _: 1.0,
    )  # fmt: skip
    assert outcome.curve[-1].loss < 0.8 * outcome.curve[0].loss
    network = quantised.with_fixed_statistics()
    finished = recalibrate(quantised.finished(inputs).extract(subnet), inputs)
    plain = recalibrate(quantised.extract(subnet), inputs)
    with torch.no_grad():
        trained = network(inputs[:])
        errors = [(other(inputs[:]) - trained).abs().mean() for other in (finished, plain)]
    assert errors[0] < 0.01 * trained.std()
    assert errors[1] > 5 * errors[0]  # without it, recalibration undoes a part of what was learned
