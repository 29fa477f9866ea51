"""The reference and the schema of the config say what the typed config accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from factory_base.documents import parse_document
from factory_base.errors import ConfigError
from model_factory.config import FactoryConfig, shipped_configs
from model_factory.jobs.reference import config_reference
from model_factory.jobs.schema import config_schema
from supernet.data.sources import SOURCES
from supernet.spaces import MODEL_SPACES
from supernet.tasks import TASKS

PAGE = Path(__file__).parents[3] / "docs" / "config.md"
SCHEMA = config_schema()
CHECK = jsonschema.Draft202012Validator(SCHEMA)


def values(name="digits"):
    return yaml.safe_load((shipped_configs() / f"{name}.yaml").read_text(encoding="utf-8"))


def test_the_page_in_docs_is_what_the_code_says():
    current = PAGE.read_text(encoding="utf-8") == config_reference()
    assert current, (
        "docs/config.md is out of date; run `make docs`, or `factory schema --reference --output docs/config.md`"
    )


def test_every_key_of_every_section_is_explained():
    sections = {"": SCHEMA} | SCHEMA["$defs"]
    silent = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, value in section["properties"].items()
        if not value.get("description") and not {"$ref", "oneOf", "const"} & set(value)
    ]
    assert not silent, f"document these fields below their definition: {', '.join(silent)}"


def test_every_model_space_source_and_task_has_a_section_and_every_link_has_a_target():
    page = config_reference()
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert {f"model (space: {name})" for name in MODEL_SPACES} <= set(headings)
    assert {f"data (source: {name})" for name in SOURCES} <= set(headings)
    assert {f"task (name: {name})" for name in TASKS} <= set(headings)
    assert len(anchors) == len(headings)
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors


def test_the_schema_is_a_schema_and_small():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert len(json.dumps(SCHEMA, indent=1)) < 150_000


@pytest.mark.parametrize("path", sorted(shipped_configs().glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_every_shipped_config(path):
    assert not [error.message for error in CHECK.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))]


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("data", {"sorce": "digits"}),
        ("data", {"image_size": 2}),
        ("data", {"memory_limit": 64}),
        ("training", {"optimizer": "adam"}),
        ("training", {"augment": {"flips": True}}),
        ("model", {"space": "mobilnet"}),
        ("export", {"opset": 17}),
    ],
)
def test_the_schema_refuses_what_the_config_refuses(section, change):
    wrong = values()
    wrong[section] = wrong.get(section, {}) | change
    assert list(CHECK.iter_errors(wrong))
    with pytest.raises(ConfigError):
        parse_document(wrong, FactoryConfig, "factory.yaml")


@pytest.mark.parametrize("budgets", [{"latency": 8}, {"latency": "8 MiB"}, {"frame_share": "10 fps"}, {"macs": "60 X"}])
def test_the_schema_refuses_quantities_without_their_unit(budgets):
    wrong = values()
    wrong["targets"][0]["budgets"] = budgets
    assert list(CHECK.iter_errors(wrong))


def test_sections_of_quantities_and_imported_spaces_are_accepted():
    config = values()
    config["model"] = {"space": "nets:Mine", "options": {"width": 3}}
    config["targets"][0]["budgets"] = {"frame_rate": "30 fps", "frame_share": 0.5, "macs": "60 MMACs", "energy": "3 mJ"}
    config["targets"][1]["budgets"] = {"memory": {"ram": "3 GiB", "system_reserve": "1.2 GiB", "app_share": "10 %"}}
    assert not [error.message for error in CHECK.iter_errors(config)]


def test_the_command_writes_both(factory, tmp_path):
    answer = factory(tmp_path, "schema", "--output", "factory.schema.json")
    assert json.loads((tmp_path / "factory.schema.json").read_text(encoding="utf-8")) == SCHEMA
    assert "# yaml-language-server: $schema=factory.schema.json" in answer.out
    assert json.loads(factory(tmp_path, "schema").out) == SCHEMA
    assert factory(tmp_path, "schema", "--reference").out == config_reference()
