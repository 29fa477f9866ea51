"""Random inputs for networks whose speed or ranges are measured before any data are at hand."""

from __future__ import annotations

import numpy as np

from device_profiles.engine import InputType, ModelInput
from supernet.model_space import ModelSpace, TokenModelSpace, takes_tokens
from supernet.space import SubnetConfig


def random_inputs(
    model_space: ModelSpace, subnet: SubnetConfig, count: int, generator: np.random.Generator
) -> ModelInput:
    """`count` inputs of a subnet: standard normal numbers, or any tokens of its vocabulary."""
    shape = (count, *model_space.input_shape(subnet))
    if not takes_tokens(model_space):
        return generator.standard_normal(shape, dtype=np.float32)
    tokens = model_space.vocabulary if isinstance(model_space, TokenModelSpace) else 2
    return generator.integers(0, tokens, shape, dtype=np.int64)


def network_input_type(model_space: ModelSpace) -> InputType:
    """The type of the inputs of the networks, before any preprocessing is a part of a file."""
    return "int64" if takes_tokens(model_space) else "float32"
