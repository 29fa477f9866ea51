"""The defaults of a start from pretrained weights, and what a plan says about them."""

from __future__ import annotations

from supernet.planning.pretrained_start import CONVOLUTIONAL_RECIPE, describe_start, pretrained_recipe
from supernet.spaces.hf_config import TransformersConfig
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.spaces.published_config import EfficientNetLite0Config
from supernet.training.config import TrainingConfig

LITE = EfficientNetLite0Config.model_validate({"from": "pretrained"})


def recipe(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate(CONVOLUTIONAL_RECIPE | changes)


def test_the_plan_says_what_is_done_first_and_with_which_recipe() -> None:
    start, values = describe_start(LITE, recipe())
    assert start.startswith("start: pretrained weights; any statistics of batch normalisation keep their effect, as ")
    assert "a fresh head is fitted to the features (linear probe)" in start
    assert "units are sorted" in start
    assert "adamw, learning rate 0.001, 5 epochs in batches of 64" in values
    assert "set in the config" not in values


def test_what_the_config_changes_is_named_and_not_claimed() -> None:
    changes = {"learning_rate": 0.002, "probe": False, "keep_statistics": False, "sort_by_importance": False}
    start, values = describe_start(LITE, recipe(**changes, backbone_rate=0.1, largest_only=0.25))
    assert start == "start: pretrained weights"
    assert "learning rate 0.002, 0.1 of that for all but the head" in values
    assert "teaches the others after 25% of the steps, with 50% of the weight on labels" in values
    assert values.endswith("(set in the config: learning_rate, largest_only, sort_by_importance)")


def test_weights_that_the_training_section_names_come_with_no_recipe() -> None:
    model = MobileNetConfig.model_validate({"resolutions": [8], "stem_width": 8, "head_width": 8, "stages": [
        {"widths": [8], "depths": [1]}]})  # fmt: skip
    assert len(describe_start(model, TrainingConfig(epochs=1, initial_weights="weights.safetensors"))) == 1
    assert describe_start(model, TrainingConfig(epochs=1)) == ()


def test_transformers_learn_at_a_lower_rate() -> None:
    model = TransformersConfig.model_construct(space="transformers")
    assert pretrained_recipe(model)["learning_rate"] < CONVOLUTIONAL_RECIPE["learning_rate"]
