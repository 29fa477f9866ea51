"""Where a run lies, and how a command finds it (DESIGN.md section 7)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from device_profiles.budgets import Budgets
from device_profiles.profile import FoundProfile, find_profile
from factory_base.errors import ConfigError, MissingRunError
from factory_base.files import write_text
from factory_base.quantities import WITH_UNITS
from model_factory.config import FactoryConfig, find_config, load_config, shipped_configs
from model_factory.stages.cached import StageCache

RESOLVED_CONFIG = "config.resolved.yaml"
ORIGIN = "origin.txt"
DIGITS_CONFIG = "digits.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One config and the folders it works in.

    Attributes:
        config: the parsed config.
        config_folder: relative paths in the config start here.
        origin: the file the config was read from.
        base: the folder that holds `runs/` and `dist/`.
        folder: `runs/<name>`.
        family_folder: `dist/<name>`.
    """

    config: FactoryConfig
    config_folder: Path
    origin: Path
    base: Path
    folder: Path
    family_folder: Path

    @property
    def cache(self) -> StageCache:
        """The records of finished stages."""
        return StageCache(folder=self.folder / "stages", root=self.base)

    @property
    def checkpoint(self) -> Path:
        """The trained supernet."""
        return self.folder / "supernet.safetensors"

    @property
    def report(self) -> Path:
        """The page about the family."""
        return self.family_folder / "report.html"

    @property
    def storage(self) -> str:
        """URL of the Optuna storage."""
        return self.config.search.storage or f"sqlite:///{self.folder.resolve() / 'study.db'}"

    def profile(self, device: str, *, typed: bool = False) -> FoundProfile:
        """The profile that the config names or, where `typed`, a command. Raises `ConfigError`."""
        return find_profile(device, self.config_folder, typed=typed)

    def budgets_for(self, found: FoundProfile) -> Budgets:
        """The profile's budgets, overridden by those of the target that names the same profile."""
        budgets = found.profile.budgets
        for target in self.config.targets:
            if self.profile(target.device).profile.name == found.profile.name:
                budgets = budgets.overridden_by(target.budgets)
        return budgets

    def write_resolved_config(self) -> None:
        """Leave the whole config, defaults included, and its place in the run folder. Raises `DiskError`.

        A command that is given the written file works in this run, with these values.
        """
        values = self.config.model_dump(mode="json", by_alias=True, context=WITH_UNITS)
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        header = f"# Resolved from {self.origin.name}; relative paths start where that lies.\n"
        write_text(self.folder / RESOLVED_CONFIG, header + text)
        write_text(self.folder / ORIGIN, f"{self.origin.resolve()}\n")


def find_run(run_folder: Path | None, config_file: Path | None) -> Run:
    """The run a command means: `--run`, `--config`, the nearest `factory.yaml` upward, or the embedded digits.

    Args:
        run_folder: a folder `runs/<name>` beside a config.
        config_file: a config.

    Raises:
        ConfigError: both are given, or the config is wrong.
        MissingRunError: the run folder is none.
    """
    if run_folder and config_file:
        raise ConfigError("--run and --config exclude each other; give one of them")
    if run_folder:
        return _from_run_folder(run_folder)
    if config_file and config_file.name == RESOLVED_CONFIG and (config_file.parent / ORIGIN).is_file():
        return _from_resolved(config_file)
    path = config_file or find_config(Path.cwd())
    if path is not None:
        return open_run(path, path.resolve().parent)
    return open_run(shipped_configs() / DIGITS_CONFIG, Path.cwd())


def open_run(config_file: Path, folder: Path) -> Run:
    """The run of `config_file` with `runs/` and `dist/` in `folder`. Raises `ConfigError`."""
    config = load_config(config_file)
    return Run(
        config=config,
        config_folder=folder,
        origin=config_file,
        base=folder,
        folder=folder / "runs" / config.name,
        family_folder=folder / "dist" / config.name,
    )


def _from_run_folder(folder: Path) -> Run:
    if not (folder / ORIGIN).is_file():
        raise MissingRunError(f"{folder}: is no run folder (no {ORIGIN} in it); `factory build` makes one")
    return open_run(_origin(folder), folder.resolve().parent.parent)


def _from_resolved(path: Path) -> Run:
    """The run in whose folder `path` lies, with the values in `path` instead of those of the file it came from."""
    return replace(open_run(path, path.resolve().parent.parent.parent), origin=_origin(path.parent))


def _origin(folder: Path) -> Path:
    return Path((folder / ORIGIN).read_text(encoding="utf-8").strip())
