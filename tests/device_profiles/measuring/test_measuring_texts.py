"""Networks for texts are timed with tokens, on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from device_profiles.measuring.random_inputs import network_input_type, random_inputs
from device_profiles.measuring.runner import LocalRunner, TimedFile, refuse_tokens
from exports.engines import get_engine
from factory_base.errors import EngineError
from supernet.spaces import make_model_space
from supernet.spaces.transformer_config import TextEncoderConfig, VisionTransformerConfig

TEXTS = make_model_space(TextEncoderConfig(vocabulary=9, lengths=(4, 6), widths=(8,), depths=(1,), heads=(1,)), 2)
IMAGES = make_model_space(VisionTransformerConfig(resolutions=(8,), patch=4, widths=(8,), depths=(1,), heads=(1,)), 2)


def test_random_inputs_are_tokens_of_the_vocabulary_or_normal_numbers() -> None:
    tokens = random_inputs(TEXTS, TEXTS.space.largest, 50, np.random.default_rng(0))
    assert (tokens.shape, tokens.dtype, tokens.min(), tokens.max()) == ((50, 6), np.int64, 0, 8)
    numbers = random_inputs(IMAGES, IMAGES.space.largest, 50, np.random.default_rng(0))
    assert (numbers.shape, numbers.dtype) == ((50, 3, 8, 8), np.float32)
    assert (network_input_type(TEXTS), network_input_type(IMAGES)) == ("int64", "float32")


def test_a_file_that_takes_tokens_is_timed(tmp_path: Path) -> None:
    engine, path = get_engine("onnxruntime"), tmp_path / "net.onnx"
    engine.convert(TEXTS.build(TEXTS.space.largest).eval(), (6,), path, input_type="int64")
    runner = LocalRunner(engine)
    assert runner.open([TimedFile(path=path, input_shape=(6,), input_type="int64")], 1, 1, 0).min() > 0
    ((index, times),) = runner.visit([0])
    assert index == 0
    assert min(times) > 0


def test_other_machines_refuse_tokens_in_one_line() -> None:
    with pytest.raises(EngineError, match="networks for texts can be measured on this machine only"):
        refuse_tokens([TimedFile(path=Path("net.onnx"), input_shape=(6,), input_type="int64")])
