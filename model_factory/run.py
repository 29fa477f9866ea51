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
    def resolved_config(self) -> Path:
        """The whole config, defaults included."""
        return self.folder / RESOLVED_CONFIG

    @property
    def origin_note(self) -> Path:
        """The path of the config that the run was made from."""
        return self.folder / ORIGIN

    @property
    def plan(self) -> Path:
        """The schedule that was fitted to limits on time and memory."""
        return self.folder / "plan.json"

    @property
    def fingerprints(self) -> Path:
        """Digests of data files by size and time of change, so that unchanged ones are not read again."""
        return self.folder / "fingerprints.json"

    @property
    def images(self) -> Path:
        """The folder of decoded images."""
        return self.folder / "images"

    @property
    def training_state(self) -> Path:
        """The state of an unfinished training run, from which it goes on."""
        return self.folder / "training.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The trained supernet."""
        return self.folder / "supernet.safetensors"

    @property
    def archive_table(self) -> Path:
        """Every scored subnet, as Parquet."""
        return self.folder / "archive.parquet"

    @property
    def measurements(self) -> Path:
        """The folder of latencies measured for profiles, round by round."""
        return self.folder / "measurements"

    @property
    def storage(self) -> str:
        """URL of the Optuna storage."""
        return self.config.search.storage or f"sqlite:///{self.folder.resolve() / 'study.db'}"

    @property
    def manifest(self) -> Path:
        """What the app reads."""
        return self.family_folder / "manifest.json"

    @property
    def report(self) -> Path:
        """The page about the family."""
        return self.family_folder / "report.html"

    def stage_record(self, stage: str) -> Path:
        """The record of a finished stage."""
        return self.folder / "stages" / f"{stage}.json"

    def events(self, key: str) -> Path:
        """The folder of TensorBoard event files of the training run with this key."""
        return self.folder / "events" / key[:8]

    def finetuned_weights(self, subnet_id: str) -> Path:
        """The weights of a fine-tuned subnet."""
        return self.folder / "finetuned" / f"{subnet_id}.safetensors"

    def finetuning_state(self, subnet_id: str) -> Path:
        """The state of an unfinished fine-tuning, from which it goes on."""
        return self.folder / "finetuned" / f"{subnet_id}.training.safetensors"

    def predictions(self, subnet_id: str) -> Path:
        """What the exported file of a subnet answers to the test images."""
        return self.folder / "predictions" / f"{subnet_id}.npy"

    def front_plot(self, device: str) -> Path:
        """The picture of the Pareto front of one device."""
        return self.folder / "plots" / f"{device}.png"

    def default_profile(self, name: str) -> Path:
        """Where a command writes a profile if it is not told another place."""
        return self.base / "profiles" / f"{name}.yaml"

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
        write_text(self.resolved_config, header + text)
        write_text(self.origin_note, f"{self.origin.resolve()}\n")


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
