"""The `model` section of the space `mobilenet`: its search space, and the values that are refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from factory_base.documents import parse_document
from factory_base.errors import ConfigError
from supernet.spaces.mobilenet_config import MobileNetConfig, search_space
from supernet.training.config import TrainingConfig

STAGE = {"widths": [8, 16], "depths": [1, 3], "kernels": [3, 5], "expands": [2, 4]}
MODEL = {"resolutions": [16, 24], "stem_width": 8, "stages": [STAGE], "head_width": 32}


def test_every_block_of_the_deepest_stage_has_its_choices() -> None:
    space = search_space(parse_document(MODEL, MobileNetConfig, "test"))
    blocks = [f"stages.0.blocks.{j}.{name}" for j in range(3) for name in ("kernel", "expand")]
    assert [choice.name for choice in space] == ["resolution", "stages.0.width", "stages.0.depth", *blocks]
    assert space.count() == 2 * 2 * (4 + 4**3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": [16, 8]}, r"stages.0.widths': options \[16, 8\] must be ascending and distinct"),
        ({"widths": []}, "stages.0.widths': must have at least 1 entry$"),
        ({"kernels": [3, 4]}, r"kernel sizes \[3, 4\] must be odd"),
        ({"stride": 3}, "stages.0.stride'.*got 3"),
        ({"expands": [0]}, "stages.0.expands.0': must be above 0 and at most 64, got 0$"),
        ({"activation": "swish"}, "'relu' or 'hard_swish', got 'swish'"),
        ({"kernel": [3]}, "unknown key 'stages.0.kernel'; did you mean 'kernels'"),
    ],
)
def test_a_wrong_stage_is_named_in_one_line(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_document(MODEL | {"stages": [STAGE | change]}, MobileNetConfig, "factory.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "key 'epochs' is missing"),
        ({"epochs": -1}, "'epochs': must be from 0 to 1000000000, got -1"),
        ({"epochs": 1, "precision": "float8"}, "'precision': .*'float32', 'bfloat16' or 'float16', got 'float8'"),
        ({"epochs": 1, "augment": {"flipp": True}}, "unknown key 'augment.flipp'; did you mean 'flip'"),
        ({"epochs": float("inf")}, "'epochs': .*finite"),
    ],
)
def test_a_wrong_training_section_is_named_in_one_line(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_document(change, TrainingConfig, "factory.yaml")


def test_describing_a_space_does_not_import_torch() -> None:
    code = (
        "import sys, supernet.space, supernet.model_space, supernet.spaces, supernet.training.config, search.config;"
        "print(sorted({'torch', 'optuna', 'pandas'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
