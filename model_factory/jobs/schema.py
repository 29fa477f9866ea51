"""`factory schema`: the JSON Schema of the config, made from the typed config, for completion in editors."""

from __future__ import annotations

from typing import Any

from device_profiles.profile import shipped_profiles
from model_factory.config import FactoryConfig
from supernet.data.config import SOURCE_NAMES
from supernet.tasks import TASKS

SCHEMA_NAME = "factory.schema.json"
"""The file name beside a config under which its first line names the schema."""
SCHEMA_LINE = f"# yaml-language-server: $schema={SCHEMA_NAME}"
"""The comment by which editors with the YAML language server find the schema."""


def config_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a config. It states types and limits, but no rules that join several keys."""
    schema = FactoryConfig.model_json_schema()
    definitions = schema["$defs"]
    definitions["DataConfig"]["properties"]["source"] |= {"examples": [*SOURCE_NAMES]}
    task = schema["properties"]["task"]
    task["oneOf"] = [{"enum": [*TASKS]}, *task["oneOf"]]  # a name stands for a section with its defaults
    task["default"] = task["default"]["name"]
    definitions["TargetConfig"]["properties"]["device"] |= {"examples": [*shipped_profiles()]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The config of a family of models",
        **schema,
    }
