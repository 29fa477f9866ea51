"""Is a family from one supernet as good as if each tier had been trained alone, and what does it cost?

    python benchmarks/quality_cifar10.py --data PATH/cifar10 --work /tmp/quality

Trains the supernet once and then each tier a little further on its own, as a build with a `finetune` section does. Also
trains each tier alone for as many epochs as the supernet, with hard labels and three learning rates, of which the best
on held-out images counts; more networks alone, to compare rankings; and the largest network scaled in width, with as
many core-seconds as the family. All are judged on the same 10,000 test images, in pairs. The tiers and the networks to
rank are named by a seeded rule before anything is trained. Every training run is a process of its own with one thread,
`--processes` at a time. Finished runs are kept in `--work`, so an interrupted benchmark can be resumed.

`--quick` does the same on 1,000 training images for one epoch (7 steps) and on 500 test images, with 2 tiers instead of
5, one learning rate, 2 further networks instead of 6 and 2 widths instead of 5, one after the other in this process.
Without `--work` it keeps nothing. After 7 steps accuracies are near chance (10 %), so no metric says anything about
quality or rankings, and it prints that it is not a result. What it measures is the core-seconds of each part, and that
every part works.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import environment, log, make_parser, parse_options
from numpy.typing import NDArray
from quality_metrics import print_markdown, summary
from quality_networks import (
    FULL,
    MODEL,
    QUICK_EXTENT,
    RESOLUTION,
    Extent,
    best_within_budgets,
    fixed,
    macs,
    make_space,
    named_networks,
    one_network,
    scaled,
    scaled_macs,
)

from factory_base.files import digest_of, write_bytes, write_text

COMMON: dict[str, Any] = {
    "batch_size": 128,
    "augment": {"flip": True, "shift": 4},
}
FAMILY: dict[str, Any] = {
    "learning_rate": 0.3,
    "largest_only": 0.4,
    "random_subnets": 1,
    "sampler": "macs",
    "subnet_weight": 0.4,
}
FINETUNE: dict[str, Any] = {"epochs": 1.0, "learning_rate": 0.05}
"""The recipes were chosen on held-out images; the README has what was tried."""

SMALL_SHARE = 0.5
"""Networks below this share of the largest one's MACs are trained alone with less regularisation: they overfit less."""

LOG_SECONDS = 10
"""Between lines of progress in the log of a training run."""

