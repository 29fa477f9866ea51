"""One optimizer step of a supernet, on one or many workers. All random numbers follow from the seed and the step."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from factory_base.errors import TrainingError
from factory_base.foreign import one_line
from supernet.data.examples import Examples, Targets
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.tasks.task import Task
from supernet.training.config import TrainingConfig
from supernet.training.depthwise import FastDepthwise
from supernet.training.guard import check_finite
from supernet.training.optimizing import (
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    schedule,
    set_learning_rate,
    state_kinds,
)
from supernet.training.sampling import Sampler
from supernet.training.sandwich import sandwich_gradients
from supernet.training.tensor_file import misfit
from supernet.training.workers import Workers

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_EMA_WARMUP = 10
"""The decay of the moving average is at most (1 + step) / (10 + step), so that the average follows the first steps
closely. This is the rule of TensorFlow's `ExponentialMovingAverage` with `num_updates`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progression:
    """How far a run has come: the numbers, beside the tensors, that it needs to continue exactly."""

    step: int = 0
    """Number of finished steps."""
    drawn: int = 0
    """Number of random subnets drawn."""
    learning_rate_scale: float = 1.0
    """Factor on the learning rate, halved by each roll-back."""
    gradient_scale: float = 65536.0
    """Factor on float16 gradients. The default is the first scale of PyTorch's `GradScaler`."""
    growth: int = 0
    """Steps since the gradient scale last changed."""


