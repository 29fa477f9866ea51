"""Before training: the costs of its steps, measured on a scratch copy of the supernet, and a schedule that fits."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from factory_base.errors import PlanError, TrainingError
from factory_base.progress import Progress, silent
from factory_base.quantities import format_bytes
from supernet.data.examples import Draws, Examples, Targets
from supernet.data.loading import BatchLoader
from supernet.planning.peak_memory import PeakMemory, give_back_freed_memory, total_memory
from supernet.planning.plan import (
    StepCost,
    TrainingCosts,
    TrainingLimits,
    TrainingPlan,
    alone_steps_of,
    epochs_of,
    fit_steps,
    make_plan,
    memory_fits,
    memory_shortage,
    micro_batches,
    time_span,
)
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.tasks.classification import Classification
from supernet.tasks.task import Task
from supernet.training.checkpoint import TrainingNote, TrainingState, save_state
from supernet.training.config import TrainingConfig
from supernet.training.guard import DivergenceError
from supernet.training.sampling import SAMPLERS
from supernet.training.trainer import Progression, Trainer
from supernet.training.training import check_batches, check_interval, steps_of
from supernet.training.workers import Workers

_WARM_UP = 2
"""Steps before timing: the first ones allocate memory, build skeletons and fill caches."""
_MOST_TIMED, _LEAST_TIMED = 20, 2
_SHARE_OF_PLAN = 0.01
_LEAST_SECONDS, _MOST_SECONDS = 0.3, 5.0
"""Timed steps of each kind: for 1 % of the time of the run (so both kinds take 2 %), but within these seconds and these
numbers of steps, so that the mean is stable for short runs and long runs need not wait."""
_MORE_SUBNETS = 10
"""Subnets over which the memory per subnet is averaged."""

_EMULATED = 1.5
"""A processor that computes in bfloat16 takes no more time than in float32. One that is slower by this factor, which is
beyond the noise of timing, only emulates it."""
_CONVOLUTIONS = 5
"""Convolutions that are timed; the fastest counts, because other work can only slow them down."""

ScratchCheck = Callable[[SubnetConfig, Supernet], float]
"""Returns the held-out accuracy of a subnet of a supernet."""


def plan_training(
    make_supernet: Callable[[], Supernet],
    data: Examples,
    config: TrainingConfig,
    *,
    limits: TrainingLimits,
    seed: int,
    check: ScratchCheck,
    workers: Workers,
    task: Task | None = None,
    loader_workers: int = 0,
    progress: Progress = silent,
) -> TrainingPlan:
    """Measure a few steps, two checks and a save as `train` would do them, and fit the schedule to `limits`.

    The steps have a learning rate of zero, and a supernet and random numbers of their own, so that the training run
    that follows is the same to the bit as without them. They take about 2 % of the time of the run, and at least a few
    steps of each kind, two checks and a save; again for every micro-batch size that is tried.

    If there are many workers, each of them calls this with the same arguments and gets the same plan.

    Args:
        make_supernet: Returns a supernet like the one that will be trained. It is thrown away.
        data: The training examples.
        config: The schedule as configured. Limits can only shorten it.
        limits: The limits: hours reduce `epochs`, memory reduces `micro_batch_size`.
        seed: Seed of the training run.
        check: The check of the training run.
        workers: The processes that train together.
        task: What the networks learn; by default the classes of the examples.
        loader_workers: Number of processes that prepare batches, as for `train`.
        progress: Called after every step.

    Raises:
        PlanError: No schedule fits `limits`, or the GPU's memory if there are none.
        TrainingError: As for `train`, or the loss of the untrained network is not finite.
        DataError, DiskError: As for `train`.
    """
    check_batches(config, len(data), workers)
    learnt = task or Classification(names=())

    def measure(candidate: TrainingConfig) -> TrainingPlan | None:
        try:
            costs = _Rehearsal(make_supernet, data, candidate, seed, workers, learnt).costs(
                check, loader_workers, progress
            )
        except torch.OutOfMemoryError:
            if workers.count > 1:  # the other workers wait for this one, so it cannot try again alone
                raise _full(candidate.micro_batch_size or config.batch_size // workers.count) from None
            return None
        return _plan(candidate, len(data), workers.from_first(costs))

    try:
        plan = _fit_memory(measure, config, limits.max_memory_gib, workers)
    finally:
        give_back_freed_memory(workers.device)
    return plan if limits.max_hours is None else _fit_hours(plan, len(data), limits.max_hours)


def precision_warning(config: TrainingConfig, device: torch.device) -> str:
    """A warning if the processor only emulates the precision of `config`, which takes many times longer; else "".

    It times a small convolution, which takes some hundredths of a second.
    """
    if config.precision != "bfloat16" or device.type != "cpu":
        return ""
    half, full = (_convolution_seconds(dtype) for dtype in (torch.bfloat16, torch.float32))
    if half < _EMULATED * full:
        return ""
    return (
        f"this processor does not compute in bfloat16: a convolution takes {half / full:.1f} times as long as in "
        "float32; set training.precision to float32"
    )


def _convolution_seconds(dtype: torch.dtype) -> float:
    # 17 million MACs: so many that arithmetic, and not the call, takes the time
    images = torch.ones(8, 32, 32, 32, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.ones(64, 32, 1, 1, dtype=dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return min(_seconds(lambda: torch.conv2d(images, weight)) for _ in range(_CONVOLUTIONS))


def _plan(config: TrainingConfig, examples: int, costs: TrainingCosts) -> TrainingPlan:
    steps = steps_of(config, examples)
    return make_plan(config, steps, check_interval(steps, examples // config.batch_size), costs)


def _fit_memory(
    measure: Callable[[TrainingConfig], TrainingPlan | None],
    config: TrainingConfig,
    limit: float | None,
    workers: Workers,
) -> TrainingPlan:
    """The plan with the largest micro-batches that fit. Raises `PlanError`."""
    share = config.batch_size // workers.count
    first = config.micro_batch_size or share
    plan = before = measure(config)
    if limit is None:
        if plan is None:
            raise _full(first)
        return plan
    for size in micro_batches(first, share):
        if size != first:
            plan = measure(_changed(config, micro_batch_size=size))
        if plan is not None and memory_fits(plan.peak_bytes, limit):
            changes = () if size == first else (_memory_change(limit, (first, before), (size, plan)),)
            return replace(plan, changes=changes)
        if plan is not None and plan.peak_bytes is None:
            break
    raise memory_shortage(limit, size, plan)


def _fit_hours(plan: TrainingPlan, examples: int, limit: float) -> TrainingPlan:
    """`plan` with as many epochs as `limit`, in hours, allows. Raises `PlanError`."""
    config, batches = plan.config, examples // plan.config.batch_size
    most = fit_steps(config, plan.steps, batches, lambda count: check_interval(count, batches), plan.costs, limit)
    if most == plan.steps:
        return plan
    fitted = _plan(_changed(config, epochs=epochs_of(most, batches)), examples, plan.costs)
    change = (
        f"fitted to --max-hours {limit:g}: {config.epochs:.10g} -> {fitted.config.epochs:g} epochs "
        f"({plan.steps:,} -> {fitted.steps:,} steps); all of them would take about {time_span(plan.seconds)}"
    )
    return replace(fitted, changes=(*plan.changes, change))


def _memory_change(limit: float, before: tuple[int, TrainingPlan | None], after: tuple[int, TrainingPlan]) -> str:
    peaks = [
        "more than there is" if plan is None or plan.peak_bytes is None else format_bytes(plan.peak_bytes)
        for _, plan in (before, after)
    ]
    return (
        f"fitted to --max-memory-gib {limit:g}: micro-batches of {before[0]} -> {after[0]} examples "
        f"(peak {peaks[0]} -> {peaks[1]}); batch normalisation sees {after[0]} at a time"
    )


def _full(size: int) -> PlanError:
    return PlanError(
        f"the GPU has too little memory for micro-batches of {size} examples; set training.micro_batch_size lower, or "
        "let --max-memory-gib find one that fits"
    )


def _changed(config: TrainingConfig, **values: float) -> TrainingConfig:
    return TrainingConfig.model_validate(config.model_dump() | values)


class _Rehearsal:
    """A training run that takes a few steps of each kind and is thrown away."""

    def __init__(
        self,
        make_supernet: Callable[[], Supernet],
        data: Examples,
        config: TrainingConfig,
        seed: int,
        workers: Workers,
        task: Task,
    ) -> None:
        self._data, self._config, self._seed, self._workers = data, config, seed, workers
        self._steps = steps_of(config, len(data))
        self._memory = PeakMemory(workers.device)
        supernet = make_supernet()
        sampler = SAMPLERS[config.sampler](supernet.model_space, seed, silent)
        self._trainer = Trainer(
            supernet, data, config, steps=self._steps, seed=seed, workers=workers, sampler=sampler, task=task
        )
        # `train` holds these copies, too, so they belong to the measured memory
        self._initial = {name: tensor.clone() for name, tensor in self._trainer.tensors().items()}
        self._idle_bytes = self._memory.bytes()

    def costs(self, check: ScratchCheck, loader_workers: int, progress: Progress) -> TrainingCosts:
        """The costs measured in this process. Raises as `plan_training` does."""
        alone_steps = alone_steps_of(self._config, self._steps)
        # each kind takes the warm-up, one step, and at most as many as are timed
        loader = BatchLoader(
            self._data, self._rows, self._draws, first_step=0, steps=4 * _MOST_TIMED, workers=loader_workers,
            device=self._workers.device,
        )  # fmt: skip
        with loader:
            batches = iter(loader)
            alone = self._timed(loader, batches, 0, progress) if alone_steps else None
            sandwich = self._timed(loader, batches, alone_steps, progress) if alone_steps < self._steps else None
        space, supernet = self._trainer.supernet.model_space.space, self._trainer.supernet
        seconds = (0.0, 0.0, 0.0)
        if self._workers.is_first:
            seconds = (
                _seconds(lambda: check(space.largest, supernet)),
                _seconds(lambda: check(space.smallest, supernet)) if sandwich else 0.0,
                _seconds(self._save),
            )
        return TrainingCosts(
            alone=alone,
            sandwich=sandwich,
            largest_check_seconds=seconds[0],
            smallest_check_seconds=seconds[1],
            save_seconds=seconds[2],
            idle_bytes=self._idle_bytes,
            peak_bytes=self._memory.bytes(),
            subnet_bytes=self._subnet_bytes() if sandwich else 0,
            total_bytes=total_memory(self._workers.device),
            device=self._workers.device.type,
        )

    def _timed(
        self, loader: BatchLoader, batches: Iterator[tuple[int, Tensor, Targets]], step: int, progress: Progress
    ) -> StepCost:
        """The mean time of some steps of the kind that is due at `step` of the run."""
        self._trainer.now = Progression(step=step, learning_rate_scale=0.0)
        for done in range(_WARM_UP):
            self._advance(batches)
            progress(done + 1, _WARM_UP, "first steps")
        first = _seconds(lambda: self._advance(batches))
        count = self._workers.from_first(_steps_to_time(first, self._steps))
        waited, started = loader.wait_seconds, time.monotonic()
        for done in range(count):
            self._advance(batches)
            progress(done + 1, count, "timing steps")
        seconds = time.monotonic() - started
        return StepCost(seconds=seconds / count, waiting_seconds=(loader.wait_seconds - waited) / count)

    def _advance(self, batches: Iterator[tuple[int, Tensor, Targets]]) -> None:
        _, batch, targets = next(batches)
        try:
            self._trainer.advance(batch, targets)
        except DivergenceError as error:
            raise TrainingError(
                f"{error}, before anything was trained; check the data, the model section and training.precision"
            ) from error

    def _save(self) -> None:
        note = TrainingNote(key="", progression=self._trainer.now, curve=(), losses=(), rollbacks=0, seconds=0.0)
        with tempfile.TemporaryDirectory() as folder:
            save_state(Path(folder) / "state.safetensors", TrainingState(note=note, tensors=self._trainer.tensors()))

    @torch.no_grad()
    def _subnet_bytes(self) -> int:
        """Memory that this process keeps for one more subnet, the mean over some subnets."""
        if self._workers.device.type != "cpu":
            return 0
        supernet, rng = self._trainer.supernet, random.Random(self._seed)
        batch = self._data.batch(torch.arange(2), None)  # batch normalisation needs two; their activations take little
        memory = PeakMemory(self._workers.device)
        held: list[int | None] = []
        for count in (_WARM_UP, _MORE_SUBNETS):
            for _ in range(count):
                subnet = supernet.model_space.space.sample(rng)
                supernet(self._data.to_input(batch, supernet.model_space.input_shape(subnet)), subnet)
            held.append(memory.bytes())
        before, after = held
        return 0 if before is None or after is None else (after - before) // _MORE_SUBNETS

    def _rows(self, step: int) -> Tensor:
        """Random examples for a step, int64 (batch_size / workers,)."""
        generator = torch.Generator().manual_seed(step)
        share = self._config.batch_size // self._workers.count
        return torch.randint(len(self._data), (share,), generator=generator)

    def _draws(self, step: int) -> Draws:
        return Draws(self._seed, step)


def _steps_to_time(seconds: float, steps: int) -> int:
    """How many more steps to time if one takes `seconds`, in a run of `steps` steps."""
    allowed = min(_MOST_SECONDS, max(_LEAST_SECONDS, _SHARE_OF_PLAN * steps * seconds))
    return min(_MOST_TIMED, max(_LEAST_TIMED, round(allowed / max(1e-6, seconds))))


def _seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started
