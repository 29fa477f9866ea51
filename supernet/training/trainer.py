"""One optimiser step of a supernet, on one worker or many; everything random is derived from the seed and the step."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from factory_base.errors import TrainingError
from supernet.data.examples import Examples
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.training.config import TrainingConfig
from supernet.training.depthwise import FastDepthwise
from supernet.training.guard import check_finite
from supernet.training.optimizing import (
    make_optimiser,
    optimiser_tensors,
    restore_optimiser,
    schedule,
    set_learning_rate,
)
from supernet.training.sampling import Sampler
from supernet.training.sandwich import sandwich_gradients
from supernet.training.workers import Workers

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_EMA_WARMUP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Progression:
    """The numbers beside the weights that a later process needs to go on exactly."""

    step: int = 0
    """Finished steps."""
    drawn: int = 0
    """Random subnets drawn so far."""
    learning_rate_scale: float = 1.0
    """Halved by each roll-back."""
    gradient_scale: float = 65536.0
    """Of float16."""
    growth: int = 0
    """Steps since the gradient scale last changed."""


class Trainer:
    """A supernet in training.

    Args:
        supernet: trained in place, on the device of `workers`.
        examples: turns batches into inputs.
        config: the recipe.
        steps: of the whole run.
        seed: of everything random.
        workers: this process among its equals.
        sampler: of random subnets.
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
    ) -> None:
        self.supernet = supernet.to(workers.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.config, self.steps, self.seed, self.workers = config, steps, seed, workers
        self.now = Progression()
        self.is_whole = True
        """Whether what is here can be saved and continued: `advance` makes it false, its caller true again once it has
        recorded the step."""
        self._examples, self._sampler = examples, sampler
        self._optimiser = make_optimiser(supernet, config)
        self._scaler = torch.amp.GradScaler(workers.device.type, enabled=config.precision == "float16")
        space = supernet.model_space.space
        fixed = (space.largest, space.smallest) if config.compile else ()
        self._compiled = {subnet: _compiled(supernet, subnet) for subnet in fixed}
        self._ema: dict[str, Tensor] = {}
        if config.teacher == "ema":
            self._ema = {name: value.detach().clone() for name, value in supernet.largest.named_parameters()}

    @property
    def trains_alone(self) -> bool:
        """Whether the largest network trains alone at the coming step."""
        return self.now.step < self.steps * self.config.largest_only

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return float(self._optimiser.param_groups[0]["lr"])

    def advance(self, batch: Tensor, labels: Tensor) -> float:
        """One step on this worker's share of a batch, as `Examples.batch` gives it; the loss of the largest network.

        Raises:
            AstrayError: the loss or the gradient is not finite; the weights are as before.
        """
        step = self.now.step
        rate = self.config.learning_rate * self.now.learning_rate_scale
        set_learning_rate(self._optimiser, rate * schedule(step, self.steps, self.config.warmup))
        self._optimiser.zero_grad()
        students = self._students()
        size = self.config.micro_batch_size or len(labels)
        parts = list(zip(torch.split(batch, size), torch.split(labels, size), strict=True))
        losses = [self._gradients(*part, students, i, len(parts)) for i, part in enumerate(parts)]
        loss = torch.stack(losses).mean()
        self.workers.average([loss, *(p.grad for p in self.supernet.parameters() if p.grad is not None)])
        check_finite("loss", value := loss.item(), step, self.steps)
        self.is_whole = False
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
        """Weights (`weights.`), optimiser state (`optimizer.`) and running mean (`ema.`), by parameter name."""
        found = {f"weights.{name}": value.detach() for name, value in self.supernet.named_parameters()}
        optimiser = optimiser_tensors(self.supernet, self._optimiser)
        found |= {f"optimizer.{name}": value for name, value in optimiser.items()}
        return found | {f"ema.{name}": value for name, value in self._ema.items()}

    def restore(self, tensors: dict[str, Tensor], now: Progression) -> None:
        """Go on from what `tensors` gave, at `now`. Raises `KeyError` where something is missing."""
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}, "ema": {}}
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            parts[kind][name] = value.to(self.workers.device)
        with torch.no_grad():
            for name, parameter in self.supernet.named_parameters():
                parameter.copy_(parts["weights"][name])
            for name, mean in self._ema.items():
                mean.copy_(parts["ema"][name])
        restore_optimiser(self.supernet, self._optimiser, parts["optimizer"])
        self.now = now
        if self._scaler.is_enabled():  # a fresh one: trouble may have left the other between unscaling and its update
            self._scaler = torch.amp.GradScaler(self.workers.device.type)
            state = self._scaler.state_dict()
            self._scaler.load_state_dict(state | {"scale": now.gradient_scale, "_growth_tracker": now.growth})

    def _gradients(self, batch: Tensor, labels: Tensor, students: list[SubnetConfig], index: int, count: int) -> Tensor:
        """Add the gradients of micro-batch `index` of `count`, and give its loss."""
        batch = batch.to(self.workers.device, non_blocking=True)
        labels = labels.to(self.workers.device, non_blocking=True)
        devices = [self.workers.device] if self.workers.device.type == "cuda" else []
        with FastDepthwise(), torch.random.fork_rng(devices=devices):
            # for dropout and its like
            torch.manual_seed(mixed(self.seed, self.now.step, 1, self.workers.rank * count + index))
            return sandwich_gradients(
                lambda subnet: self._forward(batch, subnet),
                lambda loss: self._backward(loss / count),
                self.supernet.model_space.space.largest,
                students,
                labels,
                self.config,
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
        largest = self.supernet.largest.eval()  # without dropout; batch normalisation keeps no statistics to use
        logits = self._computed(
            batch, self.supernet.model_space.space.largest, lambda x: functional_call(largest, self._ema, (x,))
        )
        largest.train()
        return logits

    def _update(self) -> None:
        """Change the weights, unless float16 overflowed. Raises `AstrayError`."""
        self._scaler.unscale_(self._optimiser)
        norm = float(torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), self.config.clip_norm))
        if not self._scaler.is_enabled() or self._scaler.get_scale() < 1:
            self.is_whole = True
            check_finite("norm of the gradient", norm, self.now.step, self.steps)
            self.is_whole = False
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._ema:
            decay = min(self.config.ema_decay, (1 + self.now.step) / (_EMA_WARMUP + self.now.step))
            parameters = [value.detach() for value in self.supernet.largest.parameters()]
            torch._foreach_lerp_(list(self._ema.values()), parameters, 1 - decay)

    def _students(self) -> list[SubnetConfig]:
        """The networks beside the largest, the same on every worker."""
        if self.trains_alone:
            return []
        rng = random.Random(mixed(self.seed, self.now.step, 2))
        drawn = [self._sampler.sample(rng, self.now.drawn + i) for i in range(self.config.random_subnets)]
        return [self.supernet.model_space.space.smallest, *drawn]


def _compiled(supernet: Supernet, subnet: SubnetConfig) -> Callable[[Tensor], Tensor]:
    """`supernet(x, subnet)` through `torch.compile`, which compiles at the first call. Raises `TrainingError` then."""
    compiled = torch.compile(lambda x: supernet(x, subnet))

    def compute(x: Tensor) -> Tensor:
        try:
            output: Tensor = compiled(x)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).split())[:200]
            raise TrainingError(
                f"the network cannot be compiled ({reason}); install a C++ compiler, or set training.compile to false"
            ) from error
        return output

    return compute


def mixed(*parts: int) -> int:
    """One seed out of several numbers."""
    return random.Random(":".join(map(str, parts))).getrandbits(63)