class Trainer:
    """A supernet in training, its optimizer, and the numbers that belong to them.

    Args:
        supernet: The supernet, trained in place on the device of `workers`.
        examples: The examples, which turn batches into inputs.
        config: The recipe.
        steps: Number of steps of the whole run.
        seed: Seed of all random numbers.
        workers: The processes that train together.
        sampler: The sampler of random subnets.
        task: What the networks learn.
    """

    def __init__(
        self,
        supernet: Supernet,
        examples: Examples,
        config: TrainingConfig,
        *,
        steps: int,
        seed: int,
        workers: Workers,
        sampler: Sampler,
        task: Task,
    ) -> None:
        self.supernet = supernet.to(workers.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.config, self.steps, self.seed, self.workers = config, steps, seed, workers
        self.now = Progression()
        self.is_consistent = True
        """Whether the state can be saved. `advance` sets it to false, and the caller sets it to true again once it has
        recorded the step."""
        self._examples, self._sampler, self._task = examples, sampler, task
        self._optimizer = make_optimizer(supernet, config)
        self._scaler = torch.amp.GradScaler(workers.device.type, enabled=config.precision == "float16")
        space = supernet.model_space.space
        fixed = (space.largest, space.smallest) if config.compile else ()
        self._compiled = {subnet: _compiled(supernet, subnet) for subnet in fixed}
        self._ema: dict[str, Tensor] = {}
        if config.teacher == "ema":
            self._ema = {name: value.detach().clone() for name, value in supernet.largest.named_parameters()}

    @property
    def trains_alone(self) -> bool:
        """Whether the largest network trains alone in the next step."""
        return self.now.step < self.steps * self.config.largest_only

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def advance(self, batch: Tensor, targets: Targets) -> float:
        """Take one step.

        Args:
            batch: This worker's share of the batch, as `Examples.batch` returns it.
            targets: What these examples are to teach.

        Returns:
            The loss of the largest network, averaged over all workers.

        Raises:
            DivergenceError: The loss or the gradient is not finite. The weights are as before.
        """
        step = self.now.step
        rate = self.config.learning_rate * self.now.learning_rate_scale
        set_learning_rate(self._optimizer, rate * schedule(step, self.steps, self.config.warmup))
        self._optimizer.zero_grad()
        students = self._students()
        size = self.config.micro_batch_size or len(targets.labels)
        parts = list(zip(torch.split(batch, size), targets.split(size), strict=True))
        losses = [self._gradients(*part, students, i, len(parts)) for i, part in enumerate(parts)]
        loss = torch.stack(losses).mean()
        self.workers.average([loss, *(p.grad for p in self.supernet.parameters() if p.grad is not None)])
        check_finite("loss", value := loss.item(), step, self.steps)
        self.is_consistent = False
        self._update()
        self.now = Progression(
            step=step + 1,
            drawn=self.now.drawn + max(0, len(students) - 1),
            learning_rate_scale=self.now.learning_rate_scale,
            gradient_scale=self._scaler.state_dict().get("scale", self.now.gradient_scale),
            growth=self._scaler.state_dict().get("_growth_tracker", 0),
        )
        return value

    def tensors(self) -> dict[str, Tensor]:
        """Weights (`weights.`), optimizer state (`optimizer.`) and moving average (`ema.`), by parameter name."""
        found = {f"weights.{name}": value.detach() for name, value in self.supernet.named_parameters()}
        optimizer = optimizer_tensors(self.supernet, self._optimizer)
        found |= {f"optimizer.{name}": value for name, value in optimizer.items()}
        return found | {f"ema.{name}": value for name, value in self._ema.items()}

    def misfit(self, tensors: dict[str, Tensor]) -> str:
        """What is wrong with the first of `tensors` that `restore` cannot take, for people; "" if it can take all."""
        parameters = dict(self.supernet.named_parameters())
        expected: dict[str, Tensor] = {f"weights.{name}": value for name, value in parameters.items()}
        expected |= {f"ema.{name}": value for name, value in self._ema.items()}
        for name, value in parameters.items():  # a parameter that got no gradient yet has no state in the optimizer
            state = {f"optimizer.{kind}.{name}": like for kind, like in state_kinds(self.config, value).items()}
            expected |= state if state.keys() & tensors.keys() else {}
        return misfit(tensors, expected)

    def restore(self, tensors: dict[str, Tensor], now: Progression) -> None:
        """Continue from what the method `tensors` returned, at `now`. The tensors must fit, see `misfit`."""
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}, "ema": {}}
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            parts[kind][name] = value.to(self.workers.device)
        with torch.no_grad():
            for name, parameter in self.supernet.named_parameters():
                parameter.copy_(parts["weights"][name])
            for name, mean in self._ema.items():
                mean.copy_(parts["ema"][name])
        restore_optimizer(self.supernet, self._optimizer, parts["optimizer"])
        self.now = now
        if self._scaler.is_enabled():  # a new one: an error may have left the old one between unscaling and updating
            self._scaler = torch.amp.GradScaler(self.workers.device.type)
            state = self._scaler.state_dict()
            self._scaler.load_state_dict(state | {"scale": now.gradient_scale, "_growth_tracker": now.growth})

    def _gradients(
        self, batch: Tensor, targets: Targets, students: list[SubnetConfig], index: int, count: int
    ) -> Tensor:
        """Add the gradients of micro-batch `index` of `count`; returns its loss."""
        batch = batch.to(self.workers.device, non_blocking=True)
        targets = targets.to(self.workers.device)
        devices = [self.workers.device] if self.workers.device.type == "cuda" else []
        with FastDepthwise(), torch.random.fork_rng(devices=devices):
            # dropout and similar layers draw from the global generator
            torch.manual_seed(mixed(self.seed, self.now.step, 1, self.workers.rank * count + index))
            return sandwich_gradients(
                lambda subnet: self._forward(batch, subnet),
                lambda loss: self._backward(loss / count),
                self.supernet.model_space.space.largest,
                students,
                targets,
                self.config,
                self._task,
                teacher=(lambda: self._teacher(batch)) if self._ema else None,
            )

    def _backward(self, loss: Tensor) -> None:
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def _forward(self, batch: Tensor, subnet: SubnetConfig) -> Tensor:
        compute = self._compiled.get(subnet) or (lambda x: self.supernet(x, subnet))
        return self._computed(batch, subnet, compute)

    def _computed(self, batch: Tensor, subnet: SubnetConfig, compute: Callable[[Tensor], Tensor]) -> Tensor:
        x = self._examples.to_input(batch, self.supernet.model_space.input_shape(subnet))
        dtype = _DTYPES[self.config.precision]
        with torch.autocast(self.workers.device.type, dtype, enabled=dtype != torch.float32):
            logits = compute(x)
        return logits.float()

    @torch.no_grad()
    def _teacher(self, batch: Tensor) -> Tensor:
        largest = self.supernet.largest.eval()  # turns dropout off; batch normalisation uses batch statistics anyway
        logits = self._computed(
            batch, self.supernet.model_space.space.largest, lambda x: functional_call(largest, self._ema, (x,))
        )
        largest.train()
        return logits

    def _update(self) -> None:
        """Update the weights, unless float16 overflowed. Raises `DivergenceError`."""
        self._scaler.unscale_(self._optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), self.config.clip_norm))
        # the scaler lowers its scale after an overflow; at a scale below 1 the gradients themselves are to blame
        if not self._scaler.is_enabled() or self._scaler.get_scale() < 1:
            self.is_consistent = True
            check_finite("norm of the gradient", norm, self.now.step, self.steps)
            self.is_consistent = False
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._ema:
            decay = min(self.config.ema_decay, (1 + self.now.step) / (_EMA_WARMUP + self.now.step))
            parameters = [value.detach() for value in self.supernet.largest.parameters()]
            torch._foreach_lerp_(list(self._ema.values()), parameters, 1 - decay)

    def _students(self) -> list[SubnetConfig]:
        """The subnets to train beside the largest, the same on every worker."""
        if self.trains_alone:
            return []
        rng = random.Random(mixed(self.seed, self.now.step, 2))
        drawn = [self._sampler.sample(rng, self.now.drawn + i) for i in range(self.config.random_subnets)]
        return [self.supernet.model_space.space.smallest, *drawn]


def _compiled(supernet: Supernet, subnet: SubnetConfig) -> Callable[[Tensor], Tensor]:
    """`supernet(x, subnet)` through `torch.compile`. The first call compiles, or raises `TrainingError`."""
    compiled = torch.compile(lambda x: supernet(x, subnet))

    def compute(x: Tensor) -> Tensor:
        try:
            output: Tensor = compiled(x)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = one_line(error)
            raise TrainingError(
                f"the network cannot be compiled ({reason}); install a C++ compiler, or set training.compile to false"
            ) from error
        return output

    return compute


def mixed(*parts: int) -> int:
    """One seed made of several numbers: the seed of the run, step or epoch, purpose (0 order, 1 dropout, 2 subnets)."""
    return random.Random(":".join(map(str, parts))).getrandbits(63)
