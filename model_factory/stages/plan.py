"""The planning stage: measure, fit and show the schedule of a training run before it starts, and store it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from factory_base.documents import shaping_values
from factory_base.errors import FactoryError
from factory_base.files import digest_of, read_json, write_json
from model_factory.config import FactoryConfig
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.materials import CHECK_IMAGES, Materials
from supernet.planning.plan import TrainingLimits, TrainingPlan, time_span

if TYPE_CHECKING:
    from supernet.training.workers import Workers

_SECTIONS = ("data", "model", "training", "seed", "threads")
"""The sections of a config that shape a training run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPlan:
    """A plan as the run folder holds it.

    Attributes:
        asked: Digest of the config that the plan was made for.
        limits: The limits that the plan keeps.
        schedule: Values of the keys of the `training` section that fitting may change.
        changes: The changes that fitting made, one line each.
        line: The plan in one line.
        step_seconds: Duration of a step that trains the largest network alone, or an upper bound of it.
    """

    asked: str
    limits: TrainingLimits
    schedule: dict[str, Any]
    changes: tuple[str, ...]
    line: str
    step_seconds: float

    def applied_to(self, run: Run) -> Run:
        """`run` with this schedule in its config."""
        training = run.config.training.model_copy(update=self.schedule)
        return replace(run, config=run.config.model_copy(update={"training": training}))


def planned_run(run: Run, limits: TrainingLimits) -> Run:
    """`run` with the schedule that was fitted to it, unless `limits` ask for another one.

    A fitted schedule is used as long as the config that it was fitted for is unchanged. Limits that are not given are
    those that it was fitted to.
    """
    kept = _kept(run)
    if kept is None or limits.over(kept.limits) != kept.limits:
        return run
    return kept.applied_to(run)


def fitting_notes(run: Run) -> tuple[str, ...]:
    """The changes that fitting made to the schedule of `run`, one line each."""
    kept = _kept(run)
    return () if kept is None else kept.changes


def unused_limits(run: Run, limits: TrainingLimits) -> tuple[str, ...]:
    """A line about `limits` if the finished supernet of `run` was not trained within them."""
    kept = _kept(run)
    if not limits.is_given or (kept is not None and limits.over(kept.limits) == kept.limits):
        return ()
    return (
        f"note: {limits.describe()} has no effect, because the supernet is trained already; to train within this "
        "limit, give the config another `name`",
    )


def plan_stage(run: Run, materials: Materials, console: Console, limits: TrainingLimits, workers: Workers) -> Run:
    """Plan the training run that is about to start, or read the plan that it was started with; show the plan.

    Every process of `workers` calls this function; only the first one reads and writes the run folder.

    Args:
        run: The run to train.
        materials: Its images and model space.
        console: Shows the plan.
        limits: Limits on time and memory that the schedule must keep.
        workers: The processes that will train.

    Returns:
        `run` with the fitted schedule; use this run from here on.

    Raises:
        PlanError: No schedule fits the limits.
        DataError: The images cannot be read.
        TrainingError: A trial step failed.
        DiskError: The plan cannot be written.
    """
    kept = _kept(run) if workers.is_first else None
    limits = limits if kept is None else limits.over(kept.limits)
    if kept is not None and not (kept.limits == limits and (limits.is_given or run.training_state.is_file())):
        kept = None
    kept, limits = workers.from_first((kept, limits))
    if kept is None:
        kept = _keep(run, limits, _measure(run, materials, console, limits, workers), write=workers.is_first)
        shown = f"plan: {kept.line}"
    else:
        shown = f"plan, as made before: {kept.line}"
    run = kept.applied_to(run)
    if workers.is_first:
        run.write_resolved_config()
    for line in (*kept.changes, shown, *_finetuning_line(run.config, len(materials.splits.train), kept.step_seconds)):
        console.say(line)
    return run


def _measure(
    run: Run, materials: Materials, console: Console, limits: TrainingLimits, workers: Workers
) -> TrainingPlan:
    from supernet.planning.preflight import plan_training, precision_warning
    from supernet.sharing.supernet import Supernet

    config, space = run.config, materials.model_space
    examples = materials.examples(materials.splits.train, config.training.augment, workers.device)
    if workers.is_first and (warning := precision_warning(config.training, workers.device)):
        console.say(f"note: {warning}")
    with console.stage("plan training") as progress:
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


def _finetuning_line(config: FactoryConfig, examples: int, step_seconds: float) -> tuple[str, ...]:
    """The time that fine-tuning will add, if the config asks for it, as if each pick were the largest network."""
    from supernet.training.training import steps_of

    if config.finetune is None:
        return ()
    recipe, count = config.finetune.recipe(config.training), len(config.targets)
    steps = steps_of(recipe, examples)
    seconds = count * steps * step_seconds * recipe.batch_size / config.training.batch_size
    subnets = "one subnet" if count == 1 else f"up to {count} subnets"
    return (f"after the search: fine-tuning of {subnets}, {steps:,} steps each, at most about {time_span(seconds)}",)


def _keep(run: Run, limits: TrainingLimits, plan: TrainingPlan, *, write: bool) -> KeptPlan:
    schedule = {"epochs": plan.config.epochs, "micro_batch_size": plan.config.micro_batch_size}
    kept = KeptPlan(
        asked=_digest(run),
        limits=limits,
        schedule=schedule,
        changes=plan.changes,
        line=plan.describe(),
        step_seconds=plan.costs.largest_step_seconds,
    )
    if write:
        values = {name: value for name, value in asdict(kept).items() if name != "step_seconds"}  # part of the costs
        note = {**values, "fitted": _digest(kept.applied_to(run)), "costs": asdict(plan.costs)}
        write_json(run.plan, note)
    return kept


def _kept(run: Run) -> KeptPlan | None:
    """The plan in the run folder, if it was made for this config or if this config is its result; else None."""
    if not run.plan.is_file():
        return None
    try:
        note = read_json(run.plan)
        if _digest(run) not in (note["asked"], note["fitted"]):
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
        return None  # damaged: plan again


def _digest(run: Run) -> str:
    values = shaping_values(run.config)
    return digest_of({name: values[name] for name in _SECTIONS})
