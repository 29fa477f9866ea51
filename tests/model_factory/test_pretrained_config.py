"""What `model.from: pretrained` sets in other sections of a config, and what it excludes."""

from __future__ import annotations

from typing import Any

import pytest

from factory_base.documents import parse_document, shaping_values
from factory_base.errors import ConfigError
from factory_base.quantities import WITH_UNITS
from model_factory.config import FactoryConfig
from supernet.data.config import DataConfig
from supernet.data.normalising import NAMED_STATISTICS, fixed_statistics
from supernet.planning.pretrained_start import CONVOLUTIONAL_RECIPE
from supernet.spaces.published_config import LITE_STATISTICS, EfficientNetLite0Config
from supernet.training.config import TrainingConfig

SECTIONS: dict[str, Any] = {
    "name": "app",
    "data": {"source": "digits", "image_size": 64},
    "model": {"space": "efficientnet_lite0", "from": "pretrained", "resolutions": [32, 64]},
    "training": {"epochs": 1},
    "targets": [{"device": "midrange"}],
}


def parsed(**changes: Any) -> FactoryConfig:
    merged = {name: section | changes.get(name, {}) if isinstance(section, dict) else section
              for name, section in SECTIONS.items()}  # fmt: skip
    return parse_document(merged, FactoryConfig, "factory.yaml")


def test_a_pretrained_start_sets_the_statistics_of_the_weights_and_sorts() -> None:
    config = parsed()
    assert config.data.normalize == LITE_STATISTICS
    assert LITE_STATISTICS.mean == (0.498039,) * 3  # 127 of 255
    assert LITE_STATISTICS.std == (0.501961,) * 3  # 128 of 255
    assert config.training.sort_by_importance


def test_a_pretrained_start_has_a_recipe_of_its_own_and_needs_no_training_section() -> None:
    without = {name: section for name, section in SECTIONS.items() if name != "training"}
    recipe = parse_document(without, FactoryConfig, "factory.yaml").training
    assert recipe.model_dump() == TrainingConfig(**CONVOLUTIONAL_RECIPE).model_dump()


def test_what_the_config_says_itself_remains() -> None:
    config = parsed(data={"normalize": "data"}, training={"sort_by_importance": False, "learning_rate": 0.1})
    assert config.data.normalize == "data"
    assert not config.training.sort_by_importance
    assert config.training.learning_rate == 0.1
    assert config.training.batch_size == CONVOLUTIONAL_RECIPE["batch_size"]


def test_a_config_in_python_gets_the_same() -> None:
    typed = SECTIONS | {
        "data": DataConfig(source="digits", image_size=64),
        "model": EfficientNetLite0Config.model_validate(SECTIONS["model"]),
        "training": TrainingConfig(epochs=1),
    }
    assert FactoryConfig.model_validate(typed) == parsed()


def test_a_resolved_config_reads_as_the_same() -> None:
    config = parsed()
    assert (
        parse_document(config.model_dump(mode="json", by_alias=True, context=WITH_UNITS), FactoryConfig, "resolved")
        == config
    )


def test_without_a_start_nothing_is_set_and_keys_are_as_before_there_was_one() -> None:
    config = parsed(model={"from": None})
    assert config.data.normalize == "data"
    assert not config.training.sort_by_importance
    assert "normalize" not in shaping_values(config.data)


@pytest.mark.parametrize(
    ("normalize", "mean"),
    [("data", None), ("imagenet", 0.485), ("inception", 0.5), ({"mean": [0.1] * 3, "std": [0.2] * 3}, 0.1)],
)
def test_statistics_are_named_or_stated(normalize: Any, mean: float | None) -> None:
    found = fixed_statistics(parsed(data={"normalize": normalize}).data.normalize)
    assert (found and found.mean[0]) == mean


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"initial_weights": "w.safetensors"}}, "initial_weights and model.from both name weights"),
        (
            {"model": {"from": None}, "training": {"sort_by_importance": True}},
            "sort_by_importance applies only",
        ),
        (
            {"model": {"from": None}, "training": {"fresh_parameters": ["x"]}},
            "fresh_parameters applies only",
        ),
        ({"model": {"from": None}, "training": {"probe": True}}, "probe: true applies only to initial weights"),
        ({"model": {"from": "imagenet"}}, "'model.from': must be 'pretrained', got 'imagenet'"),
        (
            {"data": {"normalize": "imagnet"}},
            "'data.normalize': must be 'data', 'imagenet' or 'inception', got",
        ),
        ({"data": {"normalize": {"mean": [127, 127, 127], "std": [1, 1, 1]}}}, "'data.normalize.mean.0': must be"),
        ({"data": {"normalize": {"mean": [0.5] * 3, "std": [0, 1, 1]}}}, "'data.normalize.std.0': must be"),
        ({"data": {"normalize": {"mean": [0.5], "std": [1]}}}, "data.normalize"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(**changes)
    assert message in str(caught.value)


def test_the_names_stand_for_the_published_statistics() -> None:
    """Of torchvision's and timm's weights, and of what scales pixels to -1 to 1."""
    assert NAMED_STATISTICS["imagenet"].std == (0.229, 0.224, 0.225)
    assert NAMED_STATISTICS["inception"].std == (0.5, 0.5, 0.5)
