"""Every number of a file that people write has limits, and a value beyond them is refused when the file is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from device_profiles.latency_table import LatencyTable
from device_profiles.modelling.soc import SocSheet
from device_profiles.profile import DeviceProfile
from model_factory.config import FactoryConfig
from supernet.spaces.transformer_config import TextEncoderConfig


def unlimited(model: type[BaseModel], place: str = "") -> Iterator[str]:
    """The places of numbers without a lower or an upper limit in documents of class `model`."""
    for name, field in model.model_fields.items():
        yield from _in_annotation(field.annotation, field.metadata, f"{place}.{name}")


def _in_annotation(annotation: Any, metadata: list[Any], place: str) -> Iterator[str]:
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        metadata = [*metadata, *(m for one in more for m in (one.metadata if isinstance(one, FieldInfo) else [one]))]
    if any(isinstance(one, BeforeValidator) for one in metadata):
        return  # a quantity with a unit, whose parser has limits
    if get_origin(annotation) in (UnionType, Union):
        for member in get_args(annotation):
            yield from _in_annotation(member, metadata, place)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from unlimited(annotation, place)
    elif annotation in (int, float):
        sides = {isinstance(one, Ge | Gt) for one in metadata if isinstance(one, Ge | Gt | Le | Lt)}
        yield from [] if sides == {True, False} else [place]
    else:
        for member in get_args(annotation):
            yield from _in_annotation(member, [], place)


@pytest.mark.parametrize("model", [FactoryConfig, TextEncoderConfig, DeviceProfile, SocSheet, LatencyTable])
def test_every_number_has_two_limits(model: type[BaseModel]) -> None:
    assert list(unlimited(model)) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed: 0", "seed: 9223372036854775807", "'seed': must be from 0 to 9007199254740991, got 9223372036854775807"),
        ("threads: 1", "threads: 1099511627776", "'threads': must be from 1 to 1024, got 1099511627776"),
        ("epochs: 10", "epochs: 1.0e+300", "'training.epochs': must be from 0 to 1000000000, got 1e+300"),
        ("image_size: 16", "image_size: 65536", "'data.image_size': must be from 4 to 1024, got 65536"),
        ("widths: [8, 16]", f"widths: {list(range(1, 1001))}", "'model.stages.0.widths': must have at most 64 entries"),
        ("kernels: [3]", "kernels: [1048575]", "'model.stages.0.kernels.0': must be from 1 to 63, got 1048575"),
        ("depths: [1]", "depths: [4294967295]", "'model.stages.0.depths.0': must be from 1 to 256, got 4294967295"),
        ("finalists: 2", "finalists: 4294967295", "'search.finalists': must be from 1 to 1000, got 4294967295"),
        ("latency: 1 ms", "latency: 1e300 ms", "'1e300 ms' is too large, the most is 1000000 s"),
        ("  stem_width: 8", "  space: {}\n  stem_width: 8", "mobilenetv3_large, ofa_mbv3, ofa_proxyless"),
        ("  stem_width: 8", "  space: [vit]\n  stem_width: 8", "package.module:callable, got a list"),
        ("name: tiny", "name: My App", "'name': 'My App' is not a name; use up to 64 characters of a-z"),
        ("threads: 1", "threads: yes", "'threads': must not be true or false, got True"),
    ],
)
def test_an_extreme_value_is_refused_when_the_config_is_read(factory, empty_app, edit_config, old, new, words):
    edit_config(empty_app, old, new)
    answer = factory(empty_app, "build", "--quiet")
    assert answer.code == 1
    assert re.search(re.escape(words), answer.error)
    assert not (empty_app / "runs").exists()


def test_all_mistakes_of_a_config_are_stated_at_once(factory, empty_app, edit_config):
    edit_config(empty_app, "seed: 0", "sed: 0")
    edit_config(empty_app, "epochs: 10", "epochs: ten")
    edit_config(empty_app, "{device: midrange, budgets: {latency: 1 ms,", "{device: midrange, budgets: {latency: 1,")
    edit_config(empty_app, "stem_width: 8", "stem_width: 0")
    answer = factory(empty_app, "build", "--quiet")
    assert answer.error.splitlines() == [
        f"error: {empty_app / 'factory.yaml'}: 4 mistakes",
        "  unknown key 'sed'; did you mean 'seed'?",
        "  'model.stem_width': must be from 1 to 65536, got 0",
        "  'training.epochs': must be a number, got 'ten'",
        "  'targets.1.budgets.latency': 1 is not a duration such as '8 ms'; units: us, ms, s",
    ]
