"""The plan of a run's training: measured and fitted before it starts, told, and kept in the run folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory_base.errors import FactoryError
from factory_base.files import digest_of, read_json, write_json
from model_factory.config import FactoryConfig
from model_factory.run import Run
from supernet.data.config import HANDLING
from supernet.planning.plan import TrainingLimits, TrainingPlan, time_span

if TYPE_CHECKING:
    from model_factory.stages.materials import Materials
    from model_factory.stages.stages import Workbench
    from supernet.training.workers import Workers

PLAN = "plan.json"

_SECTIONS = {"data", "model", "training", "seed", "threads"}
_HANDLING = {"data": set(HANDLING), "training": {"save_every"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPlan:
    """A plan as the run folder holds it.

    Attributes:
        asked: digest of the config that it was made for.
        limits: that it keeps.
        schedule: the keys of the training section that fitting may change.
        changes: what fitting changed, a line each.
        line: the plan in one line.
        step_seconds: of a step of the largest network, or a little more.
    """

    asked: str
    limits: TrainingLimits
    schedule: dict[str, Any]
    changes: tuple[str, ...]
    line: str
    step_seconds: float

    def applied_to(self, config: FactoryConfig) -> FactoryConfig:
        """`config` with this schedule."""
        return config.model_copy(update={"training": config.training.model_copy(update=self.schedule)})


def planned_run(run: Run, limits: TrainingLimits) -> Run:
    """`run` with the schedule that was fitted for it, unless `limits` ask for another one.

    A fitted schedule stands as long as the config that it was fitted for is unchanged. Limits that are not given are
    as they were then.
    """
    kept = _kept(run)
    if kept is None or limits.over(kept.limits) != kept.limits:
        return run
    return replace(run, config=kept.applied_to(run.config))


def fitting_notes(run: Run) -> tuple[str, ...]:
    """What fitting changed in the schedule of `run`, a line each."""
    kept = _kept(run)
    return () if kept is None else kept.changes


def settle_plan(bench: Workbench, team: Workers | None, state_file: Path) -> None:
    """Make the plan of a training that is about to run, or find the one that it was begun with; tell it.

    `bench` then works on the fitted config, which is written to the run folder too. Every process of `team` calls this;
    only the first reads and writes.

    Raises:
        PlanError: no schedule fits the limits.
        DataError, TrainingError, DiskError: as their packages say.
    """
    from supernet.training.workers import alone

    workers = team or alone(bench.run.config.training.device)
    kept = _kept(bench.run) if workers.is_first else None
    limits = bench.limits if kept is None else bench.limits.over(kept.limits)
    if kept is not None and not (kept.limits == limits and (limits.is_given or state_file.is_file())):
        kept = None
    kept, limits = workers.from_first((kept, limits))
    if kept is None:
        plan = _measure(bench, limits, workers)
        kept = _keep(bench.run, limits, plan, write=workers.is_first)
        told = f"plan: {kept.line}"
    else:
        told = f"plan, as made before: {kept.line}"
    bench.run = replace(bench.run, config=kept.applied_to(bench.run.config))
    if workers.is_first:
        bench.run.write_resolved_config()
    for line in (*kept.changes, told, *_finetuning_line(bench, kept.step_seconds)):
        bench.console.say(line)


def _measure(bench: Workbench, limits: TrainingLimits, workers: Workers) -> TrainingPlan:
    from model_factory.stages.materials import CHECK_IMAGES
    from supernet.planning.preflight import plan_training, precision_warning
    from supernet.sharing.supernet import Supernet

    materials: Materials = bench.materials()
    config, space = bench.run.config, materials.model_space
    examples = materials.examples(materials.splits.train, config.training.augment, workers.device)
    if workers.is_first and (warning := precision_warning(config.training, workers.device)):
        bench.console.say(f"note: {warning}")
    with bench.console.stage("plan training") as progress:
        return plan_training(
            lambda: Supernet(space, config.seed),
            examples,
            config.training,
            limits=limits,
            seed=config.seed,
            check=lambda subnet, supernet: materials.heldout_accuracy(subnet, CHECK_IMAGES, supernet),
            workers=workers,
            loader_workers=materials.loader_workers,
            progress=progress,
        )


def _finetuning_line(bench: Workbench, step_seconds: float) -> tuple[str, ...]:
    """What the fine-tuning of the picks will add, if the config asks for it: as if each were the largest network."""
    from supernet.training.training import steps_of

    config = bench.run.config
    if config.finetune is None:
        return ()
    recipe, count = config.finetune.recipe(config.training), len(config.targets)
    steps = steps_of(recipe, len(bench.materials().splits.train))
    seconds = count * steps * step_seconds * recipe.batch_size / config.training.batch_size
    subnets = "one subnet" if count == 1 else f"up to {count} subnets"
    return (f"after the search: fine-tuning of {subnets}, {steps:,} steps each, at most about {time_span(seconds)}",)


def _keep(run: Run, limits: TrainingLimits, plan: TrainingPlan, *, write: bool) -> KeptPlan:
    schedule = {"epochs": plan.config.epochs, "micro_batch_size": plan.config.micro_batch_size}
    kept = KeptPlan(
        asked=_digest(run.config),
        limits=limits,
        schedule=schedule,
        changes=plan.changes,
        line=plan.describe(),
        step_seconds=plan.costs.largest_step_seconds,
    )
    if write:
        told = {name: value for name, value in asdict(kept).items() if name != "step_seconds"}  # it is in the costs
        note = {**told, "fitted": _digest(kept.applied_to(run.config)), "costs": asdict(plan.costs)}
        write_json(run.folder / PLAN, note)
    return kept


def _kept(run: Run) -> KeptPlan | None:
    """The plan in the run folder, if it is one for this config, or this config is what it made of another one."""
    path = run.folder / PLAN
    if not path.is_file():
        return None
    try:
        note = read_json(path)
        if _digest(run.config) not in (note["asked"], note["fitted"]):
            return None
        return KeptPlan(
            asked=note["asked"],
            limits=TrainingLimits(**note["limits"]),
            schedule={name: note["schedule"][name] for name in ("epochs", "micro_batch_size")},
            changes=tuple(note["changes"]),
            line=note["line"],
            step_seconds=(note["costs"]["alone"] or note["costs"]["sandwich"])["seconds"],
        )
    except (FactoryError, KeyError, TypeError):
        return None  # damaged from outside: plan again


def _digest(config: FactoryConfig) -> str:
    return digest_of(config.model_dump(mode="json", include=_SECTIONS, exclude=_HANDLING))
