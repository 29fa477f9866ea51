"""Compare the largest and the smallest network of a supernet with the same networks trained alone, for each task.

    python benchmarks/tasks.py --task multilabel
    python benchmarks/tasks.py --task regression
    python benchmarks/tasks.py --task text_classification --data DIR

`multilabel`: canvases with up to four handwritten digits; the labels are the digits that are there. `regression`: pairs
of handwritten digits; the value is their sum. The digits are those of scikit-learn, and no image of a digit is in two
splits. `text_classification`: DIR has `train.tsv`, `dev.tsv` and `test.tsv` of SST-2, with lines `sentence<TAB>label`.

Each network alone is trained for as many steps as the supernet, on the labels, with the same recipe. Nothing is chosen
by any score, and the test split is used once. The gap is the metric of the shared network less that of the network
alone. Its interval is over the test examples, each with the mean of its differences over the seeds; so is the spread of
the seeds.

`--quick` takes one seed and one pass over the training examples.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported

import numpy as np
import torch
from common import environment, log, make_parser, measured, parse_options
from numpy.typing import NDArray

from factory_base.errors import DataError
from supernet.data.examples import ExampleInputs, Examples
from supernet.data.image_examples import ImageExamples, Normalisation
from supernet.data.token_examples import TokenExamples
from supernet.data.tokenizer import trained_tokenizer
from supernet.evaluation.evaluation import logits, recalibrate
from supernet.model_space import ModelSpace
from supernet.sharing.macs import count_macs
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.spaces import make_model_space
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.spaces.transformer_config import TextEncoderConfig
from supernet.tasks import Multilabel, Regression, Task
from supernet.tasks.text_classification import text_classification
from supernet.training.config import TrainingConfig
from supernet.training.finetune import OneSubnet
from supernet.training.training import train

CANVAS = 24
"""Side of a canvas in pixels: a grid of three by three digits of 8x8 pixels."""
MOST_DIGITS = 4
COUNTS = {"train": 8000, "heldout": 1000, "test": 2000}
"""Canvases of each split."""
SHARES = {"train": 0.7, "heldout": 0.1, "test": 0.2}
"""Shares of the 1,797 digits from which the canvases of each split are made."""
RECALIBRATION = 1000
"""Training examples on which batch normalisation is recalibrated."""
Z95 = statistics.NormalDist().inv_cdf(0.975)

SPACE: dict[str, Any] = {
    "resolutions": [CANVAS],
    "stem_width": 16,
    "stem_stride": 2,
    "stages": [
        {"widths": [16, 24], "depths": [1], "kernels": [3], "expands": [1, 2]},
        {"widths": [24, 32], "depths": [1, 2], "kernels": [3, 5], "expands": [2, 4], "stride": 2},
        {"widths": [32, 64], "depths": [1, 2], "kernels": [3, 5], "expands": [2, 4], "stride": 2},
    ],
    "head_width": 128,
}
RECIPE: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 0.05,
    "warmup": 0.1,
    "label_smoothing": 0.0,
    "augment": {"flip": False, "shift": 1},
    "device": "cpu",
    "save_every": 3600,
}
"""The usual recipe for small images at half its rate, without a search."""

TEXT_SPACE: dict[str, Any] = {
    "lengths": [16, 24, 32],
    "widths": [32, 48, 64],
    "depths": [1, 2],
    "heads": [1, 2, 4],
    "head_dim": 16,
    "mlp_ratios": [1, 2],
    "dropout": 0.2,
}
TEXT_RECIPE: dict[str, Any] = {
    "batch_size": 64,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "warmup": 0.1,
    "clip_norm": 1.0,
    "device": "cpu",
    "save_every": 3600,
}
"""The usual recipe of small transformers, without a search."""
VOCABULARY = 8000
WORD_DROPOUT = 0.2
"""Share of the tokens of a training sentence that are replaced by the unknown token, against overfitting."""
EPOCHS = {"multilabel": 10.0, "regression": 10.0, "text_classification": 3.0}
QUICK = {"seeds": 1, "epochs": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The splits of a task, the task, and the model space.

    Attributes:
        train: Training examples.
        heldout: Held-out examples, for the curve only.
        test: Test examples.
        task: What the networks learn.
        space: The model space.
        recipe: The recipe, without the number of epochs.
    """

    train: Examples
    heldout: Examples
    test: Examples
    task: Task
    space: ModelSpace
    recipe: Mapping[str, Any]


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if the data cannot be read."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    result = measured(measure, options)
    if result is None:
        return 1
    print_table(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--task", choices=list(DATA), required=True)
    parser.add_argument(
        "--data", type=Path, help="folder with train.tsv, dev.tsv and test.tsv, for text_classification"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    parser.add_argument("--epochs", type=float, help="passes over the training examples")
    parser.add_argument("--threads", type=int, default=1)
    return parse_options(parser, arguments, QUICK)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train everything, and only then use the test split. Raises `FactoryError`."""
    started = time.monotonic()
    data = DATA[options.task](options.data)
    epochs = options.epochs or EPOCHS[options.task]
    subnets = {"largest": data.space.space.largest, "smallest": data.space.space.smallest}
    outputs: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {name: [] for name in subnets}
    for seed in range(options.seeds):
        shared = fit(data, Supernet(data.space, seed), epochs, seed, folder / f"shared-{seed}")
        for name, subnet in subnets.items():
            alone = fit(data, Supernet(OneSubnet(data.space, subnet), seed), epochs, seed, folder / f"{name}-{seed}")
            pair = test_outputs(data, shared, subnet), test_outputs(data, alone, alone.model_space.space.largest)
            outputs[name].append(pair)
    rows = [row(data, name, subnets[name], pairs) for name, pairs in outputs.items()]
    return {
        "benchmark": "tasks",
        "task": options.task,
        "metric": data.task.metrics[0],
        "baseline": round(data.task.baseline(data.test.labels.numpy(), data.task.metrics[0]), 4),
        "networks": rows,
        "worst_gap": min(found["gap"] for found in rows),
        "examples": [len(data.train), len(data.heldout), len(data.test)],
        "epochs": epochs,
        "seconds": round(time.monotonic() - started, 1),
        "quick": options.quick,
        "seeds": options.seeds,
        **environment(0),
    }


def fit(data: Data, supernet: Supernet, epochs: float, seed: int, name: Path) -> Supernet:
    """Train a supernet by the sandwich rule, or one of a single network on the labels."""
    space = supernet.model_space.space
    alone = {"largest_only": 1.0} if space.count() == 1 else {}
    config = TrainingConfig.model_validate({"epochs": epochs, **data.recipe, **alone})
    train(
        supernet, data.train, config,
        seed=seed, state_file=name.with_suffix(".safetensors"), key=name.name, task=data.task,
        check=lambda subnet: metric_of(data, supernet, subnet, data.heldout),
        check_images=len(data.heldout),
        progress=lambda done, total, detail="": show(f"{name.name} {done}/{total} {detail}", done == total),
        notify=log,
    )  # fmt: skip
    return supernet


def run_network(data: Data, supernet: Supernet, subnet: SubnetConfig, examples: Examples) -> NDArray[np.float32]:
    """The outputs of an extracted and recalibrated subnet, `(n, outputs)`."""
    shape = supernet.model_space.input_shape(subnet)
    rows = torch.arange(min(RECALIBRATION, len(data.train)))
    module = recalibrate(supernet.extract(subnet), ExampleInputs(data.train, shape, rows))
    return np.asarray(logits(module, ExampleInputs(examples, shape)).numpy())


def metric_of(data: Data, supernet: Supernet, subnet: SubnetConfig, examples: Examples) -> float:
    """The first metric of the task."""
    labels = examples.labels.numpy()
    scores = data.task.scores(run_network(data, supernet, subnet, examples), labels, data.task.metrics[0], labels)
    return float(scores.mean())


def test_outputs(data: Data, supernet: Supernet, subnet: SubnetConfig) -> NDArray[np.float32]:
    """The outputs for the test split."""
    return run_network(data, supernet, subnet, data.test)


def row(
    data: Data, name: str, subnet: SubnetConfig, pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
) -> dict[str, Any]:
    """One network: its metric with shared weights and alone, and the gap with its interval."""
    labels, metric = data.test.labels.numpy(), data.task.metrics[0]
    scores = np.array([[data.task.scores(one, labels, metric, labels) for one in pair] for pair in pairs])
    differences = (scores[:, 0] - scores[:, 1]).mean(axis=0)
    half = Z95 * float(differences.std(ddof=1)) / math.sqrt(len(labels))
    gaps = (scores[:, 0] - scores[:, 1]).mean(axis=1)
    return {
        "network": name,
        "kmacs": round(count_macs(data.space, subnet) / 1e3),
        "shared": round(float(scores[:, 0].mean()), 4),
        "alone": round(float(scores[:, 1].mean()), 4),
        "gap": round(float(gaps.mean()), 4),
        "low": round(float(gaps.mean()) - half, 4),
        "high": round(float(gaps.mean()) + half, 4),
        "gaps": [round(float(gap), 4) for gap in gaps],
    }


def sets_of_digits(_: Path | None) -> Data:
    """Canvases with up to four digits; the labels are the digits that are there."""
    splits = {name: canvases(name, 0, MOST_DIGITS) for name in COUNTS}
    labels = {
        name: np.array([np.isin(np.arange(10), digits) for digits in drawn], dtype=np.uint8)
        for name, (_, drawn) in splits.items()
    }
    return of_canvases(splits, labels, Multilabel(names=tuple(map(str, range(10)))))


def sums_of_digits(_: Path | None) -> Data:
    """Canvases with two digits; the value is their sum."""
    splits = {name: canvases(name, 2, 2) for name in COUNTS}
    labels = {
        name: np.array([[digits.sum()] for digits in drawn], dtype=np.float32) for name, (_, drawn) in splits.items()
    }
    return of_canvases(splits, labels, Regression.of(("sum",), labels["train"]))


def of_canvases(
    splits: Mapping[str, tuple[NDArray[np.uint8], list[NDArray[np.int64]]]],
    labels: Mapping[str, NDArray[Any]],
    task: Task,
) -> Data:
    """The data of a task on canvases."""
    pixels = splits["train"][0] / 255
    normalisation = Normalisation(mean=(float(pixels.mean()),) * 3, std=(float(pixels.std()),) * 3)
    config = TrainingConfig.model_validate({"epochs": 1, **RECIPE})
    examples = {
        name: ImageExamples(
            images=torch.from_numpy(images),
            labels=torch.from_numpy(labels[name]),
            normalisation=normalisation,
            augmentation=config.augment if name == "train" else None,
        )
        for name, (images, _) in splits.items()
    }
    space = make_model_space(MobileNetConfig.model_validate(SPACE), len(task.names))
    return Data(**examples, task=task, space=space, recipe=RECIPE)


def canvases(split: str, fewest: int, most: int) -> tuple[NDArray[np.uint8], list[NDArray[np.int64]]]:
    """Canvases of a split, uint8 (n, 3, CANVAS, CANVAS), and the digits on each; the same in every run.

    The number of digits, from `fewest` to `most`, and their places in the grid are drawn evenly.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    before = sum(share for name, share in SHARES.items() if list(SHARES).index(name) < list(SHARES).index(split))
    mine = order[round(before * len(order)) : round((before + SHARES[split]) * len(order))]
    rng = np.random.default_rng([1, list(SHARES).index(split)])
    images = np.zeros((COUNTS[split], CANVAS, CANVAS), dtype=np.uint8)
    drawn = []
    for image in images:
        chosen = rng.choice(mine, rng.integers(fewest, most + 1), replace=False)
        for place, index in zip(rng.permutation(9), chosen, strict=False):
            y, x = 8 * (place // 3), 8 * (place % 3)
            image[y : y + 8, x : x + 8] = np.round(digits.images[index] * (255 / 16))
        drawn.append(digits.target[chosen])
    return np.repeat(images[:, None], 3, axis=1), drawn


def sentiments(folder: Path | None) -> Data:
    """The sentences in `folder`, as tokens of a tokenizer of the training split. Raises `DataError`."""
    if folder is None:
        raise DataError("text_classification needs --data, a folder with train.tsv, dev.tsv and test.tsv")
    splits = {name: sentences(folder / f"{name}.tsv") for name in ("train", "dev", "test")}
    tokenizer = trained_tokenizer(lambda: [splits["train"][0]], VOCABULARY)

    def examples(name: str, word_dropout: float = 0.0) -> TokenExamples:
        texts, labels = splits[name]
        tokens = torch.from_numpy(tokenizer.encode(texts, TEXT_SPACE["lengths"][-1]))
        return TokenExamples(tokens=tokens, labels=torch.tensor(labels), word_dropout=word_dropout)

    return Data(
        train=examples("train", WORD_DROPOUT), heldout=examples("dev"), test=examples("test"),
        task=text_classification(("negative", "positive")),
        space=make_model_space(TextEncoderConfig(vocabulary=tokenizer.vocabulary, **TEXT_SPACE), classes=2),
        recipe=TEXT_RECIPE,
    )  # fmt: skip


def sentences(path: Path) -> tuple[list[str], list[int]]:
    """The sentences and labels in a file. Raises `DataError`."""
    try:
        rows = [line.rpartition("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        return [text for text, _, _ in rows], [int(label) for _, _, label in rows]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected lines of 'sentence<TAB>label'") from error


DATA: dict[str, Callable[[Path | None], Data]] = {
    "multilabel": sets_of_digits,
    "regression": sums_of_digits,
    "text_classification": sentiments,
}
"""The data of each task, given `--data`."""


def show(text: str, is_last: bool) -> None:
    """Print progress on standard error; each line replaces the one before."""
    print(f"\r{text:<100}", end="\n" if is_last else "", file=sys.stderr, flush=True)


def print_table(result: dict[str, Any]) -> None:
    """The table for `benchmarks/README.md`."""
    print(f"| {result['task']}, {result['metric']} | kMACs | shared | alone | gap |")
    print("|---|--:|--:|--:|--:|")
    for one in result["networks"]:
        gap = f"{one['gap']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f})"
        print(f"| {one['network']} | {one['kmacs']:,} | {one['shared']:.4f} | {one['alone']:.4f} | {gap} |")
    print()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
