"""The plan of a training run: its time and memory, and how it is made to fit the limits. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from factory_base.errors import ConfigError, PlanError
from factory_base.quantities import format_bytes, format_duration
from supernet.training.config import TrainingConfig

TIME_MARGIN = 0.1
"""Share of `max_hours` that the schedule leaves free, because few steps are timed and the machine's speed varies."""
MEMORY_MARGIN = 0.05
"""Share of `max_memory_gib` that the expected peak leaves free, because few steps are measured."""
SMALLEST_MICRO_BATCH = 8
"""Smallest micro-batch to try. Below it, batch statistics come from too few examples."""

_HOLES, _MOST_HOLES = 0.05, 0.75
"""Growth of the heap with the root of the number of steps, and its limit, in units of the memory that a step takes; see
`expected_peak`."""
_KEPT_SUBNETS = 256
"""Number of subnets whose skeletons a supernet keeps, `_CACHED_SKELETONS` of `supernet.sharing.supernet`."""
_LEAST_EPOCHS = 0.1
"""Shortest run that is worth planning: a network that has seen less of the data has learnt next to nothing."""
_GIB = 2**30
_READY = 0.05
"""Below this share of waiting, the data counts as ready in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLimits:
    """Limits on a training run; None for no limit.

    Attributes:
        max_hours: Wall time in hours, including checks and saved states, but not what comes before and after training.
        max_memory_gib: Memory in GiB: of the training process on a CPU, including libraries and data; of PyTorch on a
            GPU.

    Raises:
        ConfigError: A limit is not a finite number above zero.
    """

    max_hours: float | None = None
    max_memory_gib: float | None = None

    def __post_init__(self) -> None:
        for option, value in (("--max-hours", self.max_hours), ("--max-memory-gib", self.max_memory_gib)):
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{option} {value:g}: must be a number above zero")

    @property
    def is_given(self) -> bool:
        """Whether there is any limit."""
        return self.max_hours is not None or self.max_memory_gib is not None

    def describe(self) -> str:
        """The options of the command line that give these limits: `--max-hours 2`."""
        options = (("--max-hours", self.max_hours), ("--max-memory-gib", self.max_memory_gib))
        return " ".join(f"{option} {value:g}" for option, value in options if value is not None)

    def over(self, earlier: TrainingLimits) -> TrainingLimits:
        """These limits, completed by those of `earlier` that are not given here."""
        return TrainingLimits(
            max_hours=earlier.max_hours if self.max_hours is None else self.max_hours,
            max_memory_gib=earlier.max_memory_gib if self.max_memory_gib is None else self.max_memory_gib,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """The time of one step, or of several steps together.

    Attributes:
        seconds: Time from one step to the next.
        waiting_seconds: The part of it that the step waits for data.
    """

    seconds: float
    waiting_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCosts:
    """The measured costs of a training run.

    Attributes:
        alone: A step of the largest network alone; None if the recipe has no such steps.
        sandwich: A step of the sandwich rule; None if the recipe has no such steps.
        largest_check_seconds: Time to check the held-out accuracy of the largest network.
        smallest_check_seconds: The same for the smallest network; 0 if it is never checked.
        save_seconds: Time to save a training state.
        idle_bytes: Memory of the process, or of PyTorch on a GPU, before the first batch: libraries, data, weights.
            None if the system does not report it.
        peak_bytes: Peak of that memory during steps, a check and a save; None if the system does not report it.
        subnet_bytes: Memory that the process keeps for each subnet that it has trained; 0 on a GPU.
        total_bytes: Memory of the machine or GPU.
        device: Type of the device, `cpu` or `cuda`.
    """

    alone: StepCost | None
    sandwich: StepCost | None
    largest_check_seconds: float
    smallest_check_seconds: float
    save_seconds: float
    idle_bytes: int | None
    peak_bytes: int | None
    subnet_bytes: int
    total_bytes: int
    device: str

    @property
    def largest_step_seconds(self) -> float:
        """Time of a step of the largest network alone, or of a sandwich, which takes longer, if there are no others."""
        return next(cost.seconds for cost in (self.alone, self.sandwich) if cost is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """A schedule, and the time and memory that it will take.

    Attributes:
        config: The schedule, fitted to the limits.
        steps: Number of steps of the whole run.
        alone_steps: Number of steps, out of `steps`, in which the largest network trains alone.
        seconds: Predicted wall time, including checks and saved states.
        peak_bytes: Predicted peak memory of the whole run; None if the system does not report memory.
        costs: The costs measured with `config`.
        changes: What was changed to fit the limits, one line for each change.
    """

    config: TrainingConfig
    steps: int
    alone_steps: int
    seconds: float
    peak_bytes: int | None
    costs: TrainingCosts
    changes: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line for people."""
        kinds = (
            (self.alone_steps, "largest alone", self.costs.alone),
            (self.steps - self.alone_steps, "sandwich", self.costs.sandwich),
        )
        parts = [f"{n:,} {name} at {format_duration(c.seconds * 1e6)}" for n, name, c in kinds if n and c is not None]
        what = f"{self.steps:,} steps ({', '.join(parts)})"
        return f"{what}, about {time_span(self.seconds)}, {self._memory()}, {self._data()}"

    @property
    def waiting_share(self) -> float:
        """Share of the time of all steps that they wait for data, in [0, 1]."""
        alone, sandwich = _times(self.costs, self.steps, self.alone_steps)
        waiting = alone.waiting_seconds + sandwich.waiting_seconds
        return waiting / max(1e-9, alone.seconds + sandwich.seconds)

    def _memory(self) -> str:
        if self.peak_bytes is None:
            return "peak memory unknown on this system"
        kind, total = "GPU memory" if self.costs.device == "cuda" else "memory", self.costs.total_bytes
        share = f"{self.peak_bytes / total:.0%} of {format_bytes(total)}"
        return f"peak {kind} {format_bytes(self.peak_bytes)} ({share})"

    def _data(self) -> str:
        share = self.waiting_share
        return f"data ready in time ({share:.0%} waiting)" if share < _READY else f"{share:.0%} of it waiting for data"


