"""Training of a supernet: the largest network alone, then the sandwich rule with in-place distillation.

The recipe follows BigNAS (Yu et al., 2020) with a head start for the largest network (DepS, Annavajjala et al., 2024).
An interrupted run continues exactly from its saved state, and a run that diverges returns to its last good state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from factory_base.errors import CheckpointError, TrainingError
from factory_base.progress import Progress, silent
from supernet.data.examples import Draws, Examples
from supernet.data.loading import BatchLoader
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.tasks.classification import Classification
from supernet.tasks.task import Task
from supernet.training.checkpoint import NOT_CONTINUED, TrainingNote, TrainingState, load_state, save_state
from supernet.training.config import TrainingConfig
from supernet.training.guard import CurvePoint, DivergenceError, check_curve, has_risen
from supernet.training.imbalance import balance
from supernet.training.sampling import SAMPLERS
from supernet.training.trainer import Progression, Trainer, mixed
from supernet.training.workers import Workers, one_worker

_CHECKS = 10
"""Checks in a run: enough to see the curve, and few enough that they take little of the time."""
_CHECKS_AN_EPOCH = 2
"""Most checks in an epoch, for runs of few epochs."""
_EPOCHS_BETWEEN_CHECKS = 5
"""Most epochs without a check, for long runs: a roll-back loses that much."""

Check = Callable[[SubnetConfig], float]
"""Returns the held-out accuracy, or the metric of the task, of a subnet of the supernet in training, for the curve."""

Notify = Callable[[str], None]
"""Called with a line that the user should read."""


class Events(Protocol):
    """A log of the run's metrics, for people to watch."""

    def add(self, step: int, values: dict[str, float]) -> None:
        """Write the metrics of one step, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a finished training run.

    Attributes:
        curve: Results of the checks.
        rollbacks: How often the run returned to an earlier state.
        learning_rate_scale: Factor on the learning rate at the end: 1, halved by each roll-back.
        seconds: Time spent, including checks, over all processes that worked on the run one after the other.
        loader_share: Share of the last process's time that it waited for data, in [0, 1].
    """

    curve: tuple[CurvePoint, ...]
    rollbacks: int
    learning_rate_scale: float
    seconds: float
    loader_share: float


def train(
    supernet: Supernet,
    data: Examples,
    config: TrainingConfig,
    *,
    seed: int,
    state_file: Path,
    key: str,
    check: Check,
    check_images: int | None = None,
    task: Task | None = None,
    metric: str | None = None,
    workers: Workers | None = None,
    loader_workers: int = 0,
    progress: Progress = silent,
    notify: Notify = lambda _: None,
    events: Events | None = None,
) -> Outcome:
    """Train `supernet` in place.

    If there are many workers, each of them calls this with the same arguments. Only the first one reads and writes
    `state_file`, checks accuracies, and reports.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> from supernet import ExampleInputs, ImageExamples, MobileNetConfig, Normalisation, StageConfig, Supernet
    >>> from supernet import TrainingConfig, accuracy, make_model_space, recalibrate, train
    >>> images, labels = torch.zeros(96, 3, 8, 8, dtype=torch.uint8), torch.arange(96) % 3
    >>> images[torch.arange(96), labels] = 255  # red, green and blue images
    >>> data = ImageExamples(images=images, labels=labels, normalisation=Normalisation(mean=(0.3,) * 3, std=(0.5,) * 3))
    >>> stages = (StageConfig(widths=(8, 16), depths=(1, 2)),)
    >>> config = MobileNetConfig(resolutions=(8,), stem_width=8, stages=stages, head_width=32)
    >>> supernet = Supernet(make_model_space(config, classes=3))
    >>> def check(subnet):  # in practice, use held-out images
    ...     inputs = ExampleInputs(data, supernet.model_space.input_shape(subnet))
    ...     return accuracy(recalibrate(supernet.extract(subnet), inputs), inputs, labels)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     recipe, file = TrainingConfig(epochs=4, batch_size=32), Path(folder) / "state.safetensors"
    ...     outcome = train(supernet, data, recipe, seed=0, state_file=file, key="colours", check=check)
    >>> outcome.curve[-1].largest_accuracy, outcome.curve[-1].smallest_accuracy
    (1.0, 1.0)

    Args:
        supernet: The supernet, changed in place.
        data: The training examples.
        config: The recipe.
        seed: Seed of the order of examples, of augmentation and of random subnets.
        state_file: File in which the training state is saved. A state with the same `key` is continued, any other is
            ignored. The last good state is kept beside it as `<stem>.good<suffix>`.
        key: Digest of everything that shapes the run.
        check: Called about ten times in a run, but at least every five epochs and at most twice an epoch.
        check_images: Number of held-out images behind each result of `check`; None if they are so many that chance
            does not matter.
        task: What the networks learn; by default the classes of the examples.
        metric: The metric that `check` returns; by default the first one of the task.
        workers: The processes that train together; by default this process alone, on the CPU.
        loader_workers: Number of processes that prepare batches; with 0 this process prepares them.
        progress: Called after every step.
        notify: Called with lines that the user should read, such as roll-backs.
        events: Receives the metrics of every check.

    Raises:
        TrainingError: The run diverged more often than `config.rollbacks` allows, there are fewer examples than fill a
            batch, or a batch cannot be divided among the workers.
        DataError: An example cannot be read.
        DiskError: A training state cannot be written.
    """
    task = task or Classification(names=())
    session = _Session(supernet, data, config, seed, workers or one_worker(), key, state_file, task)
    session.chance = task.baseline(data.labels.numpy(), metric or task.metrics[0])
    session.callbacks, session.check_images = (check, progress, notify, events), check_images
    session.resume()
    try:
        while session.trainer.now.step < session.steps:
            try:
                session.run(loader_workers)
            except DivergenceError as error:
                session.roll_back(error)
    except KeyboardInterrupt:
        if session.trainer.is_consistent:
            session.save(state_file)
        raise
    session.save(state_file)
    return session.outcome()


