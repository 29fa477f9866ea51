"""How fast is a training step of the sandwich rule, compared with elastic layers as they are usually written?

    python benchmarks/train_step.py
    python benchmarks/train_step.py --device cuda

A step trains the largest, the smallest and two random subnets of the once-for-all MobileNetV3 space (width 1.0): the
largest with labels, the others with its outputs, by SGD with clipped gradients. The product's side is its own trainer.
The other side is `elastic_layers.py`, eager, float32, channels first, with composed hard-swish. All sides train the
same subnets and take turns in one process. The random subnets are new at every step, so the product's step includes
building them.

On a CPU, CPU time is measured, so that other work on the machine matters little; on a GPU, wall-clock time. `causes`
adds the product's optimizations to the elastic layers one after the other.

`--quick` times 2 steps of each side instead of 9, in float32 only. `causes`, the ratios with the C library's default
handling of freed memory, and the comparison with a GPU's matrix product are left out.

Standard output ends with Markdown tables and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported

import torch
from common import environment, log, make_parser, parse_options
from elastic_layers import COMPOSED, LIBRARY, Activations, Active, ElasticMobileNet
from paired import ofa_space, spread
from torch import Tensor
from torch.nn import functional

from factory_base.errors import FactoryError
from supernet.data.examples import Targets
from supernet.data.image_examples import ImageExamples, Normalisation
from supernet.planning.memory import keep_freed_memory
from supernet.sharing.macs import count_macs
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.tasks import Classification
from supernet.training.config import TrainingConfig
from supernet.training.depthwise import FastDepthwise
from supernet.training.trainer import Trainer
from supernet.training.workers import one_worker

CLASSES, RANDOM_SUBNETS = 1000, 2
"""Of the once-for-all supernet and of the sandwich rule, as Yu et al. (2020) use it."""

GOAL = 2.0
"""The ratio to reach: if float32 does not, `ratio` is that of the fastest precision."""

MATMUL_SIZE = 8192
"""Height and width of the matrices whose product shows what a GPU can reach: large enough to keep any GPU busy."""

MEAN, STD = 127.5, 63.75
"""Of pixels from 0 to 255: half of the range and a quarter of it. Images are random, so any values do."""

NORMALISATION = Normalisation(mean=(MEAN / 255,) * 3, std=(STD / 255,) * 3)
DEFAULTS = {"cpu": (64, 64), "cuda": (256, 160)}
"""Batch and resolution: on a CPU a step takes seconds, a GPU is kept busy."""

PRODUCT = ("float32", "bfloat16")
"""Precisions of the product's side; the first one is its default."""

WARM_UPS = 3
"""Untimed calls before a GPU is timed, in which libraries choose their kernels."""

QUICK = {"repeats": 2}

