"""The whole loop, and the file to read first: each arrow of the picture in the README is one call in `build`.

Every stage is a function that takes values and returns a frozen value. It runs again only if its inputs have changed;
otherwise its result is read from a record in the run folder. Images, model space and supernet (`Materials`) are loaded
when a stage first needs them, so a build in which nothing changed loads none of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from device_profiles.app_fleet import AppFleet
from device_profiles.budgets import Budgets
from device_profiles.engine import Precision
from device_profiles.profile import FoundProfile
from exports.engines import get_engine
from exports.family.records import Manifest
from factory_base.errors import ConfigError, FactoryError, MissingRunError
from factory_base.files import exclusive, remove_partial_files
from model_factory.console import Console
from model_factory.report.data import QualityRow
from model_factory.run import Run, allowed_precisions
from model_factory.stages.archive import check_storage
from model_factory.stages.cached import damaged_records
from model_factory.stages.calibrate import calibrate_stage
from model_factory.stages.comparison import comparison_stage, kept_comparisons
from model_factory.stages.errors import errors_stage
from model_factory.stages.export import Exported, drop_notes, export_stage
from model_factory.stages.family import check_family_limits, family_stage
from model_factory.stages.finetune import finetune_stage, finetuning_lines
from model_factory.stages.fingerprint import unknown_changes_note
from model_factory.stages.fleet import fleet_profiles, fleet_stage
from model_factory.stages.joining import join_stage, local_workers
from model_factory.stages.materials import Materials
from model_factory.stages.plan import fitting_notes, plan_stage, planned_run, unused_limits
from model_factory.stages.quality import quality_notes, quality_rows
from model_factory.stages.quantised_finetune import lossy_picks, own_weights, quantised_finetune_stage
from model_factory.stages.report import report_stage
from model_factory.stages.search import Aim, Searched, SearchOutcome, check_search, search_stage
from model_factory.stages.shared import check_bands, shared_stage
from model_factory.stages.train import OnMismatch, Trained, assist_training, finished_training, train_stage
from search.enumeration import require_small
from search.fleet.found import FleetFound
from search.fleet.wishes import Wishes
from supernet.planning.plan import TrainingLimits

_OWN_CONFIG = "for a config of your own, change to its folder or name it with --config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished family.

    Attributes:
        manifest: The manifest as written.
        outcomes: The outcome of the search for each target.
        exported: The exported model of each outcome, in the same order.
        quality: What each model is worth on the test images.
        notes: Sentences for people, for example that two targets get the same model.
        seconds: Duration of the build.
    """

    manifest: Manifest
    outcomes: tuple[SearchOutcome, ...]
    exported: tuple[Exported, ...]
    quality: tuple[QualityRow, ...]
    notes: tuple[str, ...]
    seconds: float


def build(
    run: Run,
    console: Console,
    *,
    may_train: bool = True,
    limits: TrainingLimits | None = None,
    on_mismatch: OnMismatch = "refuse",
) -> Built:
    """Train, score, search every target, fine-tune, export, write manifest and report; run again only what changed.

    Args:
        run: The run to build.
        console: Shows progress.
        may_train: Whether to train if there is no trained supernet, or to continue its interrupted training run.
        limits: Limits on the training run, if there is one.
        on_mismatch: What to do if the finished supernet was trained with another config.

    Raises:
        FactoryError: A stage failed; the message states the reason.
    """
    if process_count() > 1:
        raise ConfigError(
            "`factory build` runs in one process; use torchrun for `factory train` only, then build without torchrun"
        )
    started = time.monotonic()
    if not may_train:
        _require_checkpoint(run)
    with exclusive(run.folder, "build"):
        run = _begin(run, console, limits)
        targets = _targets(run)
        check_bands(run, [found.profile.name for found in targets])
        if not run.checkpoint.is_file():
            check_storage(run)
        run, materials, trained = _trained_supernet(run, console, limits, on_mismatch, targets, may_train=may_train)
        images = calibrate_stage(run, materials, console, trained)
        aims = _aims(run, targets)
        searched = search_stage(run, materials, console, trained, images, aims)
        outcomes = searched.outcomes
        picks = [outcome.result.pick.subnet for outcome in outcomes]
        finetuned = finetune_stage(run, materials, console, trained, images, picks)
        lossy = lossy_picks(run, trained, outcomes, finetuned)
        quantised = quantised_finetune_stage(run, materials, console, trained, images, lossy)
        exported = [
            export_stage(run, materials, console, trained, images, outcome, own_weights(outcome, finetuned, quantised))
            for outcome in outcomes
        ]
        exported = shared_stage(run, materials, console, trained, images, outcomes, exported)
        family = family_stage(run, materials, trained, outcomes, exported)
        quality = quality_rows(run, family.manifest, outcomes, exported)
        judged = quality_notes(quality, trained.class_names, run.config.training.imbalance)
        notes = (*fitting_notes(run), *searched.notes(), *drop_notes(run, exported), *judged)
        offsets = searched.offset_lines()
        compared = kept_comparisons(run, trained, aims)
        report_stage(
            run, materials, console, trained, family.manifest, outcomes, exported, quality, notes, offsets, compared
        )
        errors_stage(run, materials, console, family.manifest, exported, quality, trained.class_names)
    return Built(
        manifest=family.manifest,
        outcomes=outcomes,
        exported=tuple(exported),
        quality=quality,
        notes=(*notes, *offsets, *finetuning_lines(e.finetuned for e in exported), *family.notes),
        seconds=time.monotonic() - started,
    )