def alone_steps_of(config: TrainingConfig, steps: int) -> int:
    """The number of steps, out of `steps`, in which the largest network trains alone."""
    return min(steps, math.ceil(steps * config.largest_only))


def make_plan(
    config: TrainingConfig, steps: int, check_every: int, costs: TrainingCosts, changes: tuple[str, ...] = ()
) -> TrainingPlan:
    """The plan of a run of `steps` steps that is checked every `check_every` steps and at the end."""
    return TrainingPlan(
        config=config,
        steps=steps,
        alone_steps=alone_steps_of(config, steps),
        seconds=_seconds(config, steps, check_every, costs),
        peak_bytes=expected_peak(config, steps, costs),
        costs=costs,
        changes=changes,
    )


def expected_peak(config: TrainingConfig, steps: int, costs: TrainingCosts) -> int | None:
    """The predicted peak memory, in bytes, of a run of `steps` steps, from what a few steps took.

    On a CPU the memory grows while networks of many sizes take turns: a part of each is kept for the next time, and the
    heap gets holes that fit none of the next. Measured with glibc (the spaces for digits and CIFAR-10, batches of 16 to
    128), the holes grew with the root of the number of steps, to 0.6 of what a step takes after 200 steps, and more
    slowly from then on.
    """
    if costs.peak_bytes is None or costs.idle_bytes is None or costs.device != "cpu":
        return costs.peak_bytes
    sandwich_steps = steps - alone_steps_of(config, steps)
    holes = min(_MOST_HOLES, _HOLES * math.sqrt(sandwich_steps)) * (costs.peak_bytes - costs.idle_bytes)
    kept = min(_KEPT_SUBNETS, sandwich_steps * config.random_subnets) * costs.subnet_bytes
    return round(costs.peak_bytes + holes + kept)


def fit_steps(
    config: TrainingConfig,
    steps: int,
    batches: int,
    check_every: Callable[[int], int],
    costs: TrainingCosts,
    hours: float,
) -> int:
    """The largest number of steps, up to `steps`, that takes at most `hours` less the margin.

    Args:
        config: The schedule as configured.
        steps: Number of steps of that schedule.
        batches: Number of batches in an epoch.
        check_every: Returns the steps between checks for a run of a given number of steps.
        costs: The measured costs.
        hours: The limit.

    Raises:
        PlanError: Less than a tenth of an epoch fits.
    """
    allowed = hours * 3600 * (1 - TIME_MARGIN)

    def fits(count: int) -> bool:
        return _seconds(config, count, check_every(count), costs) <= allowed

    if fits(steps):
        return steps
    low, high = 0, steps  # `low` fits, `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    least = min(steps, max(1, math.ceil(_LEAST_EPOCHS * batches)))
    if low < least:
        needed = _seconds(config, least, check_every(least), costs) / (1 - TIME_MARGIN)
        raise PlanError(
            f"--max-hours {hours:g} allows {low} training steps, less than a tenth of an epoch ({least} steps), which "
            f"needs --max-hours {_rounded_up(needed / 3600)}; allow more time, or make the model space smaller"
        )
    return low


