"""The config's keys for what is published and for floors, and a profile's selectors of format 1.5."""

import pytest
import yaml
from pydantic import ValidationError

from device_profiles.profile import Selectors
from exports.family.specs import Publish
from model_factory.config import FactoryConfig, shipped_configs
from model_factory.stages.family import publishing_notes


@pytest.fixture
def value():
    return yaml.safe_load((shipped_configs() / "digits.yaml").read_text(encoding="utf-8"))


def test_by_default_nothing_of_the_user_is_published(value):
    del value["publish"]
    publish = FactoryConfig.model_validate(value).publish
    assert (publish.samples, publish.evaluation) == ("tensors", False)
    assert publishing_notes(Publish()) == ()


def test_each_kind_of_data_that_is_published_has_a_line():
    lines = publishing_notes(Publish(samples="images", evaluation=True))
    assert ["test images, in samples/" in lines[0], "labels of all test images" in lines[1], len(lines)] == [
        True,
        True,
        2,
    ]


def test_a_floor_is_cloud_off_or_a_target(value):
    value["floors"] = {"ios": "cloud", "web": "off", "linux_iot": "speaker"}
    assert FactoryConfig.model_validate(value).floors == value["floors"]
    value["floors"]["web"] = yaml.safe_load("off")  # a truth value in YAML 1.1
    assert FactoryConfig.model_validate(value).floors["web"] == "off"
    with pytest.raises(ValidationError, match="names the target 'speeker'"):
        FactoryConfig.model_validate(value | {"floors": {"linux": "speeker"}})
    with pytest.raises(ValidationError, match="floors"):
        FactoryConfig.model_validate(value | {"floors": {"windows": "off"}})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"features_all": ["Dotprod"]}, "features_all"),
        ({"features_all": ["neon"], "features_none": ["neon"]}, "'neon' is in features_all and in features_none"),
        ({"probe_min": {"id": "matmul", "score": 0}}, "score"),
        ({"device_include": [{"maker": ""}]}, "maker"),
    ],
)
def test_a_selector_that_no_app_could_use_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        Selectors.model_validate({"platform": "android", **keys})
