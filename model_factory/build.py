"""The whole loop, the file to read first: each arrow of DESIGN.md section 5 is one call here."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from device_profiles.profile import FoundProfile
from exports.engines import get_engine
from exports.family.records import Manifest
from factory_base.errors import ConfigError, MissingRunError
from factory_base.files import exclusive, remove_partial_files
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.finetune import Finetuned, finetune_stage, finetuning_lines
from model_factory.stages.plan import fitting_notes, planned_run
from model_factory.stages.release import Exported, check_file_budget, export_stage, family_stage
from model_factory.stages.report import report_stage
from model_factory.stages.stages import (
    SearchOutcome,
    Trained,
    Workbench,
    assist_training,
    score_stage,
    search_stage,
    train_stage,
)
from supernet.planning.plan import TrainingLimits
from supernet.space import SubnetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished family.

    Attributes:
        manifest: as written.
        outcomes: of the search, one per target.
        exported: the model of each outcome, in the same order.
        notes: what a person should know, for example two targets with the same model.
        seconds: the build took.
    """

    manifest: Manifest
    outcomes: tuple[SearchOutcome, ...]
    exported: tuple[Exported, ...]
    notes: tuple[str, ...]
    seconds: float


def build(run: Run, console: Console, *, may_train: bool = True, limits: TrainingLimits | None = None) -> Built:
    """Train, score, search every target, fine-tune, export, write manifest and report; do again only what changed.

    Args:
        run: what to build.
        console: told what happens.
        may_train: whether to train when there is no trained supernet.
        limits: of a training, where one has to run.

    Raises:
        FactoryError: of the stage that cannot be done.
    """
    if process_count() > 1:
        raise ConfigError("`factory build` is one process; use torchrun for `factory train` only, then build")
    started = time.monotonic()
    if not may_train:
        _require_checkpoint(run)
    with exclusive(run.folder, "build"):
        bench = _begin(run, console, limits)
        targets = _targets(run)
        trained = train_stage(bench, may_train=may_train)
        shared = score_stage(bench, trained)
        outcomes = tuple(search_stage(bench, trained, shared, found, run.budgets_for(found)) for found in targets)
        finetuned = finetune_stage(bench, trained, [outcome.result.pick.subnet for outcome in outcomes])
        exported = tuple(_export(bench, trained, outcome, finetuned) for outcome in outcomes)
        manifest = family_stage(bench, trained, outcomes, exported)
        notes = (*fitting_notes(bench.run), *shared_model_notes(outcomes))
        report_stage(bench, trained, manifest, outcomes, exported, notes)
    return Built(
        manifest=manifest,
        outcomes=outcomes,
        exported=exported,
        notes=(*notes, *finetuning_lines(e.finetuned for e in exported)),
        seconds=time.monotonic() - started,
    )


def train(run: Run, console: Console, limits: TrainingLimits | None = None) -> Trained | None:
    """Only the training, within `limits`, on all processes that `torchrun` started, if it did.

    Returns:
        The trained supernet; None in every process but the first.

    Raises:
        FactoryError: of the stage that cannot be done.
    """
    if process_count() == 1:
        with exclusive(run.folder, "train"):
            return train_stage(_begin(run, console, limits))
    from supernet.training.workers import workers

    with workers(run.config.training.device) as team:
        if not team.is_first:
            assist_training(Workbench(run, Console(quiet=True), limits), team)
            return None
        with exclusive(run.folder, "train"):
            return train_stage(_begin(run, console, limits), team=team)


def search(run: Run, console: Console, device: str) -> SearchOutcome:
    """The search for one device, which need not be a target of the config.

    Raises:
        MissingRunError: there is no trained supernet.
        BudgetError: nothing fits.
    """
    found = run.profile(device, typed=True)
    get_engine(found.profile.engine)
    _require_checkpoint(run)
    with exclusive(run.folder, "search"):
        bench = _begin(run, console)
        trained = train_stage(bench, may_train=False)
        return search_stage(bench, trained, score_stage(bench, trained), found, run.budgets_for(found))


def shared_model_notes(outcomes: Sequence[SearchOutcome]) -> tuple[str, ...]:
    """Which targets get the same model, and which of their budgets did not bind."""
    groups: dict[str, list[SearchOutcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.result.pick.subnet.id, []).append(outcome)
    return tuple(_shared_note(group) for group in groups.values() if len(group) > 1)


def process_count() -> int:
    """How many processes `torchrun` started for this work; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _require_checkpoint(run: Run) -> None:
    """So that a command in the wrong place leaves nothing behind."""
    if not run.checkpoint.is_file():
        raise MissingRunError(
            f"no trained supernet of {run.origin} in {run.folder}; run `factory train` or `factory build` first"
        )


def _begin(run: Run, console: Console, limits: TrainingLimits | None = None) -> Workbench:
    for folder in (run.folder, run.family_folder):
        remove_partial_files(folder)
    run = planned_run(run, limits or TrainingLimits())
    run.write_resolved_config()
    return Workbench(run, console, limits)


def _targets(run: Run) -> list[FoundProfile]:
    found = [run.profile(target.device) for target in run.config.targets]
    names = [f.profile.name for f in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{run.origin}: two targets use profiles with the name {twice[0]!r}; rename one")
    for f in found:
        get_engine(f.profile.engine)
        if (f.profile.engine, f.profile.precision) != ("onnxruntime", "fp32"):
            raise ConfigError(
                f"{f.origin}: is of {f.profile.engine} in {f.profile.precision}, but a build exports fp32 files for "
                "onnxruntime only; take a profile of that, or use `factory search` to see what this one would get"
            )
    return found


def _export(
    bench: Workbench, trained: Trained, outcome: SearchOutcome, finetuned: Mapping[SubnetConfig, Finetuned]
) -> Exported:
    subnet = outcome.result.pick.subnet
    exported = export_stage(bench, trained, subnet, finetuned.get(subnet))
    check_file_budget(outcome, exported)
    return exported


def _shared_note(group: Sequence[SearchOutcome]) -> str:
    names = ", ".join(outcome.found.profile.name for outcome in group)
    loosest = min(group, key=lambda o: max(o.budgets.slack(o.result.pick.costs).values(), default=0.0))
    binding = _binding_budgets(loosest)
    slack = loosest.budgets.slack(loosest.result.pick.costs)
    unused = ", ".join(f"{budget} ({used:.0%} used)" for budget, used in slack.items() if budget not in binding)
    name = loosest.found.profile.name
    return f"{names} get the same model; the budgets of {name} that did not bind: {unused or 'none'}"


def _binding_budgets(outcome: SearchOutcome) -> set[str]:
    """The budgets that alone keep a more accurate scored subnet out."""
    better = (c for c in outcome.result.candidates if c.accuracy > outcome.result.pick.accuracy)
    return {c.excesses[0].budget for c in better if len(c.excesses) == 1}