def train(
    run: Run, console: Console, limits: TrainingLimits | None = None, on_mismatch: OnMismatch = "refuse"
) -> Trained | None:
    """Train the supernet within `limits`, together with the other processes if `torchrun` started several.

    Args:
        run: The run to train.
        console: Shows progress.
        limits: Limits on the training run.
        on_mismatch: What to do if the finished supernet was trained with another config.

    Returns:
        The trained supernet; None in every process but the first.

    Raises:
        MissingRunError: There is no supernet to adopt.
        FactoryError: Training failed, or was refused; the message states the reason.
    """
    if on_mismatch == "adopt":
        _require_checkpoint(run)
    if process_count() == 1:
        with exclusive(run.folder, "train"):
            return _trained_supernet(_begin(run, console, limits), console, limits, on_mismatch)[2]
    from supernet.training.workers import workers

    with workers(run.config.training.device) as processes:
        if not processes.is_first:
            quiet = Console(quiet=True)
            materials = Materials(run, quiet)
            if processes.from_first(False):
                run = plan_stage(run, materials, quiet, limits or TrainingLimits(), processes)
                assist_training(run, materials, quiet, processes)
            return None
        with ExitStack() as held:
            try:
                held.enter_context(exclusive(run.folder, "train"))
                run = _begin(run, console, limits)
                materials = Materials(run, console)
                finished = _finished(run, console, limits, on_mismatch)
                if finished is None:
                    check_family_limits(run, materials, console, ())
            except FactoryError:
                processes.from_first(False)  # the others wait to hear whether there is anything to train
                raise
            if not processes.from_first(finished is None):
                return finished
            run = plan_stage(run, materials, console, limits or TrainingLimits(), processes)
            return train_stage(run, materials, console, processes)


def search(
    run: Run,
    console: Console,
    devices: Sequence[str],
    budgets: Budgets | None = None,
    precisions: Sequence[Precision] | None = None,
    samplers: Sequence[str] = (),
    workers: int = 1,
) -> Searched:
    """Search for devices, which need not be targets of the config.

    Args:
        run: The run whose trained supernet is searched.
        console: Shows progress.
        devices: Profiles as people write them on the command line: files, or names; none for all targets of the config.
        budgets: Budgets that override those of the profiles and of the config.
        precisions: Precisions to choose among in place of those of the config.
        samplers: Samplers to compare with that of the config, at equal numbers of evaluations. They change no pick.
        workers: Processes on this machine that score subnets, this one included.

    Raises:
        ConfigError: The space is too large for `exhaustive`; a profile does not exist, is wrong or does not allow a
            precision; or two have the same name.
        EngineError: The engine of a profile is not installed.
        MissingRunError: There is no supernet that was trained with this config.
        BudgetError: No subnet meets the budgets.
    """
    found = [run.profile(device, typed=True) for device in devices] if devices else run.targets
    _refuse_namesakes(found, "the command line" if devices else run.origin)
    for profile in found:
        get_engine(profile.profile.engine)
        if precisions:
            allowed_precisions(profile, precisions)
    _require_checkpoint(run)
    with exclusive(run.folder, "search"):
        run, materials, trained = _trained_supernet(_begin(run, console), console, may_train=False)
        if "exhaustive" in samplers:
            require_small(materials.model_space.space)
        images = calibrate_stage(run, materials, console, trained)
        aims = [
            Aim(
                found=f,
                budgets=run.budgets_for(f).overridden_by(budgets or Budgets()),
                precisions=tuple(precisions) if precisions else run.precisions_for(f),
            )
            for f in found
        ]
        with local_workers(run, console, workers - 1):
            searched = search_stage(run, materials, console, trained, images, aims, from_snapshot=True)
        if not samplers:
            return searched
        compared = comparison_stage(run, materials, console, trained, images, aims, samplers)
        return replace(searched, comparisons=compared)


def join(run: Run, console: Console) -> int:
    """Score subnets for a search that uses the same storage, until it ends. Returns the number of evaluations.

    Raises:
        MissingRunError: There is no supernet that was trained with this config.
        FactoryError: No search is running, or it is one of another supernet, other data or settings.
    """
    _require_checkpoint(run)
    run = planned_run(run, TrainingLimits(), console)
    trained = finished_training(run, console, may_train=False)
    if trained is None:
        raise MissingRunError(f"{run.folder}: has no finished supernet; copy the run folder of the search")
    return join_stage(run, Materials(run, console, trained.data), console, trained)


