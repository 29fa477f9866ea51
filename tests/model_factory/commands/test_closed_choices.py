"""The enums of the command line have the values of the types and tables that they repeat."""

from __future__ import annotations

from typing import get_args

import pytest

from device_profiles.engine import ComputePrecision
from device_profiles.profile import Platform
from device_profiles.telemetry.fit import Rounding
from exports.engines import ENGINES
from model_factory.commands import options
from model_factory.config import shipped_configs


@pytest.mark.parametrize(
    ("choice", "allowed"),
    [
        (options.EngineName, set(ENGINES)),
        (options.PrecisionName, set(get_args(ComputePrecision))),
        (options.PlatformName, set(get_args(Platform))),
        (options.RoundingName, set(get_args(Rounding))),
        (options.TemplateName, {path.stem for path in shipped_configs().glob("*.yaml")}),
    ],
)
def test_a_closed_choice_has_every_value_and_no_other(choice, allowed):
    assert {value.value for value in choice} == allowed