Step = Callable[[int], None]
"""Trains one step with the random subnets of the repeat with the given number."""


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if the device is missing."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    try:
        result = measure(options)
    except FactoryError as error:
        log(f"error: {error}")
        return 1
    print_markdown(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--device", choices=[*DEFAULTS], default="cpu")
    parser.add_argument("--batch", type=int, help="images of a step; default 64, on a GPU 256")
    parser.add_argument("--resolution", type=int, help="pixels; default 64, on a GPU 160")
    parser.add_argument("--repeats", type=int, default=9, help="timed steps of each side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parse_options(parser, arguments, QUICK)
    batch, resolution = DEFAULTS[options.device]
    options.batch, options.resolution = options.batch or batch, options.resolution or resolution
    if options.batch < 2 or options.resolution < 32 or min(options.repeats, options.threads) < 1:
        parser.error("--batch must be at least 2, --resolution at least 32, --repeats and --threads at least 1")
    return options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All metrics. Raises `TrainingError` if the device is missing."""
    task, is_cpu = Task(options), options.device == "cpu"
    precisions = PRODUCT[:1] if options.quick else PRODUCT
    sides = {"elastic": elastic_step(task), **{name: product_step(task, name) for name in precisions}}
    before = timed(sides, options, "default handling of freed memory") if is_cpu and not options.quick else {}
    if is_cpu:
        keep_freed_memory()
    if not options.quick:
        sides |= optimizations(task)
    taken = timed(sides, options, "freed memory kept")
    ratios = {name: paired_ratios(taken, "elastic", name) for name in precisions}
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    chosen = "float32" if medians["float32"] >= GOAL else max(medians, key=lambda name: medians[name])
    return {
        "benchmark": "train_step",
        "quick": options.quick,
        "device": options.device if options.device == "cpu" else torch.cuda.get_device_name(),
        "batch": options.batch,
        "resolution": options.resolution,
        "repeats": options.repeats,
        "ratio": round(medians[chosen], 3),
        "ratio_precision": chosen,
        **{f"ratio_{name}": round(value, 3) for name, value in medians.items()},
        "ratio_spread": {name: spread(values) for name, values in ratios.items()},
        "images_per_second": {name: round(options.batch / statistics.median(taken[name]), 2) for name in taken},
        **({} if options.quick else details(taken, before, task, options)),
        **environment(options.seed),
    }


def details(
    taken: Mapping[str, list[float]], before: Mapping[str, list[float]], task: Task, options: argparse.Namespace
) -> dict[str, Any]:
    """What the quick form leaves out. On a CPU `before` has the steps before freed memory was kept, else nothing."""
    memory_or_peak = {"default_memory": default_memory(before)} if before else {"peak": peak(task, options)}
    return {"causes": causes(taken, before), **memory_or_peak}


class Task:
    """The images, labels and subnets that all sides train."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.seed = options.seed
        self.workers = one_worker(options.device)
        self.space = ofa_space(options.resolution)
        generator = torch.Generator().manual_seed(options.seed)
        shape = (options.batch, 3, options.resolution, options.resolution)
        self.images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(self.workers.device)
        self.labels = torch.randint(0, CLASSES, (options.batch,), generator=generator).to(self.workers.device)
        rng = random.Random(options.seed)
        self._drawn = [self.space.space.sample(rng) for _ in range((options.repeats + 1) * RANDOM_SUBNETS)]

    def drawn(self, repeat: int) -> list[SubnetConfig]:
        """The random subnets of the repeat with that number."""
        return self._drawn[repeat * RANDOM_SUBNETS :][:RANDOM_SUBNETS]


class Listed:
    """A sampler that returns `subnets` in turn. See `supernet.training.sampling.Sampler`."""

    def __init__(self) -> None:
        self.subnets: list[SubnetConfig] = []

    def sample(self, rng: random.Random, index: int) -> SubnetConfig:  # noqa: ARG002 - the signature of all samplers
        """The subnet at `index`, starting over after the last one."""
        return self.subnets[index % len(self.subnets)]


def product_step(task: Task, precision: str) -> Step:
    """A step of the product's trainer."""
    config = TrainingConfig.model_validate(
        {"epochs": 1, "largest_only": 0, "random_subnets": RANDOM_SUBNETS, "precision": precision}
    )
    sampler, workers = Listed(), task.workers
    examples = ImageExamples(images=task.images, labels=task.labels, normalisation=NORMALISATION)
    supernet = Supernet(task.space, task.seed)
    steps = 1000  # of the learning rate's schedule, on which the time of a step does not depend
    trainer = Trainer(
        supernet,
        examples,
        config,
        steps=steps,
        seed=task.seed,
        workers=workers,
        sampler=sampler,
        task=Classification(names=()),
    )
    batch = examples.batch(torch.arange(len(task.labels)), None)

    def step(repeat: int) -> None:
        sampler.subnets = task.drawn(repeat)
        trainer.advance(batch, Targets(task.labels))

    return step


def elastic_step(task: Task, activations: Activations = COMPOSED, channels_last: bool = False) -> Step:
    """A step of the elastic layers with the same recipe. The inputs are normalised beforehand."""
    torch.manual_seed(task.seed)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    net = ElasticMobileNet(CLASSES, activations).to(task.workers.device, memory_format=memory_format).train()
    # The rate does not change the time of a step; all else is what the product's trainer does by default.
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, nesterov=True, weight_decay=5e-4)
    x = ((task.images.float() - MEAN) / STD).contiguous(memory_format=memory_format)
    space = task.space.space

    def step(repeat: int) -> None:
        optimizer.zero_grad()
        net.activate(Active.of(space.largest.to_dict()))
        logits = net(x)
        functional.cross_entropy(logits, task.labels, label_smoothing=0.1).backward()
        target = logits.detach().softmax(1)
        for subnet in (space.smallest, *task.drawn(repeat)):
            net.activate(Active.of(subnet.to_dict()))
            functional.kl_div(net(x).log_softmax(1), target, reduction="batchmean").backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()

    return step


def optimizations(task: Task) -> dict[str, Step]:
    """The elastic layers with the product's optimizations, each on top of those before it."""
    channels_last = elastic_step(task, LIBRARY, channels_last=True)

    def with_gradients(repeat: int) -> None:
        with FastDepthwise():
            channels_last(repeat)

    sides: dict[str, Step] = {"library activations": elastic_step(task, LIBRARY), "channels last": channels_last}
    return sides | ({"depthwise gradients": with_gradients} if task.workers.device.type == "cpu" else {})


def timed(sides: Mapping[str, Step], options: argparse.Namespace, title: str) -> dict[str, list[float]]:
    """Seconds of every step of each side. All sides take turns, in changing order, after one untimed step of each."""
    clock = time.process_time if options.device == "cpu" else _device_clock
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(options.repeats + 1):
        for name in reversed(sides) if repeat % 2 else sides:
            gc.collect()
            started = clock()
            sides[name](repeat)
            seconds = clock() - started
            if repeat:
                taken[name].append(seconds)
        state = ", ".join(f"{name} {statistics.median(values):.3f} s" for name, values in taken.items() if values)
        log(f"{title}: {repeat}/{options.repeats} {state}")
    return taken


def _device_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def paired_ratios(taken: Mapping[str, list[float]], slow: str, fast: str) -> list[float]:
    """How many times as fast as `slow` the side `fast` is, for each repeat."""
    return [one / other for one, other in zip(taken[slow], taken[fast], strict=True)]


def causes(taken: Mapping[str, list[float]], before: Mapping[str, list[float]]) -> dict[str, float]:
    """The gain of each optimization over those before it; that of kept memory is for the product in float32."""
    ladder = ["elastic", *(name for name in taken if name not in ("elastic", *PRODUCT)), *PRODUCT]
    names = {"float32": "slices instead of elastic layers", "bfloat16": "bfloat16"}
    found = {
        names.get(name, name): statistics.median(paired_ratios(taken, earlier, name))
        for earlier, name in pairwise(ladder)
    }
    if before:
        found["kept memory"] = statistics.median(before["float32"]) / statistics.median(taken["float32"])
    return {name: round(value, 3) for name, value in found.items()}


def default_memory(before: Mapping[str, list[float]]) -> dict[str, float]:
    """The ratios with the C library's default handling of freed memory."""
    return {f"ratio_{name}": round(statistics.median(paired_ratios(before, "elastic", name)), 3) for name in PRODUCT}


def peak(task: Task, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """How close the largest network's forward and backward pass comes to the device's own dense matrix product."""
    macs = count_macs(task.space, task.space.space.largest)
    operations = 3 * 2 * macs * options.batch  # 2 per MAC; the backward pass takes twice as many as the forward pass
    found = {}
    for precision in PRODUCT:
        dtype = getattr(torch, precision)
        square = torch.randn(MATMUL_SIZE, MATMUL_SIZE, device=task.workers.device, dtype=dtype)
        rates = {
            "matmul_tflops": 2 * MATMUL_SIZE**3 / _median_seconds(lambda a=square: a @ a, options.repeats) / 1e12,
            "largest_tflops": operations / _median_seconds(_largest_pass(task, dtype), options.repeats) / 1e12,
        }
        rates["peak_share"] = rates["largest_tflops"] / rates["matmul_tflops"]
        found[precision] = {name: round(value, 4) for name, value in rates.items()}
    return found


def _largest_pass(task: Task, dtype: torch.dtype) -> Callable[[], Any]:
    supernet = Supernet(task.space, task.seed).to(task.workers.device, memory_format=torch.channels_last).train()
    x: Tensor = ((task.images.float() - MEAN) / STD).contiguous(memory_format=torch.channels_last)

    def compute() -> None:
        supernet.zero_grad()
        with torch.autocast(task.workers.device.type, dtype, enabled=dtype != torch.float32):
            logits = supernet(x, task.space.space.largest)
        functional.cross_entropy(logits.float(), task.labels).backward()

    return compute


def _median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median wall-clock seconds on the device, after `WARM_UPS` untimed calls."""
    taken = []
    for repeat in range(-WARM_UPS, repeats):
        started = _device_clock()
        work()
        if repeat >= 0:
            taken.append(_device_clock() - started)
    return statistics.median(taken)


def print_markdown(result: dict[str, Any]) -> None:
    """The tables for `benchmarks/README.md`."""
    unit = "images per CPU second" if result["device"] == "cpu" else "images per second"
    print(f"| side | {unit} | over the elastic layers, median (range) |")
    print("|---|--:|--:|")
    print(f"| elastic layers, float32 | {result['images_per_second']['elastic']:.1f} | 1 |")
    for name, found in result["ratio_spread"].items():
        cell = f"{found['median']:.2f} ({found['min']:.2f}-{found['max']:.2f})"
        print(f"| product, {name} | {result['images_per_second'][name]:.1f} | {cell} |")
    if "causes" in result:
        print("\n| optimization, on top of those before | times as fast |")
        print("|---|--:|")
        for name, value in result["causes"].items():
            print(f"| {name} | {value:.2f} |")
    if result["ratio_float32"] < GOAL:
        print(f"\n`ratio` is that of {result['ratio_precision']}; that of the default, float32, is `ratio_float32`.")
    print()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