QUICK = {"epochs": 1.0, "limit": 1000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training run in a process of its own.

    Attributes:
        kind: `family` or `alone`.
        model: The `model` section; for a network trained alone, what `fixed` returns.
        training: The `training` section.
        seed: Seed of everything random.
        networks: The subnets of a family to judge, as JSON.
        tiers: How many of `networks`, from the first on, are fine-tuned.
        finetune: The `finetune` section of a family; empty for no fine-tuning.
    """

    kind: str
    model: dict[str, Any]
    training: dict[str, Any]
    seed: int
    networks: tuple[dict[str, Any], ...] = ()
    tiers: int = 0
    finetune: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything that shapes the result."""
        return {name: getattr(self, name) for name in self.__slots__}


def main(arguments: list[str]) -> int:
    """Run the benchmark, or one job of it."""
    options = parse(arguments)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.job:
        run_job(Job(**json.loads(options.job)), options)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        options.work = options.work or Path(temporary)
        measure(options)
    return 0


def measure(options: argparse.Namespace) -> None:
    """Train and judge everything, and print the results."""
    options.work.mkdir(parents=True, exist_ok=True)
    prepare_data(options)
    results = [one_seed(seed, options) for seed in options.seeds]
    labels = np.load(data_file(options))["test_labels"]
    result = {"benchmark": "quality_cifar10", "quick": options.quick, **summary(results, labels)}
    result |= {
        "epochs": options.epochs,
        "family": options.family,
        "finetune": options.finetune,
        **environment(options.seeds[0]),
    }
    result |= {"seeds": options.seeds}
    print_markdown(result, results, labels)
    if options.quick:
        print("\nNot a result: in the quick form networks are hardly trained, so accuracies are near chance.\n")
    print(json.dumps(result))


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.parquet and test.parquet")
    parser.add_argument("--work", type=Path, help="where finished training runs are kept; --quick works without it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--family", type=json.loads, default={}, help="changes to the family's recipe, as JSON")
    parser.add_argument("--finetune", type=json.loads, default=FINETUNE, help="as JSON; {} for no fine-tuning")
    parser.add_argument("--processes", type=int, default=2, help="training runs at a time; --quick has one")
    parser.add_argument("--limit", type=int, help="use only this many training images, for trials")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parse_options(parser, arguments, QUICK)
    if options.work is None and not options.quick:
        parser.error(
            "name a folder with --work: the full form takes more than an hour per seed, and resumes from there"
        )
    return options


def extent_of(options: argparse.Namespace) -> Extent:
    """How much the chosen form trains."""
    return QUICK_EXTENT if options.quick else FULL


def one_seed(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """All training runs of one seed, and their results."""
    extent, space = extent_of(options), make_space(MODEL)
    tiers, others = named_networks(space, extent)
    training = {**COMMON, "epochs": options.epochs}
    first = [family_job(tiers, others, training, options, seed)]
    first += [alone_job(t, space, training, rate, seed) for t in tiers for rate in extent.learning_rates]
    family, *alone = run_all(first, options)
    rates = len(extent.learning_rates)
    best = [max(alone[i * rates : (i + 1) * rates], key=lambda r: r["heldout"]) for i in range(len(tiers))]
    sizes = [macs(space, t) for t in tiers]
    second = [alone_job(o, space, training, nearest_rate(macs(space, o), sizes, best), seed) for o in others]
    epochs = equal_cost_epochs(family, alone, options)
    baseline = training | {"epochs": epochs, "learning_rate": best[0]["learning_rate"], "largest_only": 1.0}
    second += [Job(kind="alone", model=fixed(scaled(w)), training=baseline, seed=seed) for w in extent.widths]
    more = run_all(second, options)
    return {
        "seed": seed,
        "macs": [macs(space, s) for s in (*tiers, *others)],
        "tiers": len(tiers),
        "bands": [extent.tier_shares.index(band) for band in extent.bands],
        "family": family,
        "alone": [*best, *more[: len(others)]],
        "widths": more[len(others) :],
        "largest_alone_core_seconds": [r["core_seconds"] for r in alone[:rates]],
    }


def family_job(
    tiers: Sequence[Any], others: Sequence[Any], training: dict[str, Any], options: argparse.Namespace, seed: int
) -> Job:
    """The supernet, whose tiers are fine-tuned."""
    return Job(
        kind="family",
        model=MODEL,
        training=training | FAMILY | options.family,
        seed=seed,
        networks=tuple(dict(subnet.values) for subnet in (*tiers, *others)),
        tiers=len(tiers),
        finetune=options.finetune,
    )


def alone_job(subnet: Any, space: Any, training: dict[str, Any], rate: float, seed: int) -> Job:
    """One network alone; small ones with less regularisation."""
    small = macs(space, subnet) < SMALL_SHARE * macs(space, space.space.largest)
    recipe = {"learning_rate": rate, "largest_only": 1.0, "label_smoothing": 0.0 if small else 0.1,
              "weight_decay": 2e-4 if small else 5e-4}  # fmt: skip
    return Job(kind="alone", model=fixed(MODEL, dict(subnet.values)), training=training | recipe, seed=seed)


def nearest_rate(size: int, sizes: Sequence[int], best: Sequence[dict[str, Any]]) -> float:
    """The learning rate that was best for the tier of the nearest size."""
    index = min(range(len(sizes)), key=lambda i: abs(math.log(size / sizes[i])))
    return float(best[index]["learning_rate"])


def equal_cost_epochs(family: dict[str, Any], alone: Sequence[dict[str, Any]], options: argparse.Namespace) -> float:
    """Epochs with which all widths together cost what the family costs, with one learning rate each.

    The cost of a width is estimated from its MACs, by interpolation between the networks trained alone.
    """
    known = sorted((r["macs"], r["core_seconds"] / options.epochs) for r in alone)
    sizes, costs = zip(*known, strict=True)
    total = sum(np.interp(scaled_macs(width), sizes, costs) for width in extent_of(options).widths)
    return round(float(family["core_seconds"]["total"] / total), 2)


def run_all(jobs: Sequence[Job], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The results of `jobs`, in order. Jobs without a result run in processes of their own; in the quick form, here."""
    started, done = time.monotonic(), 0

    def run(job: Job) -> dict[str, Any]:
        nonlocal done
        path = result_file(job, options)
        if not path.is_file() and options.quick:
            run_job(job, options)
        elif not path.is_file():
            command = [sys.executable, __file__, *sys.argv[1:], "--job", json.dumps(job.to_json())]
            log_file = path.with_suffix(".log")
            with log_file.open("wb") as stream:
                if subprocess.run(command, stdout=stream, stderr=stream, check=False).returncode:
                    raise SystemExit(f"error: a training run failed; see {log_file}")
        done += 1
        log(f"{done}/{len(jobs)} training runs, {time.monotonic() - started:.0f} s")
        return {**json.loads(path.read_text()), "file": str(path)}

    with ThreadPoolExecutor(1 if options.quick else options.processes) as pool:
        return list(pool.map(run, jobs))


def result_file(job: Job, options: argparse.Namespace) -> Path:
    """The file of the result of `job`."""
    quick = {"quick": True} if options.quick else {}
    name = digest_of({**job.to_json(), "limit": options.limit, **quick})[:16]
    return Path(options.work) / f"{job.kind}-{job.seed}-{name}.json"


def data_file(options: argparse.Namespace) -> Path:
    """The file of decoded images."""
    return Path(options.work) / f"data-{options.limit}{'-quick' if options.quick else ''}.npz"


def prepare_data(options: argparse.Namespace) -> None:
    """Decode the images once, for all processes. This does not count as a cost of anything."""
    from supernet.data.config import DataConfig
    from supernet.data.sources import load_splits

    path = data_file(options)
    if path.is_file():
        return
    section = {"source": "parquet", "path": "train.parquet", "test_path": "test.parquet", "image_size": RESOLUTION}
    splits = load_splits(DataConfig(**section, limit=options.limit), options.data.resolve(), 0)
    arrays = {
        f"{n}_{k}": getattr(getattr(splits, n), k) for n in ("train", "heldout", "test") for k in ("images", "labels")
    }
    for key in ("test_images", "test_labels"):
        arrays[key] = arrays[key][: extent_of(options).test_images]
    with path.open("wb") as stream:
        np.savez(stream, mean=splits.mean, std=splits.std, **arrays)


def run_job(job: Job, options: argparse.Namespace) -> None:
    """Train, judge, and write the result to its file."""
    import torch

    from supernet.planning.memory import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    path = result_file(job, options)
    run = JobRun(job, options)
    result, predictions = run.family() if job.kind == "family" else run.alone()
    write_bytes(path.with_suffix(".npy"), predictions.tobytes())
    write_text(path, json.dumps({**result, "subnets": len(predictions)}))


class JobRun:
    """One running job, with its data, its supernet, and the core-seconds that it takes."""

    def __init__(self, job: Job, options: argparse.Namespace) -> None:
        from supernet.sharing.supernet import Supernet
        from supernet.training.config import TrainingConfig

        self.job, self.options, self.extent = job, options, extent_of(options)
        self.config = TrainingConfig.model_validate(job.training)
        self.space = make_space(job.model) if job.kind == "family" else one_network(job.model)
        self.supernet = Supernet(self.space, job.seed)
        stored = np.load(data_file(options))
        self.splits = {name: self._examples(stored, name) for name in ("train", "heldout", "test")}

    def family(self) -> tuple[dict[str, Any], NDArray[np.int8]]:
        """Train the supernet, score, pick, export and fine-tune; judge the named networks and the picks."""
        from device_profiles.workload.workloads import Workloads
        from search.design import shared_subnets

        spent = {"training": self._train(self.supernet, self.config)}
        start = time.process_time()
        subnets = shared_subnets(self.space.space, Workloads(self.space), self.extent.scored, self.job.seed)
        scores = {s: self._accuracy(s, "heldout") for s in subnets}
        picks = best_within_budgets(self.space, scores, self.extent.picks)
        spent["scoring"] = time.process_time() - start
        start = time.process_time()
        for subnet in picks:
            self._export(subnet)
        spent["export"] = time.process_time() - start
        named = [self.space.space.subnet(values) for values in self.job.networks]
        start = time.process_time()
        own = [self._finetuned(subnet) for subnet in named[: self.job.tiers]] if self.job.finetune else []
        spent["finetuning"] = time.process_time() - start
        predictions = np.stack(
            [
                *(self._predict(subnet, "test") for subnet in (*named, *picks)),
                *(self._predict(subnet, "test", alone) for subnet, alone in zip(named, own, strict=False)),
            ]
        )
        result = {
            "core_seconds": {**spent, "total": sum(spent.values())},
            "accuracy": self._accuracies(predictions),
            "heldout": [self._accuracy(s, "heldout") for s in named],
            "heldout_finetuned": [self._accuracy(s, "heldout", a) for s, a in zip(named, own, strict=False)],
            "pick_macs": [macs(self.space, s) for s in picks],
            "scored": len(scores),
        }
        return result, predictions

    def alone(self) -> tuple[dict[str, Any], NDArray[np.int8]]:
        """Train and judge one network."""
        seconds = self._train(self.supernet, self.config)
        subnet = self.space.space.largest
        predictions = self._predict(subnet, "test")[None]
        result = {
            "core_seconds": seconds,
            "accuracy": self._accuracies(predictions)[0],
            "heldout": self._accuracy(subnet, "heldout"),
            "learning_rate": self.config.learning_rate,
            "macs": macs(self.space, subnet),
        }
        return result, predictions

    def _finetuned(self, subnet: Any) -> Any:
        """A supernet that consists of `subnet` alone, fine-tuned."""
        from supernet.training.finetune import separated
        from supernet.training.finetune_config import FinetuneConfig

        alone = separated(self.supernet, subnet)
        self._train(alone, FinetuneConfig.model_validate(self.job.finetune).recipe(self.config))
        return alone

    def _train(self, supernet: Any, config: Any) -> float:
        from supernet.training.training import good_state_file, train

        state = result_file(self.job, self.options).with_suffix(".safetensors")
        key = digest_of([config.model_dump(mode="json"), supernet.model_space.space.to_json()])
        start = time.process_time()
        train(
            supernet, self.splits["train"], config, seed=self.job.seed, state_file=state, key=key,
            check=lambda s: self._accuracy(s, "heldout", supernet), progress=ProgressLines(),
        )  # fmt: skip
        seconds = time.process_time() - start
        for path in (state, good_state_file(state)):
            path.unlink(missing_ok=True)
        return seconds

    def _calibrated(self, subnet: Any, supernet: Any = None) -> Any:
        import torch

        from supernet.data.examples import ExampleInputs
        from supernet.evaluation.evaluation import recalibrate

        rows = torch.randperm(len(self.splits["train"]), generator=torch.Generator().manual_seed(0))
        rows = rows[: self.extent.calibration_images]
        inputs = ExampleInputs(self.splits["train"], self.space.input_shape(subnet), rows)
        return recalibrate((supernet or self.supernet).extract(subnet), inputs)

    def _predict(self, subnet: Any, split: str, supernet: Any = None) -> NDArray[np.int8]:
        from supernet.data.examples import ExampleInputs
        from supernet.evaluation.evaluation import predict

        inputs = ExampleInputs(self.splits[split], self.space.input_shape(subnet))
        return predict(self._calibrated(subnet, supernet), inputs).astype(np.int8)

    def _accuracy(self, subnet: Any, split: str, supernet: Any = None) -> float:
        return float((self._predict(subnet, split, supernet) == self.splits[split].labels.numpy()).mean())

    def _accuracies(self, predictions: NDArray[np.int8]) -> list[float]:
        return [float(a) for a in (predictions == self.splits["test"].labels.numpy()).mean(1)]

    def _export(self, subnet: Any) -> None:
        from exports.engines import get_engine

        path = result_file(self.job, self.options).with_suffix(".onnx")
        get_engine("onnxruntime").convert(self._calibrated(subnet), self.space.input_shape(subnet), path)
        path.unlink()

    def _examples(self, stored: Any, name: str) -> Any:
        import torch

        from supernet.data.image_examples import ImageExamples, Normalisation

        return ImageExamples(
            images=torch.from_numpy(stored[f"{name}_images"]),
            labels=torch.from_numpy(stored[f"{name}_labels"]),
            normalisation=Normalisation(mean=tuple(stored["mean"].tolist()), std=tuple(stored["std"].tolist())),
            augmentation=self.config.augment,
        )


class ProgressLines:
    """A progress listener that prints a line from time to time."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """See `Progress`."""
        if time.monotonic() > self._next:
            self._next = time.monotonic() + LOG_SECONDS
            log(f"{done}/{total} {detail} {time.process_time():.0f} core-seconds")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