def plan_fleet(run: Run, console: Console, fleet: AppFleet, wishes: Wishes) -> FleetFound:
    """Choose the few models that all classes of devices of an app get. Nothing is exported.

    Args:
        run: The run whose trained supernet is searched.
        console: Shows progress.
        fleet: The classes of devices.
        wishes: How many models, and what they must keep.

    Raises:
        ConfigError: A profile does not exist or is wrong; the message names the class.
        EngineError: The engine of a profile is not installed.
        MissingRunError: There is no supernet that was trained with this config.
        BudgetError: No subnet meets the budgets of a class, or so few models cannot serve the fleet.
    """
    profiles = fleet_profiles(run, fleet)
    for profile in profiles.values():
        get_engine(profile.profile.engine)
    _require_checkpoint(run)
    with exclusive(run.folder, "plan"):
        run, materials, trained = _trained_supernet(_begin(run, console), console, may_train=False)
        images = calibrate_stage(run, materials, console, trained)
        return fleet_stage(run, materials, console, trained, images, fleet, profiles, wishes)


def process_count() -> int:
    """The number of processes that `torchrun` started for this command; 1 without `torchrun`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _require_checkpoint(run: Run) -> None:
    """Raise `MissingRunError` if nothing was trained, before a command in the wrong folder creates any file."""
    if not run.checkpoint.is_file():
        config = "the embedded digits" if run.is_of_digits else run.origin
        raise MissingRunError(
            f"no trained supernet of {config} in {run.folder}; run `factory train` or `factory build` first"
            + (f"; {_OWN_CONFIG}" if run.is_of_digits else "")
        )


def _begin(run: Run, console: Console, limits: TrainingLimits | None = None) -> Run:
    """Remove what killed commands left half written, and report what is damaged.

    Returns:
        The run with the schedule that was fitted to it, if any.
    """
    for folder in (run.folder, run.family_folder):
        remove_partial_files(folder)
    run.note_origin()
    for key in run.config.search.ignored:
        console.say(f"{run.origin}: search.{key} has no effect any more; remove it")
    if note := unknown_changes_note(run.config.data, run.config_folder):
        console.say(note)
    for path in damaged_records(run):
        console.say(f"{path}: is damaged and not used")
    return planned_run(run, limits or TrainingLimits(), console)


def _finished(
    run: Run,
    console: Console,
    limits: TrainingLimits | None,
    on_mismatch: OnMismatch,
    *,
    may_train: bool = True,
) -> Trained | None:
    """See `finished_training`; also write the config of a finished supernet. A refused config is not written."""
    finished = finished_training(run, console, on_mismatch, may_train=may_train)
    if finished is not None:
        run.write_resolved_config()
        for note in unused_limits(run, limits or TrainingLimits()):
            console.say(note)
    return finished


def _trained_supernet(
    run: Run,
    console: Console,
    limits: TrainingLimits | None = None,
    on_mismatch: OnMismatch = "refuse",
    targets: Sequence[FoundProfile] = (),
    *,
    may_train: bool = True,
) -> tuple[Run, Materials, Trained]:
    """Return the finished supernet; if there is none, train one in this process with a schedule that fits `limits`."""
    finished = _finished(run, console, limits, on_mismatch, may_train=may_train)
    if finished is not None:
        return run, Materials(run, console, finished.data), finished
    from supernet.training.workers import one_worker

    if run.is_of_digits:
        console.say(f"this run trains the embedded digits; {_OWN_CONFIG}")
    materials, process = Materials(run, console), one_worker(run.config.training.device)
    check_family_limits(run, materials, console, targets)
    if targets:
        check_search(run, materials, console, _aims(run, targets))
    run = plan_stage(run, materials, console, limits or TrainingLimits(), process)
    return run, materials, train_stage(run, materials, console, process)


def _targets(run: Run) -> tuple[FoundProfile, ...]:
    found = run.targets
    _refuse_namesakes(found, run.origin)
    for f in found:
        get_engine(f.profile.engine)
        if f.profile.engine != "onnxruntime":
            raise ConfigError(
                f"{f.origin}: is for {f.profile.engine}, but a build exports files for onnxruntime only; name a "
                "profile for that, or run `factory search` to see what this device would get"
            )
    return found


def _aims(run: Run, targets: Sequence[FoundProfile]) -> list[Aim]:
    return [
        Aim(found=f, budgets=run.budgets_for(f), precisions=run.precisions_for(f), subnet=run.subnet_for(f))
        for f in targets
    ]


def _refuse_namesakes(found: Sequence[FoundProfile], origin: str | Path) -> None:
    names = [f.profile.name for f in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not twice:
        return
    if len({f.digest for f in found if f.profile.name == twice[0]}) == 1:
        raise ConfigError(f"{origin}: the device {twice[0]!r} is named twice; name it once")
    raise ConfigError(f"{origin}: two different profiles are named {twice[0]!r}; rename one of them")
