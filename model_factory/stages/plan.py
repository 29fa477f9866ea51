"""The planning stage: measure, fit and show the schedule of a training run before it starts, and store it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from factory_base.documents import shaping_values
from factory_base.errors import FactoryError
from factory_base.files import digest_of
from model_factory.config import FactoryConfig
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.materials import CHECK_IMAGES, Materials
from model_factory.stages.sealed import read_sealed, read_unsealed, write_sealed
from supernet.planning.plan import TrainingCosts, TrainingLimits, TrainingPlan, seconds_until, time_span
from supernet.planning.pretrained_start import describe_start

if TYPE_CHECKING:
    from supernet.training.workers import Workers

_SECTIONS = ("data", "model", "training", "seed", "threads")
"""The sections of a config that shape a training run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The values of the `training` section that fitting may change."""

    epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    micro_batch_size: Annotated[int, Field(ge=2)] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPlan:
    """A plan as the run folder holds it.

    Attributes:
        asked: Digest of the config that the plan was made for.
        fitted: Digest of that config with the schedule.
        limits: The limits that the plan keeps.
        schedule: The schedule.
        changes: The changes that fitting made, one line each.
        line: The plan in one line.
        costs: The costs that were measured.
    """

    asked: str
    fitted: str
    limits: TrainingLimits
    schedule: Schedule
    changes: tuple[str, ...]
    line: str
    costs: TrainingCosts

    def applied_to(self, run: Run) -> Run:
        """`run` with this schedule in its config."""
        return _scheduled(run, self.schedule)


_CODEC = TypeAdapter(KeptPlan)


def planned_run(run: Run, limits: TrainingLimits, console: Console) -> Run:
    """`run` with the schedule that was fitted to it, unless `limits` ask for another one.

    A fitted schedule is used as long as the config that it was fitted for is unchanged. Limits that are not given are
    those that it was fitted to. A damaged plan is reported and not used.
    """
    kept = _kept(run)
    if _written(run) == "damaged":
        console.say(f"{run.plan}: is damaged and not used; training makes a new plan")
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


def planned_seconds(run: Run, examples: int) -> Callable[[int], float]:
    """The predicted time of the first `n` training steps, as a function of `n`; without a plan, `n` itself.

    Args:
        run: The run, as `plan_stage` returned it.
        examples: Number of training images.
    """
    from supernet.training.training import check_interval, steps_of

    kept, training = _kept(run), run.config.training
    if kept is None:
        return float
    steps = steps_of(training, examples)
    return seconds_until(training, steps, check_interval(steps, examples // training.batch_size), kept.costs)


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
    if not run.config.training.epochs:
        return _plan_nothing(run, len(materials.splits.train), console, workers)
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
    for line in (
        *describe_start(run.config.model, run.config.training),
        *kept.changes,
        shown,
        *imbalance_line(run, materials),
        *_finetuning_line(run.config, len(materials.splits.train), kept.costs.largest_step_seconds),
    ):
        console.say(line)
    return run


def _plan_nothing(run: Run, examples: int, console: Console, workers: Workers) -> Run:
    """The plan if no epochs are trained: it keeps any limits."""
    if workers.is_first:
        run.write_resolved_config()
    for line in (
        "plan: no training, because training.epochs is 0; the initial weights are searched as they are",
        *_finetuning_line(run.config, examples, None),
    ):
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
            task=materials.task,
            loader_workers=materials.loader_workers,
            progress=progress,
        )


def imbalance_line(run: Run, materials: Materials) -> tuple[str, ...]:
    """What the training does about classes of unequal size, if it does anything or they are very unequal."""
    from supernet.training.imbalance import UNEVEN, balance

    splits, asked = materials.splits, run.config.training.imbalance
    examples = materials.examples(splits.train)
    found = balance(asked, examples.labels, len(splits.class_names), examples.weights)
    if asked == "none" and found.ratio < UNEVEN:
        return ()
    advice = "; set training.imbalance to auto if the rare ones matter as much" if asked == "none" else ""
    return (f"{found.describe(splits.class_names)}{advice}",)


def _finetuning_line(config: FactoryConfig, examples: int, step_seconds: float | None) -> tuple[str, ...]:
    """The time that fine-tuning will add, if the config asks for it, as if each pick were the largest network.

    Without the time of a step of training, `step_seconds`, the line states the steps alone.
    """
    from supernet.training.training import steps_of

    if config.finetune is None:
        return ()
    recipe, count = config.finetune.recipe(config.training), len(config.targets)
    steps = steps_of(recipe, examples)
    subnets = "one subnet" if count == 1 else f"up to {count} subnets"
    line = f"after the search: fine-tuning of {subnets}, {steps:,} steps each"
    if step_seconds is None:
        return (line,)
    seconds = count * steps * step_seconds * recipe.batch_size / config.training.batch_size
    return (f"{line}, at most about {time_span(seconds)}",)


def _keep(run: Run, limits: TrainingLimits, plan: TrainingPlan, *, write: bool) -> KeptPlan:
    schedule = Schedule(epochs=plan.config.epochs, micro_batch_size=plan.config.micro_batch_size)
    kept = KeptPlan(
        asked=_digest(run),
        fitted=_digest(_scheduled(run, schedule)),
        limits=limits,
        schedule=schedule,
        changes=plan.changes,
        line=plan.describe(),
        costs=plan.costs,
    )
    if write:
        write_sealed(run.plan, asdict(kept))
    return kept


def _scheduled(run: Run, schedule: Schedule) -> Run:
    training = run.config.training.model_copy(update=asdict(schedule))
    return replace(run, config=run.config.model_copy(update={"training": training}))


def _kept(run: Run) -> KeptPlan | None:
    """The plan in the run folder, if it was made for this config or if this config is its result; else None."""
    kept = _written(run)
    return kept if isinstance(kept, KeptPlan) and _digest(run) in (kept.asked, kept.fitted) else None


def _written(run: Run) -> KeptPlan | Literal["damaged"] | None:
    """The plan in the run folder, whatever config it was made for; None if there is none."""
    if not run.plan.exists():
        return None
    content = read_sealed(run.plan) or read_unsealed(run.plan)
    try:
        kept = _CODEC.validate_python(content)
    except (FactoryError, ValidationError):
        return "damaged"
    has_steps = kept.costs.alone is not None or kept.costs.sandwich is not None
    return kept if has_steps and _CODEC.dump_python(kept, mode="json") == content else "damaged"


def _digest(run: Run) -> str:
    values = shaping_values(run.config)
    return digest_of({name: values[name] for name in _SECTIONS})
