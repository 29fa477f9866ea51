"""Training of a supernet: the largest network alone, then the sandwich rule with in-place distillation.

The recipe follows BigNAS (Yu et al., 2020) with a head start for the largest network (DepS, Annavajjala et al., 2024).
All randomness is derived from the seed and the step, so an interrupted run continues exactly where it was saved.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from model_factory.base.errors import TrainingError
from model_factory.base.progress import Progress, silent
from supernet.checkpoint import TrainingState, load_state, save_state
from supernet.depthwise import FastDepthwise
from supernet.examples import Draws, Examples
from supernet.space import SubnetConfig
from supernet.supernet import Supernet
from supernet.training_config import TrainingConfig

_LAST_LEARNING_RATE = 0.01
"""The learning rate at the end, relative to its peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What was seen at one step. Accuracies are None between checks."""

    step: int
    loss: float
    largest_accuracy: float | None
    smallest_accuracy: float | None


Check = Callable[[SubnetConfig], float]
"""The held-out accuracy of a subnet of the supernet in training, for the curve."""


def train(
    supernet: Supernet,
    data: Examples,
    config: TrainingConfig,
    *,
    seed: int,
    state_file: Path,
    key: str,
    check: Check,
    progress: Progress = silent,
) -> list[CurvePoint]:
    """Train `supernet` in place and return its curve.

    Args:
        supernet: changed in place.
        data: training examples.
        config: the recipe.
        seed: of order, augmentation and subnets.
        state_file: where progress is saved; a state with the same `key` is continued, any other is ignored.
        key: digest of everything that shapes the run.
        check: called about ten times.
        progress: told every step.

    Raises:
        TrainingError: the loss or its gradient is not finite, there are fewer images than a batch needs, or
            `augment.shift` moves images out of sight.
    """
    run = _Run(supernet, data, config, seed)
    state = load_state(state_file, key)
    if state is not None:
        run.restore(state)
    saved = time.monotonic()
    try:
        for step in range(run.step, run.steps):
            run.advance(step)
            if (step + 1) % run.check_every == 0 or step + 1 == run.steps:
                run.record(check)
            run.is_whole = True
            progress(step + 1, run.steps, run.describe())
            if time.monotonic() - saved > config.save_every:
                save_state(state_file, run.state(key))
                saved = time.monotonic()
    except KeyboardInterrupt:
        if run.is_whole:
            save_state(state_file, run.state(key))
        raise
    save_state(state_file, run.state(key))
    return run.curve


class _Run:
    """One training run: the optimiser and where it stands."""

    def __init__(self, supernet: Supernet, data: Examples, config: TrainingConfig, seed: int) -> None:
        self.supernet, self.data, self.config, self.seed = supernet, data, config, seed
        self.batches = len(data) // config.batch_size
        if not self.batches:
            raise TrainingError(
                f"{len(data)} training images are fewer than one batch of {config.batch_size}; "
                "set training.batch_size lower"
            )
        if config.augment.shift >= data.batch(torch.zeros(1, dtype=torch.int64), None).shape[-1]:
            raise TrainingError(
                f"training.augment.shift is {config.augment.shift} pixels, but images have only "
                f"{data.batch(torch.zeros(1, dtype=torch.int64), None).shape[-1]}; set it lower"
            )
        self.steps = max(1, round(self.batches * config.epochs))
        self.check_every = max(1, self.steps // 10)
        self.step = 0
        self.is_whole = True
        """Not in the middle of an update: what is here can be saved and continued."""
        self.curve: list[CurvePoint] = []
        self._loss_sum, self._loss_count = 0.0, 0
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))
        supernet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = _optimiser(supernet, config)

    def advance(self, step: int) -> None:
        """One optimiser step."""
        images, labels = self._batch(step)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * _schedule(step, self.steps, self.config.warmup)
        self.optimiser.zero_grad(set_to_none=False)
        with FastDepthwise(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mix(self.seed, step, 3))  # for dropout and its like
            loss = self._accumulate(images, labels, step)
        _check_finite("loss", loss, step, self)
        norm = float(torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), self.config.clip_norm))
        _check_finite("norm of the gradient", norm, step, self)
        self.is_whole = False
        self.optimiser.step()
        self.step = step + 1
        self._loss_sum, self._loss_count = self._loss_sum + loss, self._loss_count + 1

    def record(self, check: Check) -> None:
        """Add a point to the curve."""
        space = self.supernet.model_space.space
        alone = self.step <= self.steps * self.config.largest_only
        self.curve.append(
            CurvePoint(
                step=self.step,
                loss=self._loss_sum / max(1, self._loss_count),
                largest_accuracy=check(space.largest),
                smallest_accuracy=None if alone else check(space.smallest),
            )
        )
        self._loss_sum, self._loss_count = 0.0, 0

    def describe(self) -> str:
        """For the progress line."""
        if not self.curve:
            return "largest network alone"
        last = self.curve[-1]
        small = "" if last.smallest_accuracy is None else f", smallest {last.smallest_accuracy:.1%}"
        return f"held-out: largest {last.largest_accuracy:.1%}{small}"

    def state(self, key: str) -> TrainingState:
        """Everything a later process needs to go on."""
        tensors = {f"weights.{name}": value.detach() for name, value in self.supernet.named_parameters()}
        for name, parameter in self.supernet.named_parameters():
            buffer = self.optimiser.state[parameter].get("momentum_buffer")
            if buffer is not None:
                tensors[f"momentum.{name}"] = buffer
        curve = [(p.step, p.loss, p.largest_accuracy, p.smallest_accuracy) for p in self.curve]
        return TrainingState(
            key=key, step=self.step, tensors=tensors, curve=curve, loss=(self._loss_sum, self._loss_count)
        )

    def restore(self, state: TrainingState) -> None:
        """Go on from `state`."""
        with torch.no_grad():
            for name, parameter in self.supernet.named_parameters():
                parameter.copy_(state.tensors[f"weights.{name}"])
                if f"momentum.{name}" in state.tensors:
                    buffer = torch.empty_like(parameter).copy_(state.tensors[f"momentum.{name}"])
                    self.optimiser.state[parameter]["momentum_buffer"] = buffer
        self.step = state.step
        self._loss_sum, self._loss_count = state.loss
        self.curve = [
            CurvePoint(step=s, loss=loss, largest_accuracy=large, smallest_accuracy=small)
            for s, loss, large, small in state.curve
        ]

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """uint8 images (batch, 3, size, size) and labels (batch,) of a step."""
        epoch, index = divmod(step, self.batches)
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(_mix(self.seed, epoch, 0))
            self._order = (epoch, torch.randperm(len(self.data), generator=generator))
        size = self.config.batch_size
        chosen = self._order[1][index * size : (index + 1) * size]
        return self.data.batch(chosen, Draws(self.seed, epoch)), self.data.labels[chosen]

    def _accumulate(self, images: Tensor, labels: Tensor, step: int) -> float:
        """Add the gradients of all networks of this step; the loss of the largest is returned."""
        space = self.supernet.model_space.space
        logits = self._forward(images, space.largest)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        teacher = logits.detach().softmax(1)
        for subnet in self._students(step):
            student = self._forward(images, subnet)
            functional.kl_div(student.log_softmax(1), teacher, reduction="batchmean").backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _forward(self, images: Tensor, subnet: SubnetConfig) -> Tensor:
        x = self.data.to_input(images, self.supernet.model_space.input_shape(subnet))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            logits: Tensor = self.supernet(x, subnet)
        return logits.float()

    def _students(self, step: int) -> Iterator[SubnetConfig]:
        if step < self.steps * self.config.largest_only:
            return
        space = self.supernet.model_space.space
        rng = random.Random(_mix(self.seed, step, 2))
        yield space.smallest
        for _ in range(self.config.random_subnets):
            yield space.sample(rng)


def _check_finite(what: str, value: float, step: int, run: _Run) -> None:
    if not math.isfinite(value):
        raise TrainingError(
            f"the {what} is {value} at step {step + 1} of {run.steps}; "
            f"set training.learning_rate below {run.config.learning_rate}"
        )


def _optimiser(supernet: Supernet, config: TrainingConfig) -> torch.optim.SGD:
    weights = [p for p in supernet.parameters() if p.ndim > 1]
    others = [p for p in supernet.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)


def _schedule(step: int, steps: int, warmup: float) -> float:
    """Learning rate relative to its peak: linear up, then half a cosine down."""
    share = (step + 1) / steps
    if share < warmup:
        return share / warmup
    cosine = (1 + math.cos(math.pi * (share - warmup) / (1 - warmup))) / 2
    return _LAST_LEARNING_RATE + (1 - _LAST_LEARNING_RATE) * cosine


def _mix(*parts: int) -> int:
    """One seed out of several numbers."""
    return random.Random(":".join(map(str, parts))).getrandbits(63)