def steps_of(config: TrainingConfig, examples: int) -> int:
    """Steps in `config.epochs` passes over `examples` examples. An epoch leaves out those that do not fill a batch."""
    return max(1, round(examples // config.batch_size * config.epochs))


def check_interval(steps: int, batches: int) -> int:
    """Steps between checks in a run of `steps` steps with `batches` batches in an epoch."""
    return max(1, min(max(steps // _CHECKS, batches // _CHECKS_AN_EPOCH), _EPOCHS_BETWEEN_CHECKS * batches))


def good_state_file(state_file: Path) -> Path:
    """The file of the last good state, beside that of the newest."""
    return state_file.with_name(f"{state_file.stem}.good{state_file.suffix}")


class _Session:
    """The work of one process on a run."""

    callbacks: tuple[Check, Progress, Notify, Events | None]
    check_images: int | None
    chance: float

    def __init__(
        self,
        supernet: Supernet,
        data: Examples,
        config: TrainingConfig,
        seed: int,
        workers: Workers,
        key: str,
        state_file: Path,
        task: Task,
    ) -> None:
        check_batches(config, len(data), workers)
        self.config, self.data, self.seed, self.workers = config, data, seed, workers
        self.key, self.state_file = key, state_file
        self.batches = len(data) // config.batch_size
        self.steps = steps_of(config, len(data))
        self.check_every = check_interval(self.steps, self.batches)
        sampler = SAMPLERS[config.sampler](supernet.model_space, seed, silent)
        self.balance = balance(config.imbalance, data.labels, len(task.names), data.weights)
        self.trainer = Trainer(
            supernet,
            data,
            config,
            steps=self.steps,
            seed=seed,
            workers=workers,
            sampler=sampler,
            task=self.balance.adjusted(task),
        )
        self.curve: list[CurvePoint] = []
        self.rollbacks = 0
        self._said: set[str] = set()
        self._losses: list[float] = []
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))
        self._earlier_seconds, self._started, self._waited = 0.0, time.monotonic(), 0.0
        self._mark = (0, 0.0)
        """Step and time of the last check, or of the start."""
        self._initial = {name: tensor.to("cpu", copy=True) for name, tensor in self.trainer.tensors().items()}

    def run(self, loader_workers: int) -> None:
        """Take the remaining steps. Raises `DivergenceError`."""
        _, progress, _, _ = self.callbacks
        first = self.trainer.now.step
        saved = time.monotonic()
        self._mark = (first, saved)
        with BatchLoader(
            self.data,
            self._rows,
            self._draws,
            first_step=first,
            steps=self.steps,
            workers=loader_workers,
            device=self.workers.device,
        ) as loader:
            for step, batch, targets in loader:
                self._losses.append(self.trainer.advance(batch, self.balance.weighted(targets)))
                if (step + 1) % self.check_every == 0 or step + 1 == self.steps:
                    self._check()
                self.trainer.is_consistent = True
                self._waited = loader.wait_seconds
                progress(step + 1, self.steps, self._describe())
                if time.monotonic() - saved > self.config.save_every:
                    self.save(self.state_file)
                    saved = time.monotonic()

    def roll_back(self, reason: DivergenceError) -> None:
        """Return to the last good state, or to the start, with half the learning rate. Raises `TrainingError`."""
        self.rollbacks += 1
        rate = self.config.learning_rate * self.trainer.now.learning_rate_scale
        if self.rollbacks > self.config.rollbacks:
            raise TrainingError(
                f"{reason}, with a learning rate of {rate:.3g} and after {self.rollbacks - 1} roll-backs; "
                f"set training.learning_rate below {rate:.3g}, or check {reason.check}"
            )
        scale = self.trainer.now.learning_rate_scale / 2
        self.trainer.is_consistent = False  # an interruption must not save a state that is half restored
        good = good_state_file(self.state_file)
        is_good = not self._good_state_diverged()
        self._restore(self._read(good) if is_good else None)
        self.trainer.now = replace(self.trainer.now, learning_rate_scale=scale)
        self.trainer.is_consistent = True
        self.save(self.state_file)  # a run killed from here on must not resume from a newer state at the old rate
        if not is_good:
            self.save(good)
        self._notify(
            f"{reason}; back to step {self.trainer.now.step} with a learning rate of {rate / 2:.3g} "
            f"(roll-back {self.rollbacks} of at most {self.config.rollbacks})"
        )

    def _good_state_diverged(self) -> bool:
        """Whether the check that failed saw only the loss of the last good state, in a run with a check every step.

        A loss is computed before the weights change, so a lower learning rate from that state on would not change it.
        """
        return self.check_every == 1 and has_risen(self.curve)

    def resume(self) -> None:
        """Continue from the newest state of this run, else from its last good state, else from the start."""
        state = self._read(self.state_file) or self._read(good_state_file(self.state_file))
        if state is not None:
            self._restore(state)
            self._earlier_seconds = state.note.seconds
            self._notify(f"training continues after step {state.note.progression.step:,} of {self.steps:,}")
        elif self.workers.count > 1:  # initial weights may differ if unlike machines have sorted them
            initial = {name: tensor.cpu() for name, tensor in self._initial.items()}
            self._initial = self.workers.from_first(initial)
            self._restore(None)

    def save(self, path: Path) -> None:
        """Write everything that a later process needs to continue. Raises `DiskError`."""
        if not self.workers.is_first:
            return
        note = TrainingNote(
            key=self.key,
            progression=self.trainer.now,
            curve=tuple(self.curve),
            losses=tuple(self._losses),
            rollbacks=self.rollbacks,
            seconds=self._seconds(),
        )
        save_state(path, TrainingState(note=note, tensors=self.trainer.tensors()))

    def outcome(self) -> Outcome:
        """The result of the finished run."""
        return Outcome(
            curve=tuple(self.curve),
            rollbacks=self.rollbacks,
            learning_rate_scale=self.trainer.now.learning_rate_scale,
            seconds=self._seconds(),
            loader_share=self._loader_share(),
        )

    def _read(self, path: Path) -> TrainingState | None:
        """The state in `path`, on every worker; None if there is none that this run can continue from."""
        return self.workers.from_first(self._loaded(path) if self.workers.is_first else None)  # type: ignore[no-any-return]

    def _loaded(self, path: Path) -> TrainingState | None:
        try:
            state = load_state(path, self.key)
            if state is not None and (fault := self._misfit(state)):
                raise CheckpointError(f"{path}: is damaged: it {fault}; {NOT_CONTINUED}")
        except CheckpointError as error:
            self._notify(str(error))
            return None
        return state

    def _misfit(self, state: TrainingState) -> str:
        """What is wrong with a state that has the key of this run, for people; "" if nothing is."""
        step, curve = state.note.progression.step, state.note.curve
        if step > self.steps or (step == self.steps and not (curve and curve[-1].step == step)):
            return f"is at step {step}, but this run has {self.steps} steps with a check at the end"
        return self.trainer.misfit(state.tensors)

    def _notify(self, text: str) -> None:
        """Show a line to the user once, by the first worker."""
        if self.workers.is_first and text not in self._said:
            self._said.add(text)
            self.callbacks[2](text)

    def _restore(self, state: TrainingState | None) -> None:
        """Return to `state`, or to the start if it is None. The number of roll-backs never decreases."""
        if state is None:
            self.trainer.restore(self._initial, Progression())
            self.curve, self._losses = [], []
            return
        self.trainer.restore(state.tensors, state.note.progression)
        self.curve, self._losses = list(state.note.curve), list(state.note.losses)
        self.rollbacks = max(self.rollbacks, state.note.rollbacks)

    def _check(self) -> None:
        """Add a point to the curve and save this state as the last good one. Raises `DivergenceError`."""
        check, _, _, events = self.callbacks
        space = self.trainer.supernet.model_space.space
        accuracies: tuple[float, float | None] = (0.0, None)
        speed = self._speed()
        if self.workers.is_first:
            alone = self.trainer.now.step <= self.steps * self.config.largest_only
            accuracies = (check(space.largest), None if alone else check(space.smallest))
        largest, smallest = self.workers.from_first(accuracies)
        loss = sum(self._losses) / len(self._losses)
        self.curve.append(
            CurvePoint(step=self.trainer.now.step, loss=loss, largest_accuracy=largest, smallest_accuracy=smallest)
        )
        check_curve(self.curve, self.chance, self.steps, self.check_images)
        self._losses.clear()
        self.save(good_state_file(self.state_file))
        if events is not None and self.workers.is_first:
            events.add(self.trainer.now.step, self._metrics(self.curve[-1], speed))
        self._mark = (self.trainer.now.step, time.monotonic())

    def _metrics(self, point: CurvePoint, speed: float) -> dict[str, float]:
        values = {
            "loss": point.loss,
            "accuracy/largest": point.largest_accuracy,
            "accuracy/smallest": point.smallest_accuracy,
            "learning_rate": self.trainer.learning_rate,
            "examples_per_second": speed,
            "loader_share": self._loader_share(),
            "seconds": self._seconds(),
        }
        return {name: value for name, value in values.items() if value is not None}

    def _describe(self) -> str:
        """A phrase for the progress line."""
        share = f"data {self._loader_share():.0%} of the time"
        space = self.trainer.supernet.model_space.space
        one = space.largest == space.smallest  # such as a subnet that is fine-tuned
        if not self.curve:
            return f"largest network alone, {share}" if self.trainer.trains_alone and not one else share
        last = self.curve[-1]
        small = "" if last.smallest_accuracy is None else f", smallest {last.smallest_accuracy:.1%}"
        return f"held-out: {'' if one else 'largest '}{last.largest_accuracy:.1%}{small}, {share}"

    def _loader_share(self) -> float:
        return self._waited / max(1e-9, time.monotonic() - self._started)

    def _speed(self) -> float:
        """Examples per second since the last check."""
        step, since = self._mark
        return (self.trainer.now.step - step) * self.config.batch_size / max(1e-9, time.monotonic() - since)

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started

    def _rows(self, step: int) -> Tensor:
        """Indices of this worker's examples in a step, int64 (batch_size / workers,)."""
        epoch, index = divmod(step, self.batches)
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(mixed(self.seed, epoch, 0))
            self._order = (epoch, self.balance.order(self.data.labels, generator))
        share = self.config.batch_size // self.workers.count
        start = index * self.config.batch_size + self.workers.rank * share
        return self._order[1][start : start + share]

    def _draws(self, step: int) -> Draws:
        repeats = self.balance.method == "balanced_sampling"  # the same example must not look the same in an epoch
        return Draws(self.seed, step if repeats else step // self.batches)


def check_batches(config: TrainingConfig, examples: int, workers: Workers) -> None:
    """Raise `TrainingError` if the batches that `config` asks for cannot be made."""
    if examples < config.batch_size:
        raise TrainingError(
            f"{examples} training examples are fewer than one batch of {config.batch_size}; "
            "set training.batch_size lower"
        )
    share, rest = divmod(config.batch_size, workers.count)
    if rest or share < 2:
        raise TrainingError(
            f"a batch of {config.batch_size} cannot be divided among {workers.count} workers in equal shares of 2 or "
            "more; change training.batch_size"
        )
    if config.micro_batch_size and share % config.micro_batch_size:
        raise TrainingError(
            f"training.micro_batch_size {config.micro_batch_size} does not divide a worker's {share} examples in a "
            "step; change it, training.batch_size, or the number of workers"
        )
