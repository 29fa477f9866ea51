"""The files of a run, and how a command finds its run.

A command uses the run that `--run` names (a folder `runs/<name>`), else that of the config that `--config` names, else
that of the nearest `factory.yaml` in the current folder or above, else that of the embedded digits. The folders `runs/`
and `dist/` are beside the config; those of the digits are in the current folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import yaml

from device_profiles.budgets import Budgets
from device_profiles.engine import Precision
from device_profiles.profile import FoundProfile, check_energy_budget, find_profile
from factory_base.errors import ConfigError, ForeignError, MissingRunError, UnknownNameError
from factory_base.files import write_bytes, write_text
from factory_base.foreign import printable, read_regular
from factory_base.quantities import WITH_UNITS
from model_factory.config import FactoryConfig, find_config, load_config, shipped_configs

RESOLVED_CONFIG = "config.resolved.yaml"
"""Name of the file in a run folder with the whole config, defaults included."""
ORIGIN = "origin.txt"
"""Name of the file in a run folder with the path of its config."""
_MAX_NOTE_BYTES = 2**16
"""Far more than the longest path has."""
DIGITS_CONFIG = "digits.yaml"
"""Name of the shipped config of the embedded digits."""
DEFAULT_PRECISIONS: Final[tuple[Precision, ...]] = ("int8", "fp16", "fp32")
"""What a target chooses among, as far as its profile allows it, if the config does not say. Weights stored as 8-bit
integers alone save bytes and cost accuracy, but no time: whoever needs that asks for it."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A config and the folders that commands read and write for it.

    Attributes:
        config: The parsed config.
        config_folder: The folder from which relative paths in the config start.
        origin: The file that the config was read from.
        base: The folder that holds `runs/` and `dist/`.
        folder: The run folder, `runs/<name>`.
        family_folder: The folder of the family, `dist/<name>`.
    """

    config: FactoryConfig
    config_folder: Path
    origin: Path
    base: Path
    folder: Path
    family_folder: Path

    @property
    def is_of_digits(self) -> bool:
        """Whether this is the run of the embedded digits in the current folder, as without any config."""
        shipped = shipped_configs()
        return self.origin == shipped / DIGITS_CONFIG and self.base != shipped

    @property
    def resolved_config(self) -> Path:
        """The file with the whole config, defaults included."""
        return self.folder / RESOLVED_CONFIG

    @property
    def origin_note(self) -> Path:
        """The file with the path of the config that the run was made from."""
        return self.folder / ORIGIN

    @property
    def plan(self) -> Path:
        """The file with the schedule that was fitted to limits on time and memory."""
        return self.folder / "plan.json"

    @property
    def fingerprints(self) -> Path:
        """The file with digests of data files by size and time of change, so that unchanged ones are not read again."""
        return self.folder / "fingerprints.json"

    @property
    def images(self) -> Path:
        """The folder of decoded images."""
        return self.folder / "images"

    def tokenizer(self, key: str) -> Path:
        """The tokenizer that was trained on the training texts that `key` identifies."""
        return self.folder / f"tokenizer-{key}.json"

    @property
    def parts(self) -> Path:
        """The traced parts of the model space, from which costs are computed."""
        return self.folder / "parts.json"

    @property
    def training_state(self) -> Path:
        """The state of an unfinished training run, from which it resumes."""
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
    def evaluations(self) -> Path:
        """The folder of test labels and of what exported models predicted, for this family and all earlier ones."""
        return self.folder / "evaluation"

    @property
    def storage(self) -> str | Path:
        """The URL of the Optuna storage that the config names, or else the SQLite file in the run folder."""
        return self.config.search.storage or self.folder / "study.db"

    @property
    def owns_storage(self) -> bool:
        """Whether the storage is a file in the run folder, which one search at a time uses."""
        return self.config.search.storage is None

    @property
    def manifest(self) -> Path:
        """The manifest of the family, which the app reads."""
        return self.family_folder / "manifest.json"

    @property
    def report(self) -> Path:
        """The report page of the family."""
        return self.family_folder / "report.html"

    @property
    def errors(self) -> Path:
        """The page of the test images that the models of the family get most confidently wrong."""
        return self.folder / "errors.html"

    @property
    def releases(self) -> Path:
        """The digests of the content that families had under each release number."""
        return self.folder / "releases.json"

    @property
    def stages(self) -> Path:
        """The folder of records of finished stages."""
        return self.folder / "stages"

    def stage_record(self, stage: str) -> Path:
        """The record of a finished stage."""
        return self.stages / f"{stage}.json"

    def events(self, key: str) -> Path:
        """The folder of TensorBoard event files of the training run with this key."""
        return self.folder / "events" / key[:8]

    def finetuned_weights(self, subnet_id: str) -> Path:
        """The weights of a fine-tuned subnet."""
        return self.folder / "finetuned" / f"{subnet_id}.safetensors"

    def finetuning_state(self, subnet_id: str) -> Path:
        """The state of an unfinished fine-tuning, from which it resumes."""
        return self.folder / "finetuned" / f"{subnet_id}.training.safetensors"

    def quantised_weights(self, subnet_id: str) -> Path:
        """The weights of a subnet that was fine-tuned for its int8 file."""
        return self.folder / "finetuned" / f"{subnet_id}.int8.safetensors"

    def quantised_state(self, subnet_id: str) -> Path:
        """The state of an unfinished fine-tuning for an int8 file."""
        return self.folder / "finetuned" / f"{subnet_id}.int8.training.safetensors"

    def predictions(self, variant: str) -> Path:
        """The predictions of the exported file of a variant for the test images."""
        return self.folder / "predictions" / f"{variant}.npy"

    def variant_file(self, variant: str) -> Path:
        """The file of a variant that the search measured, before it is exported."""
        return self.folder / "files" / f"{variant}.onnx"

    @property
    def exported(self) -> Path:
        """The folder in which model files, below `models`, wait until the family is published."""
        return self.folder / "exported"

    def front_plot(self, device: str) -> Path:
        """The plot of the Pareto front of one device."""
        return self.folder / "plots" / f"{device}.png"

    def comparison_plot(self, device: str) -> Path:
        """The plot of the Pareto fronts of several samplers on one device."""
        return self.folder / "plots" / "compared" / f"{device}.png"

    def fleet_tiers(self, fleet: str) -> Path:
        """The plan for a fleet as the targets of a config."""
        return self.folder / "plans" / f"{fleet}.yaml"

    def fleet_plot(self, fleet: str) -> Path:
        """The plot of the value of a fleet over the number of models."""
        return self.folder / "plots" / "fleets" / f"{fleet}.png"

    def default_profile(self, name: str) -> Path:
        """The file that a command writes a profile to by default."""
        return self.base / "profiles" / f"{name}.yaml"

    def profile(self, device: str, *, typed: bool = False) -> FoundProfile:
        """The profile that the config names or, if `typed`, that a person named in a command. Raises `ConfigError`."""
        return find_profile(device, self.config_folder, typed=typed)

    @cached_property
    def targets(self) -> tuple[FoundProfile, ...]:
        """The profile of each target of the config, in their order; read once per command. Raises `ConfigError`."""
        found, faults = [], []
        for index, target in enumerate(self.config.targets):
            try:
                found.append(self.profile(target.device))
            except UnknownNameError as error:
                faults.append(f"'targets.{index}.device': {error}")
                continue
            try:
                check_energy_budget(found[-1].profile.budgets.overridden_by(target.budgets), found[-1])
            except ConfigError as error:
                faults.append(f"'targets.{index}.budgets': {error}")
            try:
                allowed_precisions(found[-1], target.precisions)
            except ConfigError as error:
                faults.append(f"'targets.{index}.precisions': {error}")
        if faults:
            raise ConfigError.of_faults(printable(str(self.origin)), faults)
        return tuple(found)

    def budgets_for(self, found: FoundProfile) -> Budgets:
        """The budgets of a profile, overridden by those of the target that names the same profile, if there is one.

        Raises:
            ConfigError: The energy is limited, but the profile has no energy costs.
        """
        budgets = found.profile.budgets
        for target, known in zip(self.config.targets, self.targets, strict=True):
            if known.profile.name == found.profile.name:
                budgets = budgets.overridden_by(target.budgets)
        check_energy_budget(budgets, found)
        return budgets

    def precisions_for(self, found: FoundProfile) -> tuple[Precision, ...]:
        """The precisions to choose among for a profile: those of the target that names it, else the default ones.

        Raises:
            ConfigError: The profile does not allow one of them.
        """
        for target, known in zip(self.config.targets, self.targets, strict=True):
            if known.profile.name == found.profile.name:
                return allowed_precisions(found, target.precisions)
        return allowed_precisions(found, None)

    def subnet_for(self, found: FoundProfile) -> Mapping[str, int | float] | None:
        """The subnet that the target with this profile names; None if it names none, or there is no such target."""
        for target, known in zip(self.config.targets, self.targets, strict=True):
            if known.profile.name == found.profile.name:
                return target.subnet
        return None

    def write_resolved_config(self) -> None:
        """Write the whole config, defaults included, and its path to the run folder. Raises `DiskError`.

        A command that is given the resolved config works in this run, with the values of that file.
        """
        values = self.config.model_dump(mode="json", by_alias=True, context=WITH_UNITS)
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        header = f"# Resolved from {printable(self.origin.name)}; relative paths start from the folder of that file.\n"
        write_text(self.resolved_config, header + text)
        self._write_origin()

    def note_origin(self) -> None:
        """Write the path of the config to a new run folder, so that `--run` finds it. Raises `DiskError`."""
        if not self.origin_note.exists():
            self._write_origin()

    def _write_origin(self) -> None:
        write_bytes(self.origin_note, os.fsencode(self.origin.resolve()) + b"\n")


def allowed_precisions(found: FoundProfile, wanted: Sequence[Precision] | None) -> tuple[Precision, ...]:
    """`wanted` or, if that is None, those of `DEFAULT_PRECISIONS` that the profile allows.

    Raises:
        ConfigError: The profile has no costs for one of `wanted`; the message names the command that adds them.
    """
    if wanted is None:
        return tuple(precision for precision in DEFAULT_PRECISIONS if precision in found.profile.precisions)
    for precision in wanted:
        found.for_files_in(precision)
    return tuple(wanted)


def find_run(run_folder: Path | None, config_file: Path | None) -> Run:
    """The run of a command: that of `--run`, of `--config`, of the nearest `factory.yaml`, or of the embedded digits.

    Args:
        run_folder: The value of `--run`, a folder `runs/<name>`.
        config_file: The value of `--config`.

    Raises:
        ConfigError: Both are given, or the config cannot be read or is wrong.
        MissingRunError: `run_folder` is not a run folder.
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
        raise MissingRunError(f"{folder}: is not a run folder (it has no {ORIGIN}); `factory build` makes one")
    origin = _origin(folder)
    if not origin.is_file():
        raise ConfigError(
            f"{folder / ORIGIN}: names {printable(str(origin))}, which is not there; write the path of this run's "
            "config there, or name it with --config"
        )
    return open_run(origin, folder.resolve().parent.parent)


def _from_resolved(path: Path) -> Run:
    """The run whose folder holds `path`, with the values in `path` instead of those of the config it was made from."""
    return replace(open_run(path, path.resolve().parent.parent.parent), origin=_origin(path.parent))


def _origin(folder: Path) -> Path:
    """The path of the config that the run in `folder` was made from. Raises `ConfigError`."""
    path = folder / ORIGIN
    try:
        name = os.fsdecode(read_regular(path, _MAX_NOTE_BYTES)).removesuffix("\n")
    except ForeignError as error:
        raise ConfigError(str(error)) from error
    if not name or "\0" in name:
        raise ConfigError(f"{path}: holds no path; write that of this run's config there, or name it with --config")
    return Path(name)