def epochs_of(steps: int, batches: int) -> float:
    """The epochs, with at most four decimals, that take `steps` steps of `batches` per epoch, or hardly fewer."""
    return math.floor(steps / batches * 1e4) / 1e4


def micro_batches(first: int, share: int) -> tuple[int, ...]:
    """The sizes to try: `first`, then always the largest divisor of a worker's `share` up to half of the one before."""
    sizes = [first]
    while True:
        smaller = range(sizes[-1] // 2, SMALLEST_MICRO_BATCH - 1, -1)
        size = next((size for size in smaller if share % size == 0), None)
        if size is None:
            return tuple(sizes)
        sizes.append(size)


def memory_fits(peak_bytes: int | None, limit_gib: float) -> bool:
    """Whether the predicted peak leaves the margin of the limit free."""
    return peak_bytes is not None and peak_bytes <= limit_gib * _GIB * (1 - MEMORY_MARGIN)


def memory_shortage(limit_gib: float, size: int, plan: TrainingPlan | None) -> PlanError:
    """The error if no schedule fits `limit_gib`.

    Args:
        limit_gib: The limit.
        size: Number of examples in the last micro-batches that were tried.
        plan: The plan with these micro-batches; None if the GPU's memory was full.
    """
    if plan is None:
        return PlanError(
            f"--max-memory-gib {limit_gib:g}: the GPU has no memory even for micro-batches of {size} examples; "
            "make the model space smaller, or take a larger GPU"
        )
    if plan.peak_bytes is None or plan.costs.idle_bytes is None:
        return PlanError(
            f"--max-memory-gib {limit_gib:g}: this system does not report how much memory a process takes; "
            "leave the option out, and set training.micro_batch_size yourself"
        )
    needed = _rounded_up(plan.peak_bytes / _GIB / (1 - MEMORY_MARGIN))
    return PlanError(
        f"--max-memory-gib {limit_gib:g} is too little: training takes {format_bytes(plan.costs.idle_bytes)} "
        f"before its first batch (libraries, data, weights) and {format_bytes(plan.peak_bytes)} at its peak, with "
        f"micro-batches of {size} examples; allow at least {needed}, or make the model space smaller"
    )


def time_span(seconds: float) -> str:
    """A time span for people: `45 s`, `10 min`, `3.2 h`. The next unit is used from 1.5 of it on."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def seconds_until(config: TrainingConfig, steps: int, check_every: int, costs: TrainingCosts) -> Callable[[int], float]:
    """The predicted time of the first `n` steps of a run of `steps` steps, with their checks, as a function of `n`."""
    return lambda done: _seconds(config, steps, check_every, costs, done)


def _seconds(
    config: TrainingConfig, steps: int, check_every: int, costs: TrainingCosts, done: int | None = None
) -> float:
    """The predicted time of the first `done` of `steps` steps; by default of all."""
    done = steps if done is None else done
    checks = math.ceil(steps / check_every) if done == steps else done // check_every
    alone_checks = checks if config.largest_only == 1 else min(checks, int(steps * config.largest_only) // check_every)
    times = _times(costs, done, min(done, alone_steps_of(config, steps)))
    training = sum(time.seconds for time in times) + checks * (costs.largest_check_seconds + costs.save_seconds)
    training += (checks - alone_checks) * costs.smallest_check_seconds
    return training * (1 + costs.save_seconds / config.save_every)


def _times(costs: TrainingCosts, steps: int, alone_steps: int) -> tuple[StepCost, StepCost]:
    """The time of all steps of the largest network alone, and of all sandwich steps."""
    pairs = ((alone_steps, costs.alone), (steps - alone_steps, costs.sandwich))
    one, other = (
        StepCost(seconds=n * (c.seconds if c else 0.0), waiting_seconds=n * (c.waiting_seconds if c else 0.0))
        for n, c in pairs
    )
    return one, other


def _rounded_up(value: float) -> str:
    """`value` rounded up to two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit) * unit:.2g}"
