"""Is a family from one supernet as good as if each tier had been trained alone, and what does it cost?

    python benchmarks/quality_cifar10.py --data PATH/cifar10 --work /tmp/quality

Trains the supernet once, and each tier a little further on its own, as a build with a `finetune` section does; trains
each tier alone for as many epochs as the supernet with hard labels, three learning rates each, the best on held-out
images; trains more networks alone to compare rankings; trains the largest network scaled in width with as many
core-seconds as the family. Everything is judged on the same 10,000 test images, paired. Tiers and the networks
of the ranking are named by a seeded rule before anything is trained. Every training is a process of its own with one
thread, `--processes` at a time; finished ones are kept in `--work`, so an interrupted benchmark goes on.

The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paired import surroundings
from quality_figures import print_markdown, summary

from factory_base.files import digest_of, write_bytes, write_text

RESOLUTION = 32
LEARNING_RATES = (0.15, 0.3, 0.6)
WIDTHS = (1.0, 0.75, 0.55, 0.4, 0.25)
PICKS = 10
SHARED_SUBNETS = 32
CALIBRATION_IMAGES = 2000
TIER_SHARES = (1.0, 0.58, 0.34, 0.2, 0.125)
"""Of the largest network's MACs."""
BANDS = (0.34, 0.2)
"""Of the largest network's MACs: where rankings among networks of one size are compared."""
PER_BAND = 3

