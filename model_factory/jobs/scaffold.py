"""`factory init`: write a shipped config and the shipped device profiles to a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from device_profiles.profile import SHIPPED_FOLDER, shipped_profiles
from factory_base.documents import nearest
from factory_base.errors import ConfigError
from factory_base.files import write_bytes, write_text
from model_factory.config import CONFIG_NAME, load_config, shipped_configs

_NAME_LINE = re.compile(r"^name: \S+", re.MULTILINE)
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """What `factory init` wrote.

    Attributes:
        config: The config.
        family: The name of the family in it.
        data: Where the config expects the images, relative to it; None if they are embedded.
        profiles: The folder of the device profiles.
        profile_count: How many profiles there are.
    """

    config: Path
    family: str
    data: str | None
    profiles: Path
    profile_count: int


def scaffold(folder: Path, template: str) -> Scaffold:
    """Write a shipped config to `folder/factory.yaml`, with the name of the folder, and the profiles to `profiles/`.

    Raises:
        ConfigError: The template is unknown, `folder` is a file, or a file in it exists already.
        DiskError: A file cannot be written.
    """
    known = _templates()
    if template not in known:
        raise ConfigError(f"unknown template {template!r}; {nearest(template, known)}")
    config, profiles = folder / CONFIG_NAME, folder / "profiles"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder, which is created if it is missing")
    copies = {profiles / f"{name}.yaml": SHIPPED_FOLDER / f"{name}.yaml" for name in shipped_profiles()}
    present = [target for target in (config, *copies) if target.exists()]
    if present:
        raise ConfigError(f"{present[0]} exists already; choose another folder, or remove it first")
    family = family_name(folder)
    write_text(config, _NAME_LINE.sub(f"name: {family}", known[template].read_text(encoding="utf-8"), count=1))
    for target, source in copies.items():
        write_bytes(target, source.read_bytes())
    data = load_config(config).data.path
    return Scaffold(config=config, family=family, data=data, profiles=profiles, profile_count=len(copies))


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
