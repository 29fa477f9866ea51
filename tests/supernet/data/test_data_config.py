"""The `data` section: wrong values are refused before any data is read."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from factory_base.documents import parse_document, shaping_values
from factory_base.errors import ConfigError
from supernet.data.config import SOURCE_NAMES, DataConfig
from supernet.data.image_form import ImageForm


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"source": "digit"}, "unknown source 'digit'; did you mean 'digits'"),
        ({"source": "mnist.idx"}, "unknown source"),
        ({"source": "my-data:load"}, "is not an import path"),
        ({"source": "folder"}, "set data.path"),
        ({"source": "digits", "path": "x"}, "takes neither 'path' nor 'test_path'"),
        ({"source": "digits", "test_path": "x"}, "takes neither 'path' nor 'test_path'"),
        ({"source": "digits", "options": {"a": 1}}, "'options' are for a callable"),
        ({"source": "digits", "heldout_fraction": 0}, "heldout_fraction"),
        ({"source": "digits", "image_size": 2}, "image_size"),
        ({"source": "digits", "limits": 9}, "unknown key 'limits'; did you mean 'limit'"),
        ({"source": "digits", "cache": "ram"}, "'cache': must be 'auto', 'memory', 'disk' or 'none'"),
        ({"source": "digits", "cache": "disk"}, "'cache: disk' is for images in files"),
        ({"source": "digits", "memory_limit": 5}, "'memory_limit': 5 is not a size such as '64 MiB'"),
        ({"source": "digits", "workers": -1}, "'workers'"),
        ({}, "'source' is missing"),
    ],
)
def test_a_wrong_section_is_refused_in_one_line(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_document(value, DataConfig, "factory.yaml")
    assert "\n" not in str(caught.value)


def test_defaults_hold_out_a_tenth_at_32_pixels() -> None:
    config = parse_document({"source": "digits"}, DataConfig, "factory.yaml")
    assert (config.image_size, config.heldout_fraction, config.limit) == (32, 0.1, None)
    assert (config.cache, config.memory_limit, config.workers) == ("auto", 4 * 2**30, None)


def test_every_source_name_has_a_loader_and_every_loader_a_name() -> None:
    from supernet.data.sources import SOURCES

    assert set(SOURCES) == set(SOURCE_NAMES)


def test_describing_data_imports_nothing_heavy() -> None:
    program = (
        "import sys; from supernet.data.config import DataConfig; DataConfig(source='digits'); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "sklearn", "pyarrow", "pandas", "scipy"} & set(loaded)


def test_an_image_size_may_have_two_sides() -> None:
    assert DataConfig(source="digits", image_size=(12, 16)).form == ImageForm(height=12, width=16)
    assert DataConfig(source="digits", image_size=(16, 16)) == DataConfig(source="digits", image_size=16)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"image_size": [12]}, "image_size"),
        ({"image_size": [12, 16, 3]}, "image_size"),
        ({"image_size": [12, 2]}, "image_size"),
        ({"channels": 2}, "channels"),
        ({"fitting": "stretch"}, "fitting"),
        ({"channels": 1, "normalize": "imagenet"}, "'normalize' states three channels, but 'channels' is 1"),
        ({"class_minimum": 1}, "class_minimum"),
        ({"small_classes": "merge", "merged_class": " x"}, "merged_class"),
    ],
)
def test_wrong_forms_of_images_and_classes_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_document({"source": "digits", **keys}, DataConfig, "data")


def test_keys_of_pictures_at_their_defaults_leave_fingerprints_as_they_were() -> None:
    new = {"channels", "fitting", "ignore", "small_classes", "class_minimum", "merged_class"}
    assert not new & shaping_values(DataConfig(source="digits")).keys()
    assert shaping_values(DataConfig(source="digits", fitting="crop"))["fitting"] == "crop"