MODEL: dict[str, Any] = {
    "space": "mobilenet",
    "resolutions": [32],
    "stem_width": 8,
    "stem_stride": 2,
    "stages": [
        {"widths": [8, 16], "depths": [1], "kernels": [3], "expands": [1], "stride": 1},
        {"widths": [16, 24, 32], "depths": [1, 2], "kernels": [3], "expands": [2, 3], "stride": 2},
        {"widths": [24, 32, 48, 64], "depths": [1, 2], "kernels": [3], "expands": [2, 3, 4], "stride": 1},
        {"widths": [32, 48, 64, 96], "depths": [1, 2], "kernels": [3], "expands": [2, 3, 4], "stride": 2},
    ],
    "head_width": 192,
}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training in a process of its own.

    Attributes:
        kind: `family` or `alone`.
        model: the `model` section; of a network trained alone, with one option per choice.
        training: the `training` section.
        seed: of everything random.
        networks: of a family, the subnets to judge, as JSON.
        tiers: how many of these, from the first, are fine-tuned.
        finetune: the `finetune` section of a family; empty for none.
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
    options.work.mkdir(parents=True, exist_ok=True)
    prepare_data(options)
    results = [one_seed(seed, options) for seed in options.seeds]
    labels = np.load(options.work / f"data-{options.limit}.npz")["test_labels"]
    result = {"benchmark": "quality_cifar10", **summary(results, labels)}
    result |= {
        "epochs": options.epochs,
        "family": options.family,
        "finetune": options.finetune,
        **surroundings(options.seeds[0]),
    }
    result |= {"seeds": options.seeds}
    print_markdown(result, results, labels)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.parquet and test.parquet")
    parser.add_argument("--work", type=Path, required=True, help="where finished trainings are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--family", type=json.loads, default={}, help="changes to the family's recipe, as JSON")
    parser.add_argument("--finetune", type=json.loads, default=FINETUNE, help="as JSON; {} for none")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time")
    parser.add_argument("--limit", type=int, help="use so many training images only, for trials")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def one_seed(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """All trainings of one seed, and what they show."""
    space = make_space(MODEL)
    tiers, others = named_networks(space)
    networks = tuple(dict(subnet.values) for subnet in (*tiers, *others))
    training = {**COMMON, "epochs": options.epochs}
    recipe = training | FAMILY | options.family
    first = [
        Job(
            kind="family",
            model=MODEL,
            training=recipe,
            seed=seed,
            networks=networks,
            tiers=len(tiers),
            finetune=options.finetune,
        )
    ]
    first += [alone_job(t, space, training, rate, seed) for t in tiers for rate in LEARNING_RATES]
    family, *alone = run_all(first, options)
    best = [max(alone[i * 3 : i * 3 + 3], key=lambda r: r["heldout"]) for i in range(len(tiers))]
    sizes = [macs(space, t) for t in tiers]
    second = [alone_job(o, space, training, nearest_rate(macs(space, o), sizes, best), seed) for o in others]
    epochs = equal_cost_epochs(family, alone, options)
    baseline = training | {"epochs": epochs, "learning_rate": best[0]["learning_rate"], "largest_only": 1.0}
    second += [Job(kind="alone", model=fixed(scaled(w)), training=baseline, seed=seed) for w in WIDTHS]
    more = run_all(second, options)
    return {
        "seed": seed,
        "macs": [macs(space, s) for s in (*tiers, *others)],
        "tiers": len(tiers),
        "bands": [TIER_SHARES.index(band) for band in BANDS],
        "family": family,
        "alone": [*best, *more[: len(others)]],
        "widths": more[len(others) :],
        "largest_alone_core_seconds": [r["core_seconds"] for r in alone[:3]],
    }


def named_networks(space: Any) -> tuple[list[Any], list[Any]]:
    """The tiers, and further networks within 10 % of two tiers' MACs, by a rule that looks at sizes only.

    A tier is the network of its size whose choices lie closest to one common level.
    """
    rng = random.Random(0)
    pool = sorted({level_subnet(space.space, i / 999, rng) for i in range(1000)})
    sizes = {subnet: macs(space, subnet) for subnet in pool}
    largest = macs(space, space.space.largest)
    tiers = []
    for share in TIER_SHARES:
        near = [s for s in pool if abs(sizes[s] / (share * largest) - 1) < 0.05]
        tiers.append(space.space.largest if share == 1 else min(near, key=lambda s: (unevenness(space.space, s), s)))
    others = []
    for band in BANDS:
        centre = sizes[tiers[TIER_SHARES.index(band)]]
        near = [s for s in pool if abs(sizes[s] / centre - 1) <= 0.1 and s not in tiers and s not in others]
        others += rng.sample(near, PER_BAND)
    return tiers, others


def level_subnet(space: Any, level: float, rng: random.Random) -> Any:
    """A subnet whose choices scatter around `level`, 0 the smallest and 1 the largest."""
    at = {c.name: min(1.0, max(0.0, level + rng.uniform(-0.5, 0.5))) for c in space}
    return space.subnet({c.name: c.options[round(at[c.name] * (len(c.options) - 1))] for c in space})


def unevenness(space: Any, subnet: Any) -> float:
    """The variance of the choices' levels."""
    indices = space.encode(subnet)
    levels = [i / (len(c.options) - 1) for c, i in zip(space, indices, strict=True) if len(c.options) > 1]
    return float(np.var(levels))


def alone_job(subnet: Any, space: Any, training: dict[str, Any], rate: float, seed: int) -> Job:
    """One tier alone; the small half gets less regularisation, as fits its size."""
    small = macs(space, subnet) < 0.5 * macs(space, space.space.largest)
    recipe = {"learning_rate": rate, "largest_only": 1.0, "label_smoothing": 0.0 if small else 0.1,
              "weight_decay": 2e-4 if small else 5e-4}  # fmt: skip
    return Job(kind="alone", model=fixed(MODEL, dict(subnet.values)), training=training | recipe, seed=seed)


def fixed(model: dict[str, Any], subnet: dict[str, Any] | None = None) -> dict[str, Any]:
    """The model section and the one subnet that is built; by default the largest."""
    return {"section": model, "subnet": subnet}


def scaled(width: float) -> dict[str, Any]:
    """The largest network with every width but the input's times `width`, to multiples of 8."""
    stages = [
        {**stage, **{k: [max(8, round(stage[k][-1] * width / 8) * 8)] for k in ["widths"]}} for stage in MODEL["stages"]
    ]
    stages = [
        {**s, "depths": s["depths"][-1:], "kernels": s["kernels"][-1:], "expands": s["expands"][-1:]} for s in stages
    ]
    head, stem = (max(8, round(MODEL[k] * width / 8) * 8) for k in ("head_width", "stem_width"))
    return {**MODEL, "resolutions": [RESOLUTION], "stages": stages, "head_width": head, "stem_width": stem}


def nearest_rate(size: int, sizes: Sequence[int], best: Sequence[dict[str, Any]]) -> float:
    """The learning rate that was best for the tier of the nearest size."""
    index = min(range(len(sizes)), key=lambda i: abs(math.log(size / sizes[i])))
    return float(best[index]["learning_rate"])


def equal_cost_epochs(family: dict[str, Any], alone: Sequence[dict[str, Any]], options: argparse.Namespace) -> float:
    """Epochs with which all widths together cost what the family costs, one learning rate each.

    The cost of a width is estimated from its MACs: that of the networks trained alone, interpolated.
    """
    known = sorted((r["macs"], r["core_seconds"] / options.epochs) for r in alone)
    sizes, costs = zip(*known, strict=True)
    total = sum(np.interp(macs(*whole(scaled(w))), sizes, costs) for w in WIDTHS)
    return round(float(family["core_seconds"]["total"] / total), 2)


def whole(model: dict[str, Any]) -> tuple[Any, Any]:
    """The model space of a section, and its largest subnet."""
    space = make_space(model)
    return space, space.space.largest


def run_all(jobs: Sequence[Job], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The results of `jobs`, in order; those that are not there yet run in processes of their own."""
    started, done = time.monotonic(), 0

    def run(job: Job) -> dict[str, Any]:
        nonlocal done
        path = result_file(job, options)
        if not path.is_file():
            command = [sys.executable, __file__, *sys.argv[1:], "--job", json.dumps(job.to_json())]
            log = path.with_suffix(".log")
            with log.open("wb") as stream:
                if subprocess.run(command, stdout=stream, stderr=stream, check=False).returncode:
                    raise SystemExit(f"error: a training failed; see {log}")
        done += 1
        print(f"{done}/{len(jobs)} trainings, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return {**json.loads(path.read_text()), "file": str(path)}

    with ThreadPoolExecutor(options.processes) as pool:
        return list(pool.map(run, jobs))


def result_file(job: Job, options: argparse.Namespace) -> Path:
    """Where the result of `job` lies."""
    name = digest_of({**job.to_json(), "limit": options.limit})[:16]
    return Path(options.work) / f"{job.kind}-{job.seed}-{name}.json"


def prepare_data(options: argparse.Namespace) -> None:
    """Decode the images once, for all processes. This is not counted as cost of anything."""
    from supernet.data.config import DataConfig
    from supernet.data.sources import load_splits

    path = options.work / f"data-{options.limit}.npz"
    if path.is_file():
        return
    section = {"source": "parquet", "path": "train.parquet", "test_path": "test.parquet", "image_size": RESOLUTION}
    splits = load_splits(DataConfig(**section, limit=options.limit), options.data.resolve(), 0)
    arrays = {
        f"{n}_{k}": getattr(getattr(splits, n), k) for n in ("train", "heldout", "test") for k in ("images", "labels")
    }
    with path.open("wb") as stream:
        np.savez(stream, mean=splits.mean, std=splits.std, **arrays)


def run_job(job: Job, options: argparse.Namespace) -> None:
    """Train, judge, and leave the result in its file."""
    import torch

    from supernet.planning.memory import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    path = result_file(job, options)
    bench = Bench(job, options)
    result, predictions = bench.family() if job.kind == "family" else bench.alone()
    write_bytes(path.with_suffix(".npy"), predictions.tobytes())
    write_text(path, json.dumps({**result, "subnets": len(predictions)}))


class Bench:
    """One job at work: data, supernet, and the core-seconds spent."""

    def __init__(self, job: Job, options: argparse.Namespace) -> None:
        from supernet.sharing.supernet import Supernet
        from supernet.training.config import TrainingConfig

        self.job, self.options = job, options
        self.config = TrainingConfig.model_validate(job.training)
        self.space = make_space(job.model) if job.kind == "family" else one_network(job.model)
        self.supernet = Supernet(self.space, job.seed)
        stored = np.load(options.work / f"data-{options.limit}.npz")
        self.parts = {name: self._examples(stored, name) for name in ("train", "heldout", "test")}

    def family(self) -> tuple[dict[str, Any], NDArray[np.int8]]:
        """Train the supernet, score, pick, export; judge the named networks and the picks."""
        from device_profiles.workload.workloads import Workloads
        from search.design import shared_subnets

        spent = {"training": self._train(self.supernet, self.config)}
        start = time.process_time()
        subnets = shared_subnets(self.space.space, Workloads(self.space), SHARED_SUBNETS, self.job.seed)
        scores = {s: self._accuracy(s, "heldout") for s in subnets}
        picks = front(self.space, scores)
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
        """Train one network; judge it."""
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
        """A supernet of `subnet` alone, trained on."""
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
            supernet, self.parts["train"], config, seed=self.job.seed, state_file=state, key=key,
            check=lambda s: self._accuracy(s, "heldout", supernet), progress=Lines(),
        )  # fmt: skip
        seconds = time.process_time() - start
        for path in (state, good_state_file(state)):
            path.unlink(missing_ok=True)
        return seconds

    def _calibrated(self, subnet: Any, supernet: Any = None) -> Any:
        import torch

        from supernet.data.examples import ExampleInputs
        from supernet.evaluation.evaluation import recalibrate

        rows = torch.randperm(len(self.parts["train"]), generator=torch.Generator().manual_seed(0))[:CALIBRATION_IMAGES]
        inputs = ExampleInputs(self.parts["train"], self.space.input_shape(subnet), rows)
        return recalibrate((supernet or self.supernet).extract(subnet), inputs)

    def _predict(self, subnet: Any, part: str, supernet: Any = None) -> NDArray[np.int8]:
        from supernet.data.examples import ExampleInputs
        from supernet.evaluation.evaluation import predict

        inputs = ExampleInputs(self.parts[part], self.space.input_shape(subnet))
        return predict(self._calibrated(subnet, supernet), inputs).astype(np.int8)

    def _accuracy(self, subnet: Any, part: str, supernet: Any = None) -> float:
        return float((self._predict(subnet, part, supernet) == self.parts[part].labels.numpy()).mean())

    def _accuracies(self, predictions: NDArray[np.int8]) -> list[float]:
        return [float(a) for a in (predictions == self.parts["test"].labels.numpy()).mean(1)]

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


def one_network(model: dict[str, Any]) -> Any:
    """A model space with one subnet: what is trained alone."""
    from supernet.training.finetune import OneSubnet

    inner = make_space(model["section"])
    return OneSubnet(inner, inner.space.subnet(model["subnet"] or dict(inner.space.largest.values)))


class Lines:
    """Progress for the log."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """See `Progress`."""
        if time.monotonic() > self._next:
            self._next = time.monotonic() + 10
            print(f"{done}/{total} {detail} {time.process_time():.0f} core-seconds", file=sys.stderr, flush=True)


def make_space(model: dict[str, Any]) -> Any:
    """The model space of a `model` section for ten classes."""
    from supernet.spaces.mobilenet import MobileNetSpace
    from supernet.spaces.mobilenet_config import MobileNetConfig

    return MobileNetSpace(MobileNetConfig.model_validate(model), 10)


def macs(space: Any, subnet: Any) -> int:
    """Multiply-accumulates of one image."""
    from supernet.sharing.macs import count_macs

    return count_macs(space, subnet)


def front(space: Any, scores: dict[Any, float]) -> list[Any]:
    """The best on held-out images under each of `PICKS` budgets of MACs, evenly spread in their logarithm."""
    sizes = {subnet: macs(space, subnet) for subnet in scores}
    budgets = np.geomspace(min(sizes.values()), max(sizes.values()), PICKS) * 1.001
    picks = [max((s for s in scores if sizes[s] <= budget), key=lambda s: scores[s]) for budget in budgets]
    return sorted(set(picks), key=lambda s: sizes[s])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
