"""`factory init`: write a shipped config and the shipped device profiles to a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device_profiles.profile import SHIPPED_FOLDER, shipped_profiles
from factory_base.documents import load_yaml, nearest
from factory_base.errors import ConfigError
from factory_base.files import write_bytes, write_text
from model_factory.config import CONFIG_NAME, shipped_configs
from model_factory.jobs.schema import SCHEMA_LINE, SCHEMA_NAME, config_schema

PROFILES = "profiles"
"""The folder of device profiles beside a config."""

_NAME_LINE = re.compile(r"^name: \S+", re.MULTILINE)
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """What `factory init` wrote.

    Attributes:
        config: The config.
        family: The name of the family in it.
        data: Where the config expects the images, relative to it; None if they are embedded or the user has to say.
        is_blank: Whether the user has to set the path of the data.
        profiles: The folder of the device profiles.
        profile_count: How many profiles there are.
    """

    config: Path
    family: str
    data: str | None
    is_blank: bool
    profiles: Path
    profile_count: int


def scaffold(folder: Path, template: str) -> Scaffold:
    """Write a shipped config to `folder/factory.yaml`, with the name of the folder, and the schema and profiles beside.

    Raises:
        ConfigError: The template is unknown, `folder` is a file, or a file in it exists already.
        DiskError: A file cannot be written.
    """
    known = _templates()
    if template not in known:
        raise ConfigError(f"unknown template {template!r}; {nearest(template, known)}")
    check_free(folder, (CONFIG_NAME, SCHEMA_NAME))
    family = family_name(folder)
    text = _NAME_LINE.sub(f"name: {family}", known[template].read_text(encoding="utf-8"), count=1)
    write_text(folder / CONFIG_NAME, f"{SCHEMA_LINE}\n{text}")
    data = load_yaml(folder / CONFIG_NAME)["data"]
    write_beside(folder)
    return Scaffold(
        config=folder / CONFIG_NAME,
        family=family,
        data=data.get("path"),
        is_blank="path" in data and data["path"] is None,
        profiles=folder / PROFILES,
        profile_count=len(shipped_profiles()),
    )


def check_free(folder: Path, names: Sequence[str]) -> None:
    """Raise `ConfigError` if `folder` is a file, or if one of the files to write to it exists already."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder, which is created if it is missing")
    files = [folder / name for name in names] + [folder / PROFILES / f"{name}.yaml" for name in shipped_profiles()]
    present = [path for path in files if path.exists()]
    if present:
        raise ConfigError(f"{present[0]} exists already; choose another folder, or remove it first")


def write_beside(folder: Path) -> None:
    """Write what belongs beside a config: the schema, and copies of the shipped profiles. Raises `DiskError`."""
    write_text(folder / SCHEMA_NAME, json.dumps(config_schema(), indent=1) + "\n")
    for name in shipped_profiles():
        write_bytes(folder / PROFILES / f"{name}.yaml", (SHIPPED_FOLDER / f"{name}.yaml").read_bytes())


def family_name(folder: Path) -> str:
    """The name of a folder as the name of a family, which consists of `a-z`, `0-9`, `_`, `.` and `-`.

    >>> family_name(Path("My App"))
    'my-app'
    """
    name = re.sub(r"[^a-z0-9_.-]+", "-", folder.resolve().name.lower()).strip("-_.")
    return name[:_LONGEST_NAME].rstrip("-_.") or "family"


def template_descriptions() -> dict[str, str]:
    """The shipped configs: name -> the first sentence of the comment at its head."""
    heads = {name: path.read_text(encoding="utf-8").partition("\n")[0] for name, path in _templates().items()}
    return {name: head.removeprefix("# ").partition(". ")[0].rstrip(".") for name, head in heads.items()}


def _templates() -> dict[str, Path]:
    return {path.stem: path for path in sorted(shipped_configs().glob("*.yaml"))}
