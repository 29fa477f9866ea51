"""Does `training.imbalance: auto` raise the recall of rare classes, and what does it cost in accuracy?

    python benchmarks/imbalance.py --data PATH/cifar10 --work /tmp/imbalance

CIFAR-10 is thinned to 2,500 training images of each of its first five classes (airplane, automobile, bird, cat, deer)
and 50 of each of the others (dog, frog, horse, ship, truck): 50 to 1, and each rare class looks like a frequent one.
Which images are kept follows from the seed. A supernet is trained once without any remedy and once with `auto`, on the
same images, from the same initial weights, for as many steps; nothing else differs. The largest and the smallest subnet
of both are judged, in pairs, on the whole test set. What `auto` takes was decided by these figures with seed 0; other
seeds were looked at afterwards only.

There are two accuracies, because a test set has a composition. That of CIFAR-10 has 1,000 images of each class, so the
accuracy on it counts each class the same. `natural_accuracy` weights the recalls by the shares of the training images
instead: what the app would see if its images came like these, 98 % of them of the frequent classes.

Intervals are those of the mean over the seeds, from 2,000 resamples of the test images of each class, in pairs. They
say nothing about other seeds; the figures of each seed are in the JSON object. `--methods` compares others than `auto`.
Finished trainings are kept in `--work`, so an interrupted benchmark can be resumed.

`--quick` trains for 2 epochs on 250 and 20 images of the classes with 2,000 test images and one seed: not a result.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from factory_base.errors import FactoryError

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from common import environment, log, make_parser, parse_options
from numpy.typing import NDArray

from factory_base.files import digest_of, write_bytes
from supernet.data.augmentation_config import AugmentConfig
from supernet.data.config import DataConfig
from supernet.data.examples import ExampleInputs
from supernet.data.image_examples import ImageExamples, Normalisation
from supernet.data.sources import load_splits
from supernet.evaluation.evaluation import predict, recalibrate
from supernet.sharing.macs import count_macs
from supernet.sharing.supernet import Supernet
from supernet.spaces import make_model_space
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.tasks.classification import Classification
from supernet.training.config import TrainingConfig
from supernet.training.training import train

FREQUENT = ("airplane", "automobile", "bird", "cat", "deer")
RARE = ("dog", "frog", "horse", "ship", "truck")
"""The first five classes of CIFAR-10 and the others, named before anything was trained."""

MODEL: dict[str, Any] = {
    "resolutions": [32],
    "stem_width": 8,
    "stem_stride": 2,
    "stages": [
        {"widths": [8], "depths": [1], "kernels": [3], "expands": [1], "stride": 1},
        {"widths": [16, 24], "depths": [1, 2], "kernels": [3], "expands": [2, 3], "stride": 2},
        {"widths": [32, 48, 64], "depths": [1, 2], "kernels": [3], "expands": [2, 3], "stride": 2},
    ],
    "head_width": 128,
}
"""Small enough to train six supernets in five minutes of one core."""
RECIPE: dict[str, Any] = {"learning_rate": 0.3, "largest_only": 0.4, "sampler": "macs", "subnet_weight": 0.4}
"""The recipe of `quality_cifar10.py`, which was chosen on balanced classes."""

CALIBRATION_IMAGES = 2000
BOOTSTRAP = 2000
"""Resamples: the bounds of an interval then scatter by a few percent of its width."""

QUICK = {"epochs": 2.0, "frequent": 250, "rare": 20, "test": 2000, "seeds": [0]}


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if the data cannot be read."""
    options = parse(arguments)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            result = measure(options, options.work or Path(temporary))
    except FactoryError as error:
        log(f"error: {error}")
        return 1
    print_table(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.parquet and test.parquet")
    parser.add_argument("--work", type=Path, help="folder that keeps finished trainings")
    parser.add_argument("--methods", nargs="+", default=["auto"], help="what to compare with none")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, default=5, help="passes over the thinned training images")
    parser.add_argument("--frequent", type=int, default=2500, help="training images of each frequent class")
    parser.add_argument("--rare", type=int, default=50, help="training images of each rare class")
    parser.add_argument("--test", type=int, default=0, help="test images; 0 for all")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one thread each")
    return parse_options(parser, arguments, QUICK)


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Train what is not in `work` yet, and compare. Raises `FactoryError`."""
    started = time.monotonic()
    arrays = prepare(options, work)
    jobs = [(method, seed) for seed in options.seeds for method in ("none", *options.methods)]
    trained = dict(zip(jobs, run_jobs(jobs, options, work), strict=True))
    labels = np.load(arrays)["test_labels"]
    counts = [options.frequent] * len(FREQUENT) + [options.rare] * len(RARE)
    natural, space = np.array(counts) / sum(counts), make_space()
    return {
        "benchmark": "imbalance",
        "frequent": {"classes": FREQUENT, "images": options.frequent},
        "rare": {"classes": RARE, "images": options.rare},
        "test_images": np.bincount(labels).tolist(),
        "comparisons": {
            method: [
                compared([(trained["none", seed][tier], trained[method, seed][tier]) for seed in options.seeds],
                         labels, natural) | {"tier": name}
                for tier, name in enumerate(("largest", "smallest"))
            ]
            for method in options.methods
        },
        "macs": [count_macs(space, subnet) for subnet in (space.space.largest, space.space.smallest)],
        "seeds": options.seeds,
        "epochs": options.epochs,
        "seconds": round(time.monotonic() - started, 1),
        "quick": options.quick,
        **environment(options.seeds[0]),
    }  # fmt: skip


def prepare(options: argparse.Namespace, work: Path) -> Path:
    """The file with all decoded images, so that no process decodes them again. Raises `FactoryError`."""
    path = work / f"cifar10-{options.test}.npz"
    if not path.is_file():
        section = {"source": "parquet", "path": "train.parquet", "test_path": "test.parquet", "image_size": 32}
        splits = load_splits(DataConfig(**section), options.data.resolve(), 0)
        parts = {key: [getattr(splits.train, key)[:], getattr(splits.heldout, key)[:]] for key in ("images", "labels")}
        arrays = {f"train_{key}": np.concatenate(found) for key, found in parts.items()}
        arrays |= {f"test_{key}": getattr(splits.test, key)[: options.test or None] for key in ("images", "labels")}
        if splits.class_names != (*FREQUENT, *RARE):
            raise FactoryError(f"{options.data}: has the classes {splits.class_names}, not those of CIFAR-10")
        work.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            np.savez(stream, mean=splits.mean, std=splits.std, **arrays)
    return path


def run_jobs(jobs: list[tuple[str, int]], options: argparse.Namespace, work: Path) -> list[NDArray[np.int64]]:
    """What `run_job` returns for each job, in processes of their own if there are several at a time."""
    if options.processes == 1:
        return [run_job(job, options, work) for job in jobs]
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(run_job, jobs, [options] * len(jobs), [work] * len(jobs)))


def run_job(job: tuple[str, int], options: argparse.Namespace, work: Path) -> NDArray[np.int64]:
    """The predictions of the largest and the smallest subnet for the test images, int64 (2, images)."""
    torch.set_num_threads(1)
    method, seed = job
    values = [method, seed, options.epochs, options.frequent, options.rare, options.test, MODEL, RECIPE]
    path = work / f"{method}-{seed}-{digest_of(values)[:12]}.npy"
    if not path.is_file():
        log(f"training with {method}, seed {seed}")
        found = predictions(method, seed, options, np.load(work / f"cifar10-{options.test}.npz"))
        write_bytes(path, found.tobytes())
    return np.frombuffer(path.read_bytes(), np.int64).reshape(2, -1)


def predictions(method: str, seed: int, options: argparse.Namespace, arrays: Any) -> NDArray[np.int64]:
    """Train a supernet with `method`, and predict. Raises `FactoryError`."""
    rows = thinned(arrays["train_labels"], options.frequent, options.rare, seed)
    normalisation = Normalisation(mean=tuple(arrays["mean"].tolist()), std=tuple(arrays["std"].tolist()))
    images, labels = torch.from_numpy(arrays["train_images"][rows]), torch.from_numpy(arrays["train_labels"][rows])
    augment = AugmentConfig(flip=True, shift=4)
    plain = ImageExamples(images=images, labels=labels, normalisation=normalisation)
    varied = ImageExamples(images=images, labels=labels, normalisation=normalisation, augmentation=augment)
    test = ImageExamples(
        images=torch.from_numpy(arrays["test_images"]), labels=torch.from_numpy(arrays["test_labels"]),
        normalisation=normalisation,
    )  # fmt: skip
    supernet = Supernet(make_space(), seed)
    recipe = TrainingConfig(epochs=options.epochs, imbalance=method, device="cpu", save_every=3600, **RECIPE)
    with tempfile.TemporaryDirectory() as folder:
        train(
            supernet, varied, recipe, seed=seed, state_file=Path(folder) / "state.safetensors", key="imbalance",
            check=lambda _: 1.0, task=Classification(names=(*FREQUENT, *RARE)),
        )  # fmt: skip
    space = supernet.model_space
    found = []
    for subnet in (space.space.largest, space.space.smallest):
        shape = space.input_shape(subnet)
        calibration = ExampleInputs(plain, shape, torch.arange(min(CALIBRATION_IMAGES, len(plain))))
        found.append(predict(recalibrate(supernet.extract(subnet), calibration), ExampleInputs(test, shape)))
    return np.stack(found)


def make_space() -> Any:
    """The model space, for ten classes."""
    return make_model_space(MobileNetConfig.model_validate(MODEL), classes=len(FREQUENT) + len(RARE))


def thinned(labels: NDArray[np.int64], frequent: int, rare: int, seed: int) -> NDArray[np.int64]:
    """The rows of the images that are kept, in random order."""
    generator = np.random.default_rng(seed)
    counts = [frequent] * len(FREQUENT) + [rare] * len(RARE)
    rows = [generator.permutation(np.flatnonzero(labels == c))[:count] for c, count in enumerate(counts)]
    return generator.permutation(np.concatenate(rows))


def compared(
    pairs: list[tuple[NDArray[np.int64], NDArray[np.int64]]], labels: NDArray[np.int64], natural: NDArray[np.float64]
) -> dict[str, Any]:
    """Both sides and their differences, as means over the seeds, with intervals.

    Args:
        pairs: For each seed the predictions without and with the remedy, (images,) each.
        labels: The classes of the test images, (images,).
        natural: The share of each class among the training images, (classes,).
    """
    rows = [np.flatnonzero(labels == c) for c in range(len(natural))]
    right = np.array([[side == labels for side in pair] for pair in pairs])  # (seeds, 2, images)
    whole = figures(np.stack([right[:, :, of].mean(axis=2) for of in rows], axis=2), natural)
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(BOOTSTRAP):
        recalls = np.stack([right[:, :, generator.choice(of, len(of))].mean(axis=2) for of in rows], axis=2)
        drawn.append(
            {name: float((value[:, 1] - value[:, 0]).mean()) for name, value in figures(recalls, natural).items()}
        )
    found: dict[str, Any] = {}
    for name, value in whole.items():
        gain = value[:, 1] - value[:, 0]
        low, high = np.percentile([one[name] for one in drawn], (2.5, 97.5))
        found[name] = {
            "none": round(float(value[:, 0].mean()), 4),
            "with": round(float(value[:, 1].mean()), 4),
            "gain": round(float(gain.mean()), 4),
            "interval": [round(float(low), 4), round(float(high), 4)],
            "seeds": gain.round(4).tolist(),
        }
    recalls = np.stack([right[:, :, of].mean(axis=(0, 2)) for of in rows], axis=1)
    return {**found, "recalls": {"none": recalls[0].round(3).tolist(), "with": recalls[1].round(3).tolist()}}


def figures(recalls: NDArray[np.float64], natural: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Each figure, (seeds, 2), given the recalls of the classes, (seeds, 2, classes)."""
    return {
        "worst_class_recall": recalls.min(axis=2),
        "accuracy": recalls.mean(axis=2),
        "natural_accuracy": recalls @ natural,
        "rare_recall": recalls[:, :, len(FREQUENT) :].mean(axis=2),
    }


def print_table(result: dict[str, Any]) -> None:
    """The table for `benchmarks/README.md`."""
    words = {
        "worst_class_recall": "worst-class recall", "rare_recall": "mean recall of the rare classes",
        "accuracy": "accuracy, classes alike", "natural_accuracy": "accuracy, as in training",
    }  # fmt: skip
    print("| method | subnet | figure | none | with | gain (95 % interval) |")
    print("|---|---|---|--:|--:|--:|")
    for method, tiers in result["comparisons"].items():
        for tier in tiers:
            for name, word in words.items():
                one = tier[name]
                low, high = (100 * bound for bound in one["interval"])
                print(
                    f"| {method} | {tier['tier']} | {word} | {one['none']:.1%} | {one['with']:.1%} | "
                    f"{100 * one['gain']:+.1f} points ({low:+.1f} to {high:+.1f}) |"
                )
    print()
    if result["quick"]:
        print("Not a result: in the quick form networks are hardly trained.\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
