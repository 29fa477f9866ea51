"""`factory init`: copy a shipped config and the shipped device profiles to a folder."""

from __future__ import annotations

from pathlib import Path

from device_profiles.profile import SHIPPED_FOLDER, shipped_profiles
from factory_base.documents import nearest
from factory_base.errors import ConfigError
from factory_base.files import write_bytes
from model_factory.config import CONFIG_NAME, shipped_configs


def scaffold(folder: Path, template: str) -> list[Path]:
    """Copy a shipped config to `folder/factory.yaml` and the shipped profiles to `folder/profiles/`.

    Raises:
        ConfigError: The template is unknown, or a file exists already.
        DiskError: A file cannot be written.
    """
    templates = {path.stem: path for path in shipped_configs().glob("*.yaml")}
    if template not in templates:
        raise ConfigError(f"unknown template {template!r}; {nearest(template, templates)}")
    copies = {templates[template]: folder / CONFIG_NAME}
    for name in shipped_profiles():
        copies[SHIPPED_FOLDER / f"{name}.yaml"] = folder / "profiles" / f"{name}.yaml"
    present = [target for target in copies.values() if target.exists()]
    if present:
        raise ConfigError(f"{present[0]} exists already; choose another folder, or remove it first")
    for source, target in copies.items():
        write_bytes(target, source.read_bytes())
    return list(copies.values())
